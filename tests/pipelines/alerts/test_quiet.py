"""Silences and maintenance windows: what they keep quiet, and that everybody can see it."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from pipelines.alerts.errors import AlertCommandError, AlertConfigError
from pipelines.alerts.escalation import EscalationStep
from pipelines.alerts.quiet import maintenance
from pipelines.alerts.schedule import Once, Span, Weekly
from tests.pipelines.alerts.house import MINUTE, START, House


def silence(house: House, *matchers: str, minutes: float = 60, start: float = 0) -> tuple[int, int]:
    begin = house.clock.now() + round(start * MINUTE)
    span = Span(begin, begin + round(minutes * MINUTE))
    return house.commands.silence(matchers, span, "ann", "disk swap")


def test_a_silence_is_applied_and_the_history_shows_it(house: House) -> None:
    id, past = silence(house, "source=~db-.*", "severity=~major|critical")
    assert past == 0
    for source in ("db-1", "db-1", "web"):
        house.anomaly(source)
    house.turn()
    house.turn(1)
    assert [x.message.where for x in house.recorder.letters] == ["web"]
    db = next(a for a in house.rows("alerts") if a["group"] == "db-1")
    assert (db["anomalies"], db["quiet"], db["told"]) == (2, 2, 0)
    (applied,) = [r for r in house.rows("history", db["id"]) if r["what"] == "silence"]
    assert applied["rule"] == f"silence {id}"
    assert applied["anomalies"] == 2
    assert "ann: disk swap (source=~db-.*, severity=~major|critical)" in applied["text"]
    assert house.rows("silences")[0]["kept quiet"] == 2
    house.turn(20)
    assert "expired: all of it was kept quiet" in house.history(db["id"])


def test_after_a_silence_it_is_told(house: House) -> None:
    silence(house, "source=db-1", minutes=10)
    house.anomaly()
    house.turn()
    house.turn(10)
    assert house.recorder.letters == []
    house.anomaly()
    house.turn()
    house.turn(1)
    (letter,) = house.recorder.letters
    assert (letter.message.anomalies, letter.message.suppressed) == (2, 1)
    assert "2 since" in letter.text
    assert "1 of them kept quiet" in letter.text


def test_a_silence_holds_back_repeats_and_escalation_of_what_fires(make_house: Any) -> None:
    house: House = make_house(
        escalation=[EscalationStep("30m")], grouping={"repeat_interval": "1h"}
    )
    house.fire()
    silence(house, "source=db-1", minutes=120)
    for _ in range(11):
        house.anomaly()
        house.turn(10)
    assert house.recorder.reasons == ["fired"]
    (held,) = [h for h in house.history() if h.startswith("held")][:1]
    assert "not told while ann keeps it quiet: disk swap (source=db-1)" in held
    for _ in range(2):
        house.anomaly()
        house.turn(10)
    assert house.recorder.reasons[1] == "escalated", "it goes on after the silence"
    silence(house, "source=db-1", minutes=120)
    house.turn(20)
    assert house.recorder.reasons[-1] == "resolved", "an end is told all the same"


def test_what_goes_on_is_told_at_the_end_of_a_window(make_house: Any) -> None:
    """Not up to a group_interval later."""
    house: House = make_house(escalation=[EscalationStep("30m")])
    house.fire()
    window = Once("2026-01-05T00:28", "2026-01-05T01:02", "UTC")
    house.commands.announce("swap", ["source=db-1"], window, "ann", "disk swap")
    while house.clock.now() < START + 61 * MINUTE:
        house.anomaly()
        house.turn(1)
    assert house.recorder.reasons == ["fired"]
    house.clock.time = START + 62 * MINUTE
    house.anomaly()
    house.turn()
    assert house.recorder.reasons == ["fired", "escalated"]


def test_a_silence_of_one_source_does_not_hold_a_group_of_two(make_house: Any) -> None:
    house: House = make_house(grouping={"by": [], "repeat_interval": "10m"})
    house.anomaly("db-1")
    house.anomaly("db-2")
    house.turn()
    silence(house, "source=db-1")
    house.turn(0.5)
    house.turn(11)
    assert house.recorder.reasons == ["fired", "repeated"]


def test_a_silence_to_come_and_one_taken_back_keep_nothing_quiet(house: House) -> None:
    silence(house, "source=db-1", start=60)
    id, _ = silence(house, "source=db-1")
    house.commands.unsilence(id, "bob")
    assert [r["state"] for r in house.rows("silences")] == ["over", "to come"]
    house.fire()
    assert house.recorder.reasons == ["fired"]
    with pytest.raises(AlertCommandError, match="is over already"):
        house.commands.unsilence(id, "bob")
    with pytest.raises(AlertCommandError, match="no silence 9"):
        house.commands.unsilence(9, "bob")


def test_a_silence_for_one_field_does_not_hide_another(house: House) -> None:
    silence(house, "field=cpu")
    house.anomaly()  # memory moved too
    house.turn()
    house.turn(1)
    assert house.recorder.reasons == ["fired"]
    silence(house, "field=~cpu|memory")
    house.anomaly("db-2")
    house.turn()
    house.turn(1)
    assert house.recorder.reasons == ["fired"]


def test_a_silence_says_what_of_the_past_it_matches(house: House) -> None:
    for source in ("db-1", "db-2", "web"):
        house.anomaly(source)
    assert silence(house, "source=~db-.*")[1] == 2
    assert silence(house, "source=~bd-.*")[1] == 0


def test_a_silence_that_did_nothing_is_reported(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    silence(house, "source=~bd-.*", minutes=10)
    silence(house, "source=~db-.*", minutes=10)
    house.anomaly()
    house.turn()
    assert "matched nothing" not in caplog.text
    with caplog.at_level(logging.INFO, "pipelines.alerts.quiet"):
        house.turn(10)
    (vain,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert (
        "silence 1 by ann (source=~bd-.*; disk swap) ended and has matched nothing"
        in vain.msg % vain.args
    )  # type: ignore[operator]
    assert "silence 2 by ann" in caplog.text
    assert house.metrics.vain_silences._value.get() == 1
    assert [r["kept quiet"] for r in house.rows("silences")] == [1, "nothing"]
    house.turn(10)
    assert house.metrics.vain_silences._value.get() == 1, "once"


def test_a_silence_that_cannot_apply_is_refused(house: House) -> None:
    with pytest.raises(AlertCommandError, match="would keep everything quiet"):
        silence(house)
    with pytest.raises(AlertCommandError, match="would never apply"):
        silence(house, "source=db-1", start=-60, minutes=30)
    with pytest.raises(AlertConfigError, match="no label 'sorce'"):
        silence(house, "sorce=db-1")


def test_maintenance_every_week_in_its_time_zone(make_house: Any) -> None:
    # The house opens on Monday at 00:00 UTC, which is 01:00 in Berlin.
    window = Weekly(["mon"], "01:00", "02:00", "Europe/Berlin")
    house = make_house(
        maintenance=[maintenance("backup", ["source=~db-.*"], window, "ops", "nightly")]
    )
    house.anomaly("db-1")
    house.anomaly("web")
    house.turn()
    house.turn(1)
    assert [x.message.where for x in house.recorder.letters] == ["web"]
    (row,) = house.rows("maintenance")
    assert (row["state"], row["kept quiet"], row["who"]) == ("in force", 1, "ops")
    assert any("maintenance: kept quiet by ops: nightly" in h for h in house.history(1))
    house.clock.forward(60)
    late = house.clock.now() - 30 * MINUTE  # of an event in the window, seen after it
    house.anomaly("db-2", timestamp=late)
    house.anomaly("db-3")
    house.turn()
    house.turn(1)
    assert [x.message.where for x in house.recorder.letters if x.message.reason == "fired"] == [
        "web",
        "db-3",
    ]


def test_maintenance_by_command(house: House) -> None:
    once = Once("2026-01-05T02:00", "2026-01-05T03:00", "UTC")
    span, past = house.commands.announce("disk swap", ["source=db-1"], once, "ann", "new disks")
    assert (span.start - house.clock.now(), past) == (120 * MINUTE, 0)
    house.clock.forward(130)
    house.anomaly()
    house.turn()
    house.turn(1)
    assert house.recorder.letters == []
    with pytest.raises(AlertCommandError, match="choose another name"):
        house.commands.announce("disk swap", [], once, "ann", "x")
    house.commands.cancel("disk swap")
    house.anomaly()
    house.turn()
    house.turn(1)
    assert house.recorder.reasons == ["fired"]
    with pytest.raises(AlertCommandError, match="no maintenance 'disk swap'"):
        house.commands.cancel("disk swap")
    with pytest.raises(AlertCommandError, match="would never apply"):
        house.commands.announce("past", [], Once("2025-01-05", "2025-01-06", "UTC"), "ann", "x")
