"""The handler without a server: batches, bad neighbours, limits, damaged artifacts."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from models.artifact import ArtifactError
from serving.torchserve.handler import OnnxHandler
from tests.serving.texts import make_classifier
from tests.serving.torchserve.context import Context


@pytest.fixture(scope="module")
def handler(tiny_artifact: Path, handler_settings: dict[str, Any]) -> OnnxHandler:
    return OnnxHandler(tiny_artifact, handler_settings["handler"])


def ask(handler: OnnxHandler, *bodies: Any) -> tuple[list[Any], dict[int, int]]:
    context = Context()
    rows = [{"body": b if isinstance(b, bytes) else json.dumps(b).encode()} for b in bodies]
    return [json.loads(a)["predictions"] for a in handler.handle(rows, context)], context.status


def instances(*histories: list[str], **more: Any) -> dict[str, Any]:
    return {"instances": [{"history": h, **more} for h in histories]}


def test_next_items_come_first_and_seen_ones_never(handler: OnnxHandler) -> None:
    answers, status = ask(handler, instances(["i05", "i03"], k=3))
    assert answers[0][0]["items"] == ["i04", "i06", "i07"]  # i05 is in the history
    assert status == {}


def test_requests_of_one_batch_do_not_mix(handler: OnnxHandler) -> None:
    bodies = [instances([f"i{n:02d}"], k=1) for n in range(10)]
    answers, _ = ask(handler, *bodies)
    assert [a[0]["items"] for a in answers] == [[f"i{n + 1:02d}"] for n in range(10)]


def test_histories_of_different_lengths_share_a_batch(handler: OnnxHandler) -> None:
    long = [f"i{n:02d}" for n in range(30)]
    answers, _ = ask(handler, instances(["i40"], long, ["i10", "i11"], k=1))
    assert [a["items"][0] for a in answers[0]] == ["i41", "i30", "i12"]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"{", 400, "not JSON"),
        ({"rows": []}, 400, "instances"),
        ({"instances": []}, 400, "at least one"),
        ({"instances": ["x"]}, 400, "an object, not str"),
        (instances(["i01"], k=0), 400, "k is a whole number from 1 to 10, not 0"),
        (instances(["i01"], k=10**9), 400, "from 1 to 10"),
        (instances(["i01"], k=True), 400, "not True"),
        ({"instances": [{"history": [1]}]}, 400, "list of item id strings"),
        (instances([]), 422, "history has 0 items"),
        (instances(["new", "newer"]), 422, "none of them known"),
        ({"instances": [{"history": ["i01"]}] * 257}, 413, "at most 256"),
    ],
)
def test_a_bad_request_gets_its_own_error(
    handler: OnnxHandler, body: Any, status: int, words: str
) -> None:
    answers, statuses = ask(handler, instances(["i01"], k=1), body, instances(["i02"], k=1))
    assert statuses == {1: status}
    assert words in answers[1][0]["error"]["detail"]
    assert answers[0][0]["items"] == ["i02"]
    assert answers[2][0]["items"] == ["i03"]


def test_one_bad_instance_among_good_ones_leaves_the_request_whole(handler: OnnxHandler) -> None:
    answers, statuses = ask(handler, instances(["i01"], ["new"], ["i02"], k=1))
    assert statuses == {}
    assert [("error" in a) for a in answers[0]] == [False, True, False]


def test_unknown_items_are_counted_and_passed_over(handler: OnnxHandler) -> None:
    answers, _ = ask(handler, instances(["i01", "new"], k=1))
    assert answers[0][0] == {"items": ["i02"], "scores": [50.0], "unknown": 1}


def test_fewer_candidates_than_places(handler: OnnxHandler) -> None:
    seen = [f"i{n:02d}" for n in range(47)]
    answers, _ = ask(handler, {"instances": [{"history": ["i46"], "seen": seen}]})
    assert answers[0][0]["items"] == ["i47", "i48", "i49"]


def test_a_damaged_artifact_is_refused(
    tiny_artifact: Path, handler_settings: dict[str, Any], tmp_path: Path
) -> None:
    copy = tmp_path / "artifact"
    shutil.copytree(tiny_artifact, copy)
    with (copy / "model.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ArtifactError, match=r"model\.onnx: SHA-256"):
        OnnxHandler(copy, handler_settings["handler"])


def test_nearly_even_texts_are_answered_by_the_float32_graph(
    handler_settings: dict[str, Any], tmp_path: Path
) -> None:
    classifier = make_classifier(tmp_path, exact_below=1.0)
    handler = OnnxHandler(classifier, handler_settings["handler"])
    texts = ["good good film", "good bad film"]
    answers, _ = ask(handler, {"instances": [{"text": t} for t in texts]})
    rounded, exact = (a["probabilities"]["positive"] for a in answers[0])
    assert exact == 0.5
    assert rounded == pytest.approx(1 / (1 + math.exp(-5.75)), abs=1e-6)
