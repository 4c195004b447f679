"""Durations, matchers and schedules: what people write, and what it means."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from pipelines.alerts.duration import duration_us, shown
from pipelines.alerts.errors import AlertConfigError
from pipelines.alerts.matchers import Matchers
from pipelines.alerts.schedule import Once, Span, Weekly, schedule


def us(text: str, zone: str = "UTC") -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()) * 10**6


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("1h30m", 5400), ("2d", 172_800)])
def test_durations(text: str, seconds: int) -> None:
    assert duration_us(text) == seconds * 10**6


@pytest.mark.parametrize("text", ["", "5", "2hours", "-5m", "m", "1.5h", "5m1h"])
def test_no_duration_is_named(text: str) -> None:
    with pytest.raises(AlertConfigError, match=re.escape(repr(text))):
        duration_us(text)


def test_shown() -> None:
    assert [shown(s * 10**6) for s in (0, 59, 3600, 90_061)] == ["0s", "59s", "1h", "1d 1h"]


LABELS = {"source": ["db-1"], "severity": ["major"], "kind": ["anomaly"], "field": ["cpu", "io"]}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("source=db-1", True),
        ("source=db", False),
        ("source=~db-.*", True),
        ("source=~db", False),  # the whole value
        ('severity = "major"', True),
        ("severity!=major", False),
        ("severity!~info|warning", True),
        ("field=io", True),
        ("field!=io", False),
        ("field=~c.*", True),
        ("source=.*", False),  # no regular expression without ~
        ("model=", True),  # a label that is not there is empty
    ],
)
def test_matchers(text: str, found: bool) -> None:
    assert Matchers([text]).matches(LABELS) is found


def test_every_field_must_match_where_that_is_asked() -> None:
    assert not Matchers(["field=cpu"]).matches(LABELS, every=("field",))
    assert Matchers(["field=~cpu|io"]).matches(LABELS, every=("field",))


@pytest.mark.parametrize(
    ("text", "says"),
    [("db-1", "no matcher"), ("host=a", "no label 'host'"), ("source=~(", "regular expression")],
)
def test_a_bad_matcher_is_named(text: str, says: str) -> None:
    with pytest.raises(AlertConfigError, match=says):
        Matchers([text])


def test_a_window_once() -> None:
    once = Once("2026-05-01T22:00", "2026-05-02T01:00", "Europe/Berlin")
    span = Span(us("2026-05-01T20:00"), us("2026-05-01T23:00"))
    assert once.next(0) == once.next(span.end - 1) == span
    assert once.next(span.end) is None


def test_a_weekly_window_goes_over_midnight_and_comes_again() -> None:
    weekly = Weekly(["sat"], "22:00", "04:00", "Europe/Berlin")
    first = Span(us("2026-01-10T22:00", "Europe/Berlin"), us("2026-01-11T04:00", "Europe/Berlin"))
    assert weekly.next(us("2026-01-05T00:00")) == first
    assert weekly.next(us("2026-01-11T02:00")) == first  # on Sunday it is still open
    assert weekly.next(first.end).start == us("2026-01-17T22:00", "Europe/Berlin")
    assert schedule(weekly.settings()).next(0) == weekly.next(0)


def test_it_goes_by_the_clock_on_the_wall() -> None:
    weekly = Weekly(["sun"], "02:00", "04:00", "Europe/Berlin")
    winter, summer = weekly.next(us("2026-01-04T00:00")), weekly.next(us("2026-07-05T00:00"))
    assert datetime.fromtimestamp(winter.start / 1e6, UTC).hour == 1
    assert datetime.fromtimestamp(summer.start / 1e6, UTC).hour == 0
    # 2026-03-29: the clocks go from 2 to 3; 2026-10-25: from 3 back to 2, and the hour comes twice.
    spring, autumn = weekly.next(us("2026-03-29T00:00")), weekly.next(us("2026-10-24T12:00"))
    assert spring.start <= us("2026-03-29T01:00")
    assert spring.end == us("2026-03-29T02:00")
    assert autumn == Span(us("2026-10-25T00:00"), us("2026-10-25T03:00"))


def test_in_an_hour_that_does_not_exist_a_window_still_opens() -> None:
    span = Weekly(["sun"], "02:30", "03:30", "Europe/Berlin").next(us("2026-03-29T00:00"))
    assert span.start < span.end == us("2026-03-29T01:30")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((["sunday"], "02:00", "04:00", "UTC"), "'sunday'"),
        (([], "02:00", "04:00", "UTC"), "days are"),
        ((["sun"], "2 am", "04:00", "UTC"), "'2 am' is no hour"),
        ((["sun"], "02:00", "04:00", "Mars/Base"), "no time zone 'Mars/Base'"),
    ],
)
def test_a_bad_week_is_named(arguments: tuple[list[str], str, str, str], says: str) -> None:
    with pytest.raises(AlertConfigError, match=says):
        Weekly(*arguments)


@pytest.mark.parametrize(
    ("starts", "ends", "says"),
    [
        ("2026-05-01T22:00", "2026-05-01T21:00", "cannot end"),
        ("tomorrow", "2026-05-01T21:00", "'tomorrow' is no time"),
    ],
)
def test_a_bad_window_is_named(starts: str, ends: str, says: str) -> None:
    with pytest.raises(AlertConfigError, match=says):
        Once(starts, ends, "UTC")
