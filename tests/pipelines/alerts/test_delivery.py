"""What is to be sent is sent, whatever fails in between, and what cannot be is not hidden."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.alerts.errors import AlertCommandError, AlertConfigError
from pipelines.alerts.route import Route
from tests.pipelines.alerts.house import House, Recorder


def routed(make_house: Any, sender: Recorder, **settings: Any) -> House:
    house: House = make_house(routes={"ops": Route(sender, **settings)})
    return house


def test_a_failure_is_tried_again_later_and_later(make_house: Any) -> None:
    sender = Recorder(failures=2)
    house = routed(make_house, sender)
    house.fire()
    assert (sender.attempts, sender.reasons) == (1, [])
    (row,) = house.rows("notifications")
    assert (row["status"], row["error"]) == ("waiting", "the mail server is away")
    house.turn(4 / 60)
    assert sender.attempts == 1
    house.turn(1 / 60)
    assert sender.attempts == 2
    house.turn(9 / 60)
    assert sender.attempts == 2
    house.turn(1 / 60)
    assert sender.reasons == ["fired"]
    (row,) = house.rows("notifications")
    assert (row["status"], row["attempts"], row["response"]) == ("sent", 3, "taken")


def test_what_is_given_up_is_listed_and_can_be_sent_again(make_house: Any) -> None:
    sender = Recorder(failures=4)
    house = routed(make_house, sender)
    house.fire()
    for _ in range(8):
        house.anomaly()
        house.turn(2)
    (row,) = house.rows("dead")
    assert (row["attempts"], row["error"]) == (4, "the mail server is away")
    assert "delivery: fired to ops: dead; the mail server is away" in house.history()
    house.delivery.measure()
    assert house.metrics.dead.labels("ops")._value.get() == 1
    with pytest.raises(AlertCommandError, match="no dead notification 7"):
        house.commands.resend(7)
    assert house.commands.resend(None) == 1
    house.send()
    assert sender.reasons == ["fired"]
    house.delivery.measure()
    assert house.metrics.dead.labels("ops")._value.get() == 0


def test_what_will_never_work_is_not_tried_again(make_house: Any) -> None:
    house = routed(make_house, Recorder(failures=1, permanent=True))
    house.fire()
    assert [r["attempts"] for r in house.rows("dead")] == [1]


def test_an_end_does_not_overtake_its_beginning(make_house: Any) -> None:
    sender = Recorder(failures=3)
    house = routed(make_house, sender)
    house.fire()
    house.engine.turn()
    house.clock.forward(15)
    house.engine.turn()  # over, and told so, while the beginning still waits
    for _ in range(6):
        house.turn(1)
    assert sender.reasons == ["fired", "resolved"]


def test_a_killed_sender_leaves_its_claim_and_the_key_stays(make_house: Any) -> None:
    sender = Recorder()
    house = routed(make_house, sender)
    house.anomaly()
    house.engine.turn()
    house.clock.forward(0.5)
    house.engine.turn()
    claimed = house.delivery._claim("ops")  # and killed before it was marked
    assert claimed is not None
    assert not house.delivery.run_once("ops"), "claimed"
    house.clock.forward(2)
    assert house.delivery.run_once("ops")
    assert [x.key for x in sender.letters] == [claimed.key] == ["millrace-1-0-fired-ops"]


def test_a_defect_of_one_sender_does_not_stop_the_others(make_house: Any) -> None:
    class Broken(Recorder):
        def send(self, letter: Any) -> Any:
            raise KeyError("oops")

    good = Recorder()
    house = make_house(routes={"bad": Route(Broken()), "good": Route(good)})
    house.fire()
    assert good.reasons == ["fired"]
    assert house.rows("notifications")[-1]["error"] == "KeyError: 'oops'"


def test_a_limit_gives_up_what_is_over_and_says_so(make_house: Any) -> None:
    sender = Recorder()
    house = routed(make_house, sender, most=2, within="1h", on=["fired"])
    for source in "abc":
        house.anomaly(source)
    house.turn()
    house.turn(0.5)
    assert len(sender.letters) == 2
    assert [r["status"] for r in house.rows("notifications")] == ["limited", "sent", "sent"]
    assert any("limited; ops: more than 2 within" in h for h in house.history(3))
    house.clock.forward(61)
    house.fire(source="d")
    assert len(sender.letters) == 3


def test_what_waits_for_a_route_that_is_gone_is_dead(make_house: Any) -> None:
    routed(make_house, Recorder(failures=1)).fire()
    later = make_house(routes={"other": Route(Recorder())})
    assert [r["error"] for r in later.rows("dead")] == ["no such route any more"]


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"on": ["sometimes"]}, "on="), ({"on": []}, "on="), ({"most": 3}, "most and within")],
)
def test_a_bad_route_is_named(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(AlertConfigError, match=says):
        Route(Recorder(), **settings)


def test_no_route_at_all_is_refused(store: Any) -> None:
    from pipelines.alerts.route import check

    with pytest.raises(AlertConfigError, match="no route; choose some"):
        check({}, [])
