"""What callers send as telemetry, checked: one flat JSON object an event."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import orjson

from pipelines.anomalies.store import ANOMALIES, event_id

DEFAULT_SOURCE = "default"
_RESERVED = ("timestamp", "source", "messageId", "history")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LARGEST = 3.4028234e38  # of the 32-bit numbers that models compute with
_LONGEST_FIELD = 255
_LONGEST_SOURCE = ANOMALIES.c.source.type.length  # type: ignore[attr-defined]
_LONGEST_ID = ANOMALIES.c.id.type.length  # type: ignore[attr-defined]
_TIME = "an ISO 8601 time with a zone, such as 2026-01-31T12:00:00Z"


class EventError(ValueError):
    """An event that cannot be taken: the field, what it is, and what would be accepted."""

    def __init__(self, field: str | None, found: str, accepted: str) -> None:
        text = f"{field} {found}" if field else found
        super().__init__(text.encode("utf-8", "replace").decode())  # half characters cannot be sent
        self.field = field
        self.accepted = accepted

    def as_json(self) -> dict[str, Any]:
        field = self.field and self.field.encode("utf-8", "replace").decode()
        return {"field": field, "detail": str(self), "accepted": self.accepted}


class Event(NamedTuple):
    """A checked event; `history` are the fields of earlier events of its source, oldest first."""

    id: str
    source: str
    timestamp_us: int
    fields: dict[str, float | None]
    history: list[dict[str, float | None]]


@dataclass(frozen=True)
class EventReader:
    """Checks events.

    Args:
        ahead_s: how far in the future a timestamp may lie: clocks are never right.
        oldest_days: an older timestamp is taken for a mistake.
        max_fields: numbers in an event.
    """

    ahead_s: float
    oldest_days: float
    max_fields: int

    def read(self, message: Any, now: datetime, history: bool = False) -> Event:
        """The event that a message holds.

        Args:
            history: whether it may bring earlier events of its source as `history`.

        Raises:
            EventError: names what is wrong.
        """
        if not isinstance(message, Mapping):
            raise EventError(None, f"an event is {shown(message)}", "a flat JSON object")
        moment = self._moment(message.get("timestamp"), now, "timestamp")
        source = _text(message, "source", _LONGEST_SOURCE) or DEFAULT_SOURCE
        name = _text(message, "messageId", _LONGEST_ID)
        earlier = message.get("history") if history else None
        fields = self._fields(message, "" if history else "history")
        if not fields:
            raise EventError(None, "the event has no fields", "at least one field with a number")
        return Event(
            id=name or event_id(source, moment),
            source=source,
            timestamp_us=moment,
            fields=fields,
            history=self._history(earlier, moment, now) if earlier is not None else [],
        )

    def _history(self, earlier: Any, last: int, now: datetime) -> list[dict[str, float | None]]:
        if not isinstance(earlier, list):
            raise EventError("history", f"is {shown(earlier)}", "a list of events, oldest first")
        found = []
        before: int | None = None
        for n, message in enumerate(earlier):
            place = f"history[{n}]"
            if not isinstance(message, Mapping):
                raise EventError(place, f"is {shown(message)}", "a flat JSON object")
            given = message.get("timestamp")
            if given is not None:
                moment = self._moment(given, now, f"{place}.timestamp")
                if moment >= last or (before is not None and moment <= before):
                    raise EventError(
                        f"{place}.timestamp",
                        f"is {given!r}, out of order",
                        "events before this one, oldest first",
                    )
                before = moment
            found.append(self._fields(message, "", f"{place}."))
        return found

    def _fields(
        self, message: Mapping[str, Any], also: str, place: str = ""
    ) -> dict[str, float | None]:
        """All that is no reserved name; `also`: a reserved name that counts as a field here."""
        fields: dict[str, float | None] = {}
        for name, value in message.items():
            if name in _RESERVED and name != also:
                continue
            if not (name.isprintable() and 0 < len(name) <= _LONGEST_FIELD):
                raise EventError(
                    None,
                    f"a field is named {shown(name)}",
                    f"a name of 1 to {_LONGEST_FIELD} characters without control characters",
                )
            if value is not None:
                if isinstance(value, bool) or not isinstance(value, int | float):
                    raise EventError(f"{place}{name}", f"is {shown(value)}", "a number or null")
                if not abs(value) <= _LARGEST:  # NaN compares as false
                    raise EventError(
                        f"{place}{name}", f"is {shown(value)}", "a finite number or null"
                    )
                if isinstance(value, int) and value.bit_length() > 63:
                    value = float(value)  # larger ones cannot be sent
            fields[name] = value
        if len(fields) > self.max_fields:
            text = f"the event has {len(fields)} fields"
            raise EventError(None, text, f"at most {self.max_fields} fields")
        return fields

    def _moment(self, value: Any, now: datetime, name: str) -> int:
        """Microseconds since 1970 UTC."""
        if value is None:
            raise EventError(name, "is missing", _TIME)
        if not isinstance(value, str):
            raise EventError(name, f"is {shown(value)}", _TIME)
        try:
            moment = datetime.fromisoformat(value)
            if moment.tzinfo is None:
                raise EventError(name, f"is {shown(value)}, without a zone", _TIME)
            since = moment.astimezone(UTC) - _EPOCH
        except EventError:
            raise
        except (ValueError, OverflowError) as error:
            raise EventError(name, f"is {shown(value)}", _TIME) from error
        if moment > now + timedelta(seconds=self.ahead_s):
            until = f"at most {self.ahead_s:g} s after now ({now:%Y-%m-%dT%H:%M:%SZ})"
            raise EventError(name, f"is {shown(value)}, in the future", until)
        if moment < now - timedelta(days=self.oldest_days):
            oldest = f"at most {self.oldest_days:g} days before now"
            raise EventError(name, f"is {shown(value)}, too old", oldest)
        return microseconds(since)


def parse(body: bytes) -> Any:
    """JSON, also with the NaN and infinities of careless writers, so that they can be named.

    Raises:
        ValueError: it is no JSON.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if (
            b"NaN" not in body
            and b"Infinity" not in body
            and b"infinity" not in str(error).encode()
        ):
            raise
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise error from None


def shown(value: Any) -> str:
    """A value as JSON, cut short."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "infinite"
    if isinstance(value, dict | list):
        return f"a JSON {'object' if isinstance(value, dict) else 'list'}"
    if isinstance(value, int) and value.bit_length() > 200:
        return f"an integer of {value.bit_length()} bits"
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def microseconds(since: timedelta) -> int:
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _text(message: Mapping[str, Any], name: str, longest: int) -> str | None:
    """A string; empty is missing."""
    value = message.get(name)
    if value is None or value == "":
        return None
    accepted = f"a text of at most {longest} characters without control characters"
    if not isinstance(value, str):
        raise EventError(name, f"is {shown(value)}", accepted)
    if len(value) > longest:
        raise EventError(name, f"has {len(value)} characters", accepted)
    if (
        not value.isprintable()
    ):  # among them zero bytes and half characters, which no database takes
        raise EventError(name, f"is {shown(value)}", accepted)
    return value
