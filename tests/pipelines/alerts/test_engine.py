"""From anomalies to alerts: when one is told, told again, escalated and over."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from pipelines.alerts.errors import AlertCommandError, AlertConfigError
from pipelines.alerts.escalation import EscalationStep
from pipelines.alerts.rates import RateRule
from pipelines.alerts.route import Route
from pipelines.alerts.tables import MEMBERS
from pipelines.anomalies.store import ANOMALIES, TO_REVIEW
from tests.pipelines.alerts.house import MINUTE, House, Recorder


def test_an_anomaly_is_told_after_group_wait_with_what_belongs_to_it(house: House) -> None:
    house.anomaly()
    house.turn()
    assert house.recorder.letters == []
    house.anomaly(severity="major")
    house.turn(0.5)
    (letter,) = house.recorder.letters
    message = letter.message
    assert (message.reason, message.anomalies, message.severity) == ("fired", 2, "critical")
    assert letter.subject == "[CRITICAL] db-1: cpu 97, expected 41 · 2 anomalies"
    assert [m.field for m in message.moved] == ["cpu", "memory", "disk"]
    assert message.moved[0][1:] == (97.0, 41.0, pytest.approx(0.775))


def test_sources_are_alerts_of_their_own(house: House) -> None:
    for source in ("db-1", "db-2", "db-1"):
        house.anomaly(source)
    house.turn()
    house.turn(0.5)
    assert sorted(x.message.where for x in house.recorder.letters) == ["db-1", "db-2"]


def test_grouping_by_nothing_makes_one_alert(make_house: Any) -> None:
    house = make_house(grouping={"by": []})
    for source in ("db-1", "db-2", "web"):
        house.anomaly(source)
    house.turn()
    house.turn(0.5)
    (letter,) = house.recorder.letters
    assert letter.message.sources == ["db-1", "db-2", "web"]
    assert letter.subject.startswith("[CRITICAL] web +2: ")


def test_what_could_not_be_scored_is_an_alert_of_its_own(house: House) -> None:
    house.anomaly()
    failed = {"status": TO_REVIEW, "score": None, "threshold": None, "reason": "no such field"}
    house.anomaly(severity="warning", **failed)
    house.turn()
    house.turn(0.5)
    subjects = sorted(x.subject for x in house.recorder.letters)
    assert subjects == [
        "[CRITICAL] db-1: cpu 97, expected 41",
        "[TO REVIEW] db-1: 1 event not scored",
    ]
    review = next(x for x in house.recorder.letters if x.message.kind == TO_REVIEW)
    assert "nobody knows whether it was normal: no such field" in review.text


def test_the_same_is_not_told_again_and_the_history_says_why(house: House) -> None:
    house.fire()
    for _ in range(12):
        house.anomaly()
        house.turn(10)
    assert house.recorder.reasons == ["fired"]
    (dedup,) = [r for r in house.rows("history", 1) if r["what"] == "dedup"]
    assert dedup["anomalies"] == 12
    assert dedup["rule"] == "source, severity, field"
    assert "the same as was told already" in dedup["text"]


def test_it_is_told_again_after_repeat_interval(house: House) -> None:
    house.fire()
    for _ in range(26):
        house.anomaly()
        house.turn(10)
    assert house.recorder.reasons == ["fired", "repeated"]
    assert house.recorder.letters[-1].subject.endswith("· still")


def test_news_waits_for_group_interval(house: House) -> None:
    house.fire()
    fields = {"network": {"value": 0.0, "expected": 9.0, "contribution": 5.0}}
    house.anomaly(fields=fields)
    house.turn(1)
    assert house.recorder.reasons == ["fired"]
    house.turn(5)
    assert house.recorder.reasons == ["fired", "updated"]
    assert house.recorder.letters[-1].message.moved[0].field == "network"


def test_a_graver_anomaly_does_not_wait(house: House) -> None:
    house.fire(severity="warning")
    house.anomaly(severity="critical")
    house.turn(0.5)
    assert house.recorder.reasons == ["fired", "updated"]
    assert house.recorder.letters[-1].message.past_severities == ["warning"]


def test_a_route_of_critical_ones_hears_of_one_that_becomes_critical(make_house: Any) -> None:
    """A hook or a phone that carries `fired` only would otherwise never hear of it."""
    every, pager, late = Recorder(), Recorder(), Recorder()
    house: House = make_house(
        routes={
            "every": Route(every),
            "pager": Route(pager, ["severity=critical"], on=["fired"]),
            "late": Route(late, ["severity=critical"], on=["escalated"]),
        }
    )
    house.fire(severity="major")
    assert (every.reasons, pager.reasons) == (["fired"], [])
    house.anomaly(severity="critical")
    house.turn(0.5)
    assert (every.reasons, pager.reasons) == (["fired", "updated"], ["fired"])
    assert any("updated: critical; to every, pager" in h for h in house.history())
    fields = {"network": {"value": 0.0, "expected": 9.0, "contribution": 5.0}}
    house.anomaly(fields=fields)
    house.turn(6)
    assert (every.reasons[2:], pager.reasons[1:]) == (["updated"], []), "once"
    assert late.reasons == []


def test_an_escalation_starts_no_hook_that_carries_what_fired(make_house: Any) -> None:
    """That nobody came is no reason to act on its own."""
    hook = Recorder()
    house: House = make_house(
        routes={"hook": Route(hook, ["severity=critical"], on=["fired"])},
        escalation=[EscalationStep("10m", severity="critical")],
    )
    house.fire(severity="major")
    house.turn(10)
    assert "escalated: not acknowledged for 10m; critical; no route carries it" in house.history()
    house.anomaly(severity="major")
    house.turn(1)
    house.anomaly(severity="major", fields={"network": {"value": 0.0, "contribution": 5.0}})
    house.turn(6)
    assert any(h.startswith("updated: critical") for h in house.history())
    assert hook.reasons == []
    house.anomaly(severity="critical")
    house.turn(6)
    assert hook.reasons == ["fired"], "an anomaly is one"


def test_it_is_over_when_nothing_comes(house: House) -> None:
    house.fire()
    house.turn(14)
    assert house.recorder.reasons == ["fired"]
    house.turn(1)
    assert house.recorder.reasons == ["fired", "resolved"]
    assert house.recorder.letters[-1].subject == "[RESOLVED] db-1: over after 15m"
    house.fire()
    assert house.recorder.reasons == ["fired", "resolved", "fired"]
    assert [a["id"] for a in house.rows("alerts")] == [2, 1]


def test_few_anomalies_are_no_alert(make_house: Any) -> None:
    rule = RateRule("few", ["severity=warning"], at_least=3, within="10m")
    house = make_house(rates=[rule])
    for _ in range(3):
        house.anomaly(severity="warning")
        house.turn(6)  # never three within ten minutes
    house.turn(20)
    assert house.recorder.letters == []
    assert "rate: 2 of 3 anomalies in 10m: not enough yet" in house.history()
    assert house.history()[-1] == "expired: never enough anomalies to be told"
    for _ in range(3):
        house.anomaly(severity="warning")
        house.turn(4)
    house.turn(1)
    assert house.recorder.reasons == ["fired"]


def test_a_rate_goes_by_the_time_of_events_and_outlasts_resolve_after(make_house: Any) -> None:
    rule = RateRule("slow", [], at_least=3, within="1h")
    house = make_house(rates=[rule])
    for _ in range(3):
        house.anomaly()
        house.turn(20)
    house.turn(1)
    assert house.recorder.reasons == ["fired"]
    behind = make_house(rates=[rule])
    for hours in (5, 3, 1):  # found together, but hours apart
        behind.anomaly("web", timestamp=behind.clock.now() - hours * 60 * MINUTE)
    behind.turn()
    behind.turn(1)
    assert behind.recorder.letters == []


def test_nobody_acknowledges(make_house: Any) -> None:
    pager, ops = Recorder(), Recorder()
    house = make_house(
        routes={"ops": Route(ops), "pager": Route(pager, ["severity=critical"])},
        escalation=[
            EscalationStep("30m", ["severity=major"], severity="critical"),
            EscalationStep("1h", [], routes=["pager"]),
        ],
    )
    house.fire(severity="major")
    for _ in range(4):
        house.anomaly(severity="major")
        house.turn(10)
    assert (ops.reasons, pager.reasons) == (["fired", "escalated"], ["escalated"])
    assert pager.letters[0].subject.startswith("[ESCALATED CRITICAL] db-1")
    for _ in range(4):
        house.anomaly(severity="major")
        house.turn(10)
    assert pager.reasons == ["escalated", "escalated"]
    house.turn(20)
    assert pager.reasons[-1] == ops.reasons[-1] == "resolved"
    assert any("escalated: not acknowledged for 30m" in h for h in house.history())


def test_who_acknowledges_is_not_called_again(make_house: Any) -> None:
    house = make_house(escalation=[EscalationStep("30m", severity="critical")])
    house.fire(severity="major")
    house.commands.acknowledge(1, "ann", "on it")
    for _ in range(40):
        house.anomaly(severity="major")
        house.turn(10)
    assert house.recorder.reasons == ["fired"]
    assert "acknowledged: by ann: on it" in house.history()
    house.anomaly(severity="critical")  # something new is told all the same
    house.turn(5)
    assert house.recorder.reasons == ["fired", "updated"]


def test_what_cannot_be_acknowledged_is_said(house: House) -> None:
    with pytest.raises(AlertCommandError, match="no alert 7"):
        house.commands.acknowledge(7, "ann", "x")
    house.fire()
    house.commands.acknowledge(1, "ann", "x")
    with pytest.raises(AlertCommandError, match="ann has it already"):
        house.commands.acknowledge(1, "bob", "x")
    house.turn(20)
    with pytest.raises(AlertCommandError, match="is resolved already"):
        house.commands.acknowledge(1, "bob", "x")


def test_routes_are_chosen_by_matchers_and_none_is_said(make_house: Any) -> None:
    db, fields = Recorder(), Recorder()
    routes = {
        "db": Route(db, ["source=~db-.*", "severity=~major|critical"]),
        "cpu": Route(fields, ["field=cpu", "severity=critical"], on=["fired"]),
    }
    house = make_house(routes=routes)
    house.anomaly("db-1", "critical")
    house.anomaly("db-2", "major")
    house.anomaly("web", "major")
    house.turn()
    house.turn(0.5)
    assert sorted(x.message.where for x in db.letters) == ["db-1", "db-2"]
    assert [x.message.where for x in fields.letters] == ["db-1"]
    web = next(a["id"] for a in house.rows("alerts") if a["group"] == "web")
    assert "fired: major; no route carries it" in house.history(web)
    assert house.metrics.unrouted._value.get() == 1
    house.turn(20)
    assert fields.reasons == ["fired"]  # it does not carry ends


def test_every_anomaly_has_its_alert_in_batches_too(make_house: Any) -> None:
    house = make_house(most=7)
    for i in range(50):
        house.anomaly(f"s{i % 5}")
    while house.engine.turn().more:
        pass
    with house.store.connect() as connection:
        missing = sa.select(sa.func.count()).where(
            ANOMALIES.c.id.not_in(sa.select(MEMBERS.c.anomaly))
        )
        assert connection.execute(missing).scalar_one() == 0
    assert sum(a["anomalies"] for a in house.rows("alerts")) == 50


def test_a_turn_that_fails_has_not_happened(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.anomaly()
    house.turn()
    before = house.rows("history", 1)
    house.anomaly()
    monkeypatch.setattr("pipelines.alerts.ledger.save", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        house.turn(0.5)
    monkeypatch.undo()
    assert house.rows("history", 1) == before
    assert house.rows("notifications") == []
    house.turn()
    assert house.recorder.letters[0].message.anomalies == 2


def test_the_first_start_leaves_old_anomalies_out(store: sa.Engine, make_house: Any) -> None:
    with store.begin() as connection:
        connection.execute(sa.text("delete from alert_cursor"))
    house = House(store)
    with store.begin() as connection:
        connection.execute(sa.text("delete from alert_cursor"))
    house.anomaly("old")
    house.clock.forward(2 * 24 * 60)
    house.anomaly("new")
    later = make_house(clock=house.clock)
    later.turn()
    assert [a["group"] for a in later.rows("alerts")] == ["new"]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"grouping": {"by": ["host"]}}, "cannot group by 'host'"),
        ({"grouping": {"group_wait": "1h"}}, "resolve_after=15m must be longer than group_wait=1h"),
        ({"escalation": [EscalationStep("1h"), EscalationStep("30m")]}, "later and later"),
        ({"escalation": [EscalationStep("1h", routes=["pager"])]}, "no route 'pager'"),
        ({"rates": [RateRule("a", [], 1, "1m"), RateRule("a", [], 2, "1m")]}, "names of their own"),
    ],
)
def test_settings_that_make_no_sense_are_named(
    make_house: Any, settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(AlertConfigError, match=says):
        make_house(**settings)


def test_names_from_outside_make_no_headers_and_no_markup(house: House) -> None:
    house.fire(source="db\r\nBcc: all@example.com <script>alert(1)</script>" + "x" * 100)
    (letter,) = house.recorder.letters
    assert "\n" not in letter.subject
    assert "\r" not in letter.subject
    assert len(letter.subject) <= 78
    assert "<script>" not in letter.html
