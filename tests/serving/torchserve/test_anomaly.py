"""The anomaly codec in the handler, and what TorchServe makes of bodies that are no JSON."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from serving.torchserve.handler import OnnxHandler
from tests.serving.conftest import RunningTorchServe
from tests.serving.torchserve.context import Context

TIME = "2026-01-31T12:00:00Z"


@pytest.fixture(scope="module")
def handler(detector: Path, handler_settings: dict[str, Any]) -> OnnxHandler:
    return OnnxHandler(detector, handler_settings["handler"])


def ask(handler: OnnxHandler, *bodies: Any) -> tuple[list[Any], dict[int, int]]:
    """As TorchServe does: bodies that are JSON arrive decoded, NaN and half characters included."""
    context = Context()
    answers = handler.handle([{"body": body} for body in bodies], context)
    return [json.loads(a)["predictions"] for a in answers], context.status


def instances(*values: Any, time: Any = TIME) -> dict[str, Any]:
    return {"instances": [{"values": v, "time": time} for v in values]}


def test_an_event_gets_score_threshold_contributions_and_what_was_expected(
    handler: OnnxHandler,
) -> None:
    answers, status = ask(handler, instances({"cpu_usage": 87, "memory": 54}))
    answer = answers[0][0]
    assert status == {}
    assert answer["score"] == pytest.approx(4.1)
    assert answer["threshold"] == 3.0
    assert answer["contributions"] == pytest.approx({"cpu_usage": 3.7, "memory": 0.4})
    assert answer["expected"] == {"cpu_usage": 50.0, "memory": 50.0}
    assert (answer["missing"], answer["ignored"]) == ([], [])


def test_missing_fields_are_imputed_and_named_and_extra_ones_left_out_and_named(
    handler: OnnxHandler,
) -> None:
    answers, _ = ask(handler, instances({"cpu_usage": 60, "memory": None, "fan": 7, "\ud800": 1}))
    answer = answers[0][0]
    assert answer["score"] == pytest.approx(1.0)
    assert answer["missing"] == ["memory"]
    assert answer["ignored"] == ["?", "fan"]


def test_windows_of_different_lengths_share_a_batch(handler: OnnxHandler) -> None:
    newest = {"cpu_usage": 90, "memory": 50}
    before = {"cpu_usage": 80, "memory": 50}
    answers, _ = ask(handler, instances([newest], [before, newest], newest))
    assert [round(a["score"], 4) for a in answers[0]] == [4.0, 1.0, 4.0]
    assert answers[0][1]["expected"]["cpu_usage"] == 80.0


@pytest.mark.parametrize("time", [TIME, 1769860800, 1769860800.5, "2026-01-31T14:00:00+02:00"])
def test_times_as_text_or_seconds(handler: OnnxHandler, time: Any) -> None:
    codec = handler.codec
    window = codec.check({"values": {"cpu_usage": 1}, "time": time})
    assert window.time == 1769860800


GOOD = {"cpu_usage": 1}


@pytest.mark.parametrize(
    ("instance", "status", "words"),
    [
        ("x", 400, "an object, not str"),
        ({"values": GOOD, "time": TIME, "extra": 1}, 400, "values and time, not 'extra'"),
        ({"time": TIME}, 400, "values is missing"),
        ({"values": [], "time": TIME}, 400, "values is []"),
        ({"values": [GOOD] * 3, "time": TIME}, 400, "3 events; this model looks at 2"),
        ({"values": [GOOD, 7], "time": TIME}, 400, "values[1] is 7"),
        ({"values": {"cpu_usage": "87"}, "time": TIME}, 400, "cpu_usage is '87'; it must be a num"),
        ({"values": {"cpu_usage": True}, "time": TIME}, 400, "cpu_usage is True"),
        ({"values": {"cpu_usage": float("nan")}, "time": TIME}, 400, "cpu_usage is nan; it must"),
        ({"values": {"cpu_usage": float("inf")}, "time": TIME}, 400, "cpu_usage is inf"),
        ({"values": {"cpu_usage": 1e39}, "time": TIME}, 400, "cpu_usage is 1e+39"),
        ({"values": {"cpu_usage": 10**400}, "time": TIME}, 400, "cpu_usage is an integer of"),
        ({"values": [GOOD, {"memory": "?"}], "time": TIME}, 400, "values[1].memory is '?'"),
        ({"values": {"fan": 1}, "time": TIME}, 422, "none of this model's fields, ['cpu_usage'"),
        ({"values": {"memory": None}, "time": TIME}, 422, "none of this model's fields"),
        ({"values": GOOD}, 400, "time is missing"),
        ({"values": GOOD, "time": "2026-01-31T12:00:00"}, 400, "with a zone"),
        ({"values": GOOD, "time": float("nan")}, 400, "time is nan"),
        ({"values": GOOD, "time": True}, 400, "time is True"),
        ({"values": {"cpu_usage": 3e38, "memory": 3e38}, "time": TIME}, None, "not finite"),
    ],
)
def test_a_bad_instance_gets_its_own_error_and_its_neighbours_their_answers(
    handler: OnnxHandler, instance: Any, status: int | None, words: str
) -> None:
    good = {"values": {"cpu_usage": 60}, "time": TIME}
    answers, statuses = ask(
        handler, {"instances": [good, instance, good]}, {"instances": [instance]}
    )
    assert statuses == ({} if status is None else {1: status})
    assert words in answers[0][1]["error"]["detail"]
    assert [answers[0][n]["score"] for n in (0, 2)] == pytest.approx([1.0, 1.0])


@pytest.mark.services
@pytest.mark.parametrize("model", ["anomaly", "recommender"])
@pytest.mark.parametrize(
    "body",
    [
        b"{", b"", b"null", b"[]", b'"text"', b"NaN", b"\xff\xfe", b"[" * 100_000,
        b'{"instances": [{"values": {"cpu_usage": NaN}, "time": 0}]}',
        b'{"instances": [{"values": {"\\ud800\\r\\n": 1}, "time": "\\ud800\\r\\nX: y"}]}',
        '{"instances": [{"values": {"cpu_usage": 1}, "time": "€😀"}]}'.encode(),
        b'{"instances": [{"values": {"cpu_usage": 1' + b"0" * 10_000 + b'}, "time": 0}]}',
    ],
    ids=lambda b: repr(b[:24]),
)  # fmt: skip
def test_no_body_makes_torchserve_fail(
    torchserve: RunningTorchServe, model: str, body: bytes
) -> None:
    request = urllib.request.Request(
        f"{torchserve.server.url}/predictions/{model}",
        data=body,
        headers={
            "Content-Type": "application/json",
            "Authorization": f"Bearer {torchserve.server.tokens.inference_key()}",
        },
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=20)
    with refused.value as answer:
        assert answer.code in (400, 422)
        assert "error" in json.load(answer)["predictions"][0]
