"""The ranking codec in the handler: one user, many items, one call."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models import artifact
from models.export import OPSET, export_onnx
from models.recommender.ranking.encoding import FIRST, MISSING, Encoding
from models.recommender.ranking.fields import Fields
from serving.torchserve.handler import OnnxHandler
from tests.serving.torchserve.context import Context

FIELDS = {
    "age": {"kind": "dense", "side": "user"},
    "liked": {"kind": "multi_hot", "side": "user", "table": "item_id", "most": 3},
    "item_id": {"kind": "categorical", "buckets": 2},
    "price": {"kind": "dense"},
}
FIRST_ITEM = FIRST + 2


class Sum(nn.Module):
    """age/100 (0.5 where missing) + 1 for each liked id that is the item's + price/1000."""

    def forward(self, age: Tensor, liked: Tensor, item: Tensor, price: Tensor) -> Tensor:
        known = torch.where(age.isnan(), 50.0, age) / 100
        hits = (liked == item[:, None]).sum(1).to(torch.float32)
        return known + hits + torch.where(price.isnan(), 0.0, price) / 1000


@pytest.fixture(scope="module")
def handler(
    tmp_path_factory: pytest.TempPathFactory, handler_settings: dict[str, Any]
) -> OnnxHandler:
    root = tmp_path_factory.mktemp("ranker")
    folder = root / "new"
    (folder / "assets").mkdir(parents=True)
    encoding = Encoding(Fields.of(FIELDS), {"item_id": [f"i{n}" for n in range(10)]})
    (folder / "assets" / "fields.json").write_text(json.dumps(encoding.as_json()))
    example = {
        "age": torch.zeros(2),
        "liked": torch.ones(2, 3).long(),
        "item_id": torch.ones(2).long(),
        "price": torch.zeros(2),
    }
    dynamic = {name: {0: "batch"} for name in example}
    dynamic["liked"] = {0: "batch", 1: "liked_length"}
    inputs, outputs = export_onnx(Sum(), example, dynamic, ["scores"], folder / "model.onnx")
    signature = artifact.Signature(
        name="ranker", version="1", task="ranking", inputs=inputs, outputs=outputs,
        opset=OPSET, limits={"candidates": 500},
    )  # fmt: skip
    published: Path = artifact.write(folder, root, signature).path
    return OnnxHandler(published, handler_settings["handler"])


def ask(handler: OnnxHandler, *instances: Any) -> tuple[list[Any], dict[int, int]]:
    context = Context()
    [body] = handler.handle([{"body": {"instances": list(instances)}}], context)
    return json.loads(body)["predictions"], context.status


def test_a_user_is_sent_once_and_items_as_lists(handler: OnnxHandler) -> None:
    instance = {
        "user": {"age": 30, "liked": ["i1", "i2"]},
        "items": {"item_id": ["i1", "i3", "i2", "new"], "price": [10, None, 0.5, 1]},
    }
    answers, status = ask(handler, instance)
    assert status == {}
    [answer] = answers
    assert answer["scores"] == pytest.approx([1.31, 0.3, 1.3005, 0.301])
    assert (answer["missing"], answer["ignored"]) == ([], [])


def test_five_hundred_candidates_and_neighbours_in_one_call(handler: OnnxHandler) -> None:
    many = {"user": {"age": 10}, "items": {"price": list(range(500))}}
    few = {"user": {"liked": ["i1", "i2", "i3", "i4"]},
           "items": {"item_id": ["i4", "i1"], "age": [20, 30]}}  # fmt: skip
    answers, _ = ask(handler, many, few, {"items": {"item_id": [None]}})
    assert answers[0]["scores"] == pytest.approx([1.1 + n / 1000 for n in range(500)], abs=1e-6)
    assert answers[0]["missing"] == ["liked", "item_id"]
    assert answers[1]["scores"] == pytest.approx([1.2, 0.3]), "the last three liked are read"
    assert answers[2]["scores"] == pytest.approx([1.5]), "missing equals missing here"
    assert answers[2]["missing"] == ["age", "liked", "price"]


def test_what_the_model_does_not_know_is_named(handler: OnnxHandler) -> None:
    [answer], _ = ask(handler, {"user": {"shoe": 44}, "items": {"item_id": ["i1"], "\ud800": [1]}})
    assert answer["ignored"] == ["?", "shoe"]


@pytest.mark.parametrize(
    ("instance", "status", "words"),
    [
        ("x", 400, "an object, not str"),
        ({"items": {"item_id": ["i1"]}, "k": 3}, 400, "user and items, not 'k'"),
        ({"user": []}, 400, "user is an object"),
        ({"user": {}}, 400, "items is an object of field"),
        ({"items": {}}, 400, "at least one"),
        ({"items": [{"item_id": "i1"}]}, 400, "items is an object of field"),
        ({"items": {"item_id": "i1"}}, 400, "items.item_id is a list"),
        ({"items": {"item_id": []}}, 400, "has no item"),
        ({"items": {"item_id": ["i1"], "price": [1, 2]}}, 400, "item_id has 1, price has 2"),
        ({"user": {"price": 1}, "items": {"price": [1]}}, 400, "price stands in user and in items"),
        ({"user": {"age": "30"}, "items": {"price": [1]}}, 400, "age is '30'; it must be a number"),
        ({"user": {"liked": "i1"}, "items": {"price": [1]}}, 400, "liked is 'i1'; it must be a li"),
        ({"items": {"item_id": [1.5]}}, 400, "item_id is 1.5; a category is text"),
        ({"items": {"price": [10**400]}}, 400, "price is huge; it must be a finite number"),
        ({"items": {"price": [0] * 501}}, 413, "501 items; at most 500 an instance"),
    ],
)
def test_a_bad_instance_gets_its_own_error(
    handler: OnnxHandler, instance: Any, status: int, words: str
) -> None:
    good = {"items": {"item_id": ["i1"]}}
    answers, _ = ask(handler, good, instance)
    assert answers[1]["error"]["status"] == status
    assert words in answers[1]["error"]["detail"]
    assert len(answers[0]["scores"]) == 1
    assert ask(handler, instance)[1] == {0: status}


def test_an_answer_that_is_no_number_is_an_error(handler: OnnxHandler) -> None:
    query = handler.codec.check({"items": {"item_id": ["i1", "i2"]}})
    answers = handler.codec.answer(lambda _: [np.array([0.5, np.nan])], [query])
    assert answers[0]["error"]["status"] == 500


def test_unknown_and_missing_items_have_ids_of_their_own(handler: OnnxHandler) -> None:
    query = handler.codec.check({"items": {"item_id": ["i0", None, "new"]}})
    assert query.columns["item_id"][:2].tolist() == [FIRST_ITEM, MISSING]
    assert FIRST <= query.columns["item_id"][2] < FIRST_ITEM
