"""Two towers that read users' attributes: trained, exported, served, with tiny limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import polars as pl
import pytest
import torch

from models import artifact
from models.artifact import Artifact
from models.recommender.batch import BatchRecommender
from models.recommender.interactions import DataError
from models.recommender.retrieval.user_inputs import UserInputs
from models.report import Report
from models.run import Run
from serving.torchserve.codecs import CODECS, InstanceError
from tests.models.recommender.retrieval.tiny import index, serve, train_towers

PLACES, USERS = 8, 160
HANDS = ("left", "right")


def user(n: int) -> dict[str, Any]:
    """Every tenth user has said nothing."""
    if n % 10 == 0:
        return {"user_id": f"u{n}", "hand": None, "tags": None, "age": None}
    return {"user_id": f"u{n}", "hand": HANDS[n % 2], "tags": f"t{n % 2}|x", "age": 20 + n % 30}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """After what all touch, the left-handed touch one thing and the right-handed another."""
    folder = tmp_path_factory.mktemp("users")
    rng = np.random.default_rng(0)
    lines = []
    for n in range(USERS):
        first = int(rng.integers(PLACES - 3))
        places = range(first, PLACES)
        walk = [i for p in places for i in (f"all{p}", f"{HANDS[n % 2]}{p}")]
        lines.append(" ".join([f"u{n}", *walk]))
    (folder / "walks.txt").write_text("\n".join(lines) + "\n")
    kinds = ("all", *HANDS)
    pl.DataFrame([
        {"item_id": f"{kind}{p}", "kind": kind, "place": f"p{p}"}
        for kind in kinds for p in range(PLACES)
    ]).write_csv(folder / "items.csv")  # fmt: skip
    # The last five users have no row at all.
    pl.DataFrame([user(n) for n in range(USERS - 5)]).write_csv(folder / "users.csv")
    return folder


@pytest.fixture(scope="module")
def trained(folder: Path) -> Artifact:
    return train_towers(
        folder,
        "item_attributes.categories=[kind,place]",
        "user_attributes=table",
        f"user_attributes.path={folder / 'users.csv'}",
        "user_attributes.categories=[hand,tags]",
        "user_attributes.separator='|'",
        "user_attributes.numbers=[age]",
        "+user_attributes.features.hand=user_profile:hand",
        "model.profile_tower.left_out=0.2",  # few users: most steps should see who they are
        "evaluation.floors=null",
        "evaluation.beyond=null",
    )


def test_who_asks_decides_where_the_history_does_not(trained: Artifact) -> None:
    """One thing that all touch, and nothing else: only the attribute tells what comes next."""
    for n, hand in enumerate(HANDS):
        known = {"hand": hand, "tags": [f"t{n}", "x"], "age": 30}
        asked = [{"history": [f"all{p}"], "user": known, "k": 2} for p in range(PLACES - 3)]
        for answer in serve(trained, *asked):
            assert {item.rstrip("01234567") for item in answer["items"]} == {hand}


def test_served_answers_are_those_of_the_module(folder: Path, trained: Artifact) -> None:
    """Raw values through the handler, codes of the training's table through the module."""
    run = Run.open(folder / "run")
    towers, names = run.model.eval(), run.data.interactions.item_ids
    users = run.data.interactions.user_ids.to_list()
    code = {name: n + 1 for n, name in enumerate(names)}
    for n in (1, 2, 10, USERS - 1):  # two with attributes, one of nulls, one without a row
        told = user(n) if n < USERS - 5 else {}
        told = {k: v for k, v in told.items() if k != "user_id" and v is not None}
        if "tags" in told:
            told["tags"] = told["tags"].split("|")
        (answer,) = serve(trained, {"history": ["all2", "gone"], "user": told, "k": 10})
        with torch.inference_mode():
            row = torch.tensor([users.index(f"u{n}") + 1])
            scores = towers.score(torch.tensor([[code["all2"]]]), row)[0]
        expected = [scores[code[i]].item() for i in answer["items"]]
        assert answer["scores"] == pytest.approx(expected, abs=1e-4)
        assert answer["scores"] == sorted(answer["scores"], reverse=True)


