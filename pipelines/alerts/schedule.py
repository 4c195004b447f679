"""When a maintenance window is open: once, or every week at the same hours of a time zone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pipelines.alerts.errors import AlertConfigError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Span(NamedTuple):
    """From its start up to before its end, microseconds since 1970 UTC."""

    start: int
    end: int


class Schedule(Protocol):
    def next(self, at: int) -> Span | None:
        """The first opening that has not ended by then; None: never again."""
        ...

    def settings(self) -> dict[str, Any]:
        """What `schedule` makes it from again."""
        ...


def zone_of(name: str) -> ZoneInfo:
    """Raises: AlertConfigError: no such time zone."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise AlertConfigError(f"no time zone {name!r}; write one such as Europe/Berlin") from error


def moment_us(text: object, zone: ZoneInfo) -> int:
    """A moment in microseconds; one without a zone is of `zone`."""
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError as error:
        raise AlertConfigError(f"{text!r} is no time; write 2026-05-01T22:00") from error
    return _us(moment if moment.tzinfo else moment.replace(tzinfo=zone))


class Once:
    """A single opening.

    Args:
        starts, ends: ISO 8601; without a zone: of `zone`.

    Raises:
        AlertConfigError: no time, or it ends before it starts.
    """

    def __init__(self, starts: str, ends: str, zone: str) -> None:
        place = zone_of(zone)
        self._span = Span(moment_us(starts, place), moment_us(ends, place))
        self._settings = {"starts": str(starts), "ends": str(ends), "zone": zone}
        if self._span.end <= self._span.start:
            raise AlertConfigError(f"a window cannot end at {ends}: it starts at {starts}")

    def next(self, at: int) -> Span | None:
        return self._span if at < self._span.end else None

    def settings(self) -> dict[str, Any]:
        return self._settings

    def __str__(self) -> str:
        return f"{self._settings['starts']} to {self._settings['ends']} {self._settings['zone']}"


class Weekly:
    """Every week, by the clock on the wall: where that is put forward or back, so is the window.

    Args:
        days: on which it starts, of `mon` … `sun`.
        start, end: hours such as "22:00"; an end not after the start is on the next day.

    Raises:
        AlertConfigError: an unknown day, zone or hour, or no day.
    """

    def __init__(self, days: Sequence[str], start: str, end: str, zone: str) -> None:
        self._zone = zone_of(zone)
        wrong = [d for d in days if d not in DAYS]
        if wrong or not days:
            raise AlertConfigError(f"days are some of {list(DAYS)}, not {list(days)}")
        self._days = {DAYS.index(d) for d in days}
        self._start, self._end = _hour(start), _hour(end)
        self._settings = {"days": list(days), "start": start, "end": end, "zone": zone}

    def next(self, at: int) -> Span:
        day = datetime.fromtimestamp(at / 1e6, self._zone).date() - timedelta(days=1)
        while True:
            if day.weekday() in self._days:
                span = self._on(day)
                if at < span.end:
                    return span
            day += timedelta(days=1)

    def _on(self, day: date) -> Span:
        over = timedelta(days=1 if self._end <= self._start else 0)
        start = datetime.combine(day, self._start, self._zone)
        end = datetime.combine(day + over, self._end, self._zone)
        # Where clocks are moved, an hour comes twice or never; the wider reading is quieter.
        return Span(
            min(_us(start), _us(start.replace(fold=1))), max(_us(end), _us(end.replace(fold=1)))
        )

    def settings(self) -> dict[str, Any]:
        return self._settings

    def __str__(self) -> str:
        s = self._settings
        return f"{','.join(s['days'])} {s['start']} to {s['end']} {s['zone']}"


def schedule(settings: dict[str, Any]) -> Once | Weekly:
    """A schedule from its settings."""
    return Weekly(**settings) if "days" in settings else Once(**settings)


def _hour(text: str) -> time:
    try:
        return time.fromisoformat(text)
    except (ValueError, TypeError) as error:
        raise AlertConfigError(f"{text!r} is no hour; write '22:00'") from error


def _us(moment: datetime) -> int:
    return (moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
