"""Remediation hooks: allowed or not, signed, refused when replayed, and on paper by default."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from pipelines.alerts.errors import AlertConfigError
from pipelines.alerts.route import Route
from pipelines.alerts.senders.remediation import RemediationSender
from pipelines.alerts.signature import SignatureError, secret_bytes, sign, verify
from scripts.entrypoint import CONFIGS
from tests.pipelines.alerts.house import House, ManualClock
from tests.pipelines.alerts.servers import HttpSink

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()


def hook(port: int, clock: ManualClock, **changed: Any) -> RemediationSender:
    settings: dict[str, Any] = {
        "url": f"http://127.0.0.1:{port}/restart", "action": "restart",
        "parameters": {"unit": "db"},
        "secret": SECRET, "hosts": [f"127.0.0.1:{port}"], "actions": ["restart"], "dry_run": False,
        "require_https": False, "timeout_s": 5.0, "clock": clock,
    }  # fmt: skip
    return RemediationSender(**settings | changed)


def hooked(make_house: Any, port: int, **changed: Any) -> House:
    clock = ManualClock()
    routes = {"remediation": Route(hook(port, clock, **changed), on=["fired"])}
    house: House = make_house(routes=routes, clock=clock)
    return house


def test_a_hook_is_signed_and_its_answer_recorded(make_house: Any, http: HttpSink) -> None:
    house = hooked(make_house, http.port)
    house.fire()
    (request,) = http.requests
    seen: set[str] = set()
    now = house.clock.now() / 1e6
    verify(KEY, request.headers, request.body, now, seen)
    body = json.loads(request.body)
    assert (body["action"], body["parameters"], body["sources"]) == (
        "restart", {"unit": "db"}, ["db-1"],
    )  # fmt: skip
    assert body["fields"] == ["cpu", "memory", "disk"]
    (row,) = house.rows("notifications")
    assert (row["status"], row["response"]) == ("sent", "200 restarted")
    with pytest.raises(SignatureError, match="seen before"):
        verify(KEY, request.headers, request.body, now, seen)
    with pytest.raises(SignatureError, match="sent 301 s ago; 300 are accepted"):
        verify(KEY, request.headers, request.body, now + 301, set())
    with pytest.raises(SignatureError, match="no signature fits"):
        verify(KEY, request.headers, request.body.replace(b"restart", b"destroy"), now, set())
    with pytest.raises(SignatureError, match="no signature fits"):
        verify(KEY[:-1] + b"x", request.headers, request.body, now, set())
    with pytest.raises(SignatureError, match="are needed"):
        verify(KEY, {}, request.body, now, set())


def test_it_signs_as_the_specification_says() -> None:
    # The example of the Standard Webhooks specification's reference libraries.
    key = secret_bytes("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signature = sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_another_attempt_has_the_same_id_and_a_new_nonce(make_house: Any, http: HttpSink) -> None:
    house = hooked(make_house, http.port)
    http.answers = [503]
    house.fire()
    house.turn(1)
    first, second = http.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    seen: set[str] = set()
    for request in http.requests:
        verify(KEY, request.headers, request.body, house.clock.now() / 1e6, seen)


@pytest.mark.parametrize("status", [400, 302])
def test_a_refusal_and_a_redirect_are_final(make_house: Any, http: HttpSink, status: int) -> None:
    house = hooked(make_house, http.port)
    http.answers = [status]
    house.fire()
    house.turn(5)
    assert [r.path for r in http.requests] == ["/restart"]
    (row,) = house.rows("dead")
    assert row["response"] == f"{status} no"


def test_a_dry_run_sends_nothing_and_records_what_it_would(make_house: Any, http: HttpSink) -> None:
    house = hooked(make_house, http.port, dry_run=True, secret="")
    house.fire()
    assert http.requests == []
    (row,) = house.rows("notifications")
    assert row["status"] == "dry_run"
    assert row["response"].startswith('would POST to 127.0.0.1: {"action": "restart"')
    assert "delivery: fired to remediation: dry run" in house.history()


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"hosts": ["example.com"]}, "host '127.0.0.1:1' is not on the allow-list"),
        ({"actions": ["scale_out"]}, "action 'restart' is not on the allow-list"),
        ({"require_https": True}, "needs https"),
        ({"secret": "hunter2"}, "whsec_"),
        ({"secret": "whsec_c2hvcnQ="}, "at least 24 random bytes"),
        ({"secret": ""}, "whsec_"),
        ({"url": "ftp://127.0.0.1"}, "no http"),
    ],
)
def test_what_is_not_allowed_does_not_start(changed: dict[str, Any], says: str) -> None:
    with pytest.raises(AlertConfigError, match=says) as raised:
        hook(1, ManualClock(), **changed)
    assert "hunter2" not in str(raised.value)


def test_a_user_in_the_url_does_not_pass_for_the_host() -> None:
    with pytest.raises(AlertConfigError, match=r"host 'evil\.example' is not"):
        hook(
            1,
            ManualClock(),
            url="http://hooks.example.com@evil.example/",
            hosts=["hooks.example.com"],
        )


def test_the_configured_hook_is_a_dry_run() -> None:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose("alert", ["alerts/routes=[log,remediation]", "paths.root=/tmp"])
    assert cfg.alerts.routes.remediation.sender.dry_run is True
    route = instantiate(cfg.alerts.routes.remediation)
    assert route.on == {"fired"}
    assert (route.most, route.within) == (3, 3600 * 10**6)