def test_a_batch_may_mix_who_is_known_and_who_is_not(trained: Artifact) -> None:
    mixed = [
        {"history": ["all1"], "k": 3},
        {"history": ["all1"], "user": None, "k": 3},
        {"history": ["all1"], "user": {"hand": None, "tags": None, "age": None}, "k": 3},
        {"history": ["all1"], "user": {"shoe": 44}, "k": 3},  # not read
        {"history": ["all1"], "user": {"hand": "left", "tags": list("abcdefg")}, "k": 3},
    ]
    together = serve(trained, *mixed)
    for one, answer in zip(mixed, together, strict=True):
        (alone,) = serve(trained, one)
        assert alone["items"] == answer["items"]
        assert alone["scores"] == pytest.approx(answer["scores"], abs=1e-5)
    assert together[0] == together[1] == together[2] == together[3] != together[4]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"age": "old"}, "user.age is 'old'; it must be a number or null"),
        ({"hand": 1.5}, r"user.hand is 1.5; a category is text, a whole number"),
        ({"tags": "x"}, "user.tags is 'x'; it must be a list of categories"),
        ("left", "user is 'left'; it must be an object of field → value, or null"),
    ],
)
def test_a_value_that_cannot_be_is_named(trained: Artifact, given: Any, words: str) -> None:
    codec = CODECS["recommendation"](trained)
    with pytest.raises(InstanceError) as refused:
        codec.check({"history": ["all1"], "user": given})
    assert refused.value.status == 400
    assert words in refused.value.detail


def test_the_artifact_says_what_it_reads(trained: Artifact) -> None:
    signature = trained.signature
    assert [i.name for i in signature.inputs] == [
        "history", "seen", "user_hand", "user_tags", "user_age",
    ]  # fmt: skip
    fields = trained.read_asset("user_fields.json")["fields"]
    assert {f["name"]: f["feature"] for f in fields} == {
        "hand": "user_profile:hand", "tags": None, "age": None,
    }  # fmt: skip
    assert "attributes where they are given" in (trained.path / "MODEL_CARD.md").read_text()


def test_new_items_leave_users_as_they_were(folder: Path, trained: Artifact) -> None:
    new = pl.DataFrame([{"item_id": "left-new", "kind": "left", "place": "p1"}])
    extended = index(folder, trained, new)
    known = {"hand": "left", "tags": ["t0", "x"], "age": 30}
    before, after = (
        serve(a, {"history": ["all1"], "user": known, "k": 10})[0] for a in (trained, extended)
    )
    assert "left-new" in after["items"]
    assert [i for i in after["items"] if i != "left-new"] == before["items"][:9]


def test_an_index_is_asked_with_the_same_vectors(folder: Path, trained: Artifact) -> None:
    run = Run.open(folder / "run", overrides={"export": {"exact_limit": 10}})
    indexed = artifact.load(run.export(Report(model={}, data=run.data.describe())))
    assert [i.name for i in indexed.signature.inputs] == [
        "history", "user_hand", "user_tags", "user_age",
    ]  # fmt: skip
    asked = [
        {"history": ["all1"], "k": 5},
        {"history": ["all1"], "user": {"hand": "right", "age": 30}, "k": 5},
    ]
    for ours, exact in zip(serve(indexed, *asked), serve(trained, *asked), strict=True):
        assert ours["items"] == exact["items"]
        assert ours["scores"] == pytest.approx(exact["scores"], abs=1e-4)


def test_a_run_whose_users_changed_their_attributes_says_so(
    folder: Path, trained: Artifact, tmp_path: Path
) -> None:
    changed = pl.read_csv(folder / "users.csv").with_columns(pl.col("hand") + "ed")
    changed.write_csv(tmp_path / "users.csv")
    moved = {"datamodule": {"users": {"path": str(tmp_path / "users.csv")}}}
    with pytest.raises(DataError, match="users have other attribute values now than when"):
        Run.open(folder / "run", overrides=moved)


def test_lists_made_beforehand_are_those_that_are_served(trained: Artifact, tmp_path: Path) -> None:
    asked = pl.DataFrame(
        {
            "user_id": ["a", "b", "c"], "item_ids": [["all1"], ["all2", "gone"], ["all1"]],
            "hand": ["left", "right", None], "tags": [["t0", "x"], ["t1"], None],
        }
    )  # fmt: skip
    recommender = BatchRecommender(k=5, rows=10, batch=2, threads=1)
    recommender.recommend(asked, trained.path, tmp_path / "users.parquet")
    for row in pl.read_parquet(tmp_path / "users.parquet").join(asked, "user_id").to_dicts():
        known = {"hand": row["hand"], "tags": row["tags"]}
        history = row["item_ids_right"]
        (answer,) = serve(trained, {"history": history, "user": known, "k": 5})
        assert row["item_ids"] == answer["items"]
        assert row["scores"] == pytest.approx(answer["scores"], abs=1e-4)


def test_inputs_of_nothing_known_are_the_graph_s_own(trained: Artifact) -> None:
    session = onnxruntime.InferenceSession(str(trained.model))
    inputs = UserInputs.of(trained).columns([{}, {}])
    assert {i.name for i in session.get_inputs()} == {"history", "seen", *inputs}
    ones = np.ones((2, 3), dtype=np.int64)
    items, _ = session.run(None, {"history": ones, "seen": ones, **inputs})
    assert (items[0] == items[1]).all()
