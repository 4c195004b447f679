"""Two towers as a user trains, exports and extends them: the real configs, tiny limits."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import polars as pl
import pytest
import torch

from models import artifact, champion
from models.artifact import Artifact, ArtifactError
from models.recommender.interactions import DataError
from models.report import Report
from models.run import Run
from tests.conftest import ROOT
from tests.models.recommender.retrieval.tiny import index, serve, train_towers

RINGS, SIZE = 12, 8


def row(ring: int, place: int) -> dict[str, Any]:
    """An item is a series and a place in it, and its columns say so."""
    return {
        "item_id": f"r{ring}p{place}",
        "series": f"s{ring}",
        "place": f"p{place}",
        "price": place,
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Users walk along series; the last place of every third series occurs in no interaction."""
    folder = tmp_path_factory.mktemp("two_tower")
    rng = np.random.default_rng(0)
    lines = []
    for user in range(150):
        ring = int(rng.integers(RINGS))
        places = range(int(rng.integers(0, 4)), SIZE)
        walk = [f"r{ring}p{p}" for p in places if not (ring % 3 == 0 and p == SIZE - 1)]
        lines.append(" ".join([f"u{user}", *walk]))
    (folder / "walks.txt").write_text("\n".join(lines) + "\n")
    sold = [row(r, p) for r in range(RINGS) for p in range(SIZE)]
    pl.DataFrame(sold).write_csv(folder / "items.csv")
    return folder


@pytest.fixture(scope="module")
def trained(folder: Path) -> Artifact:
    made = train_towers(
        folder,
        "item_attributes.categories=[series,place]",
        "item_attributes.numbers=[price]",
        "evaluation.floors.ease=null",
    )
    metrics = json.loads((folder / "run" / "metrics.json").read_text())["model"]
    assert metrics["hit_rate@10"] > 0.9
    return made


def ask(version: Artifact, history: list[str], seen: list[str] | None = None) -> list[str]:
    """The graph's list for one history, by names."""
    names = version.read_asset("items.json")
    code = {name: n + 1 for n, name in enumerate(names)}
    run = onnxruntime.InferenceSession(str(version.model))
    feed = {
        "history": np.array([[code[i] for i in history]]),
        "seen": np.array([[code[i] for i in (seen or history)]]),
    }
    items, scores = run.run(None, feed)
    assert (np.diff(scores[0]) <= 0).all()
    return [names[i - 1] for i in items[0] if i]


def test_the_artifact_is_a_recommender_like_any_other(trained: Artifact) -> None:
    signature = trained.signature
    assert signature.task == "recommendation"
    assert [i.name for i in signature.inputs] == ["history", "seen"]
    assert [o.name for o in signature.outputs] == ["items", "scores"]
    assert signature.outputs[0].shape == ("batch", 10)
    assert "two-tower" in (trained.path / "MODEL_CARD.md").read_text()
    assert ask(trained, ["r4p0", "r4p1"])[0] == "r4p2"


def test_graph_and_module_agree(folder: Path, trained: Artifact) -> None:
    """Scores of every history length, against the reopened run."""
    run = Run.open(folder / "run")
    model = run.model.eval()
    session = onnxruntime.InferenceSession(str(trained.model))
    for length in (1, 2, 5, 8):
        history = torch.randint(1, run.data.n_items + 1, (3, length))
        with torch.inference_mode():
            scores = model.score(history)
        items, found = session.run(None, {"history": history.numpy(), "seen": history.numpy()})
        expected = scores.gather(1, torch.from_numpy(items)).numpy()
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_run_whose_items_changed_their_attributes_says_so(
    folder: Path, trained: Artifact, tmp_path: Path
) -> None:
    changed = pl.read_csv(folder / "items.csv").with_columns(pl.col("series") + "x")
    changed.write_csv(tmp_path / "items.csv")
    moved = {"datamodule": {"items": {"path": str(tmp_path / "items.csv")}}}
    with pytest.raises(DataError, match="other attribute values now than when"):
        Run.open(folder / "run", overrides=moved)


def test_new_items_are_recommended_without_training(folder: Path, trained: Artifact) -> None:
    unsold = [row(r, SIZE - 1) for r in range(0, RINGS, 3)]
    assert not {r["item_id"] for r in unsold} & set(trained.read_asset("items.json"))
    extended = index(folder, trained, pl.DataFrame(unsold))
    assert extended.signature.version > trained.signature.version
    had, has = trained.read_asset("items.json"), extended.read_asset("items.json")
    assert has[: len(had)] == had  # graph ids of what there was stay
    walk = [f"r3p{p}" for p in range(2, SIZE - 1)]
    assert f"r3p{SIZE - 1}" in ask(extended, walk)[:3]
    # What was there before is scored as before.
    old = [i for i in ask(extended, ["r4p0"]) if i in had]
    assert old == ask(trained, ["r4p0"])[: len(old)]
    # A new item may stand in a history.
    assert ask(extended, [*walk, f"r3p{SIZE - 1}"])


def test_torchserve_serves_a_new_item(folder: Path, trained: Artifact) -> None:
    extended = index(folder, trained, pl.DataFrame([row(0, SIZE - 1)]))
    walk = [f"r0p{p}" for p in range(2, SIZE - 1)]
    assert f"r0p{SIZE - 1}" in serve(extended, {"history": walk, "k": 3})[0]["items"]


def test_an_index_answers_what_the_graph_answers(folder: Path, trained: Artifact) -> None:
    """Above exact_limit the artifact holds an index; requests and answers stay the same."""
    run = Run.open(folder / "run", overrides={"export": {"exact_limit": 10}})
    indexed = artifact.load(run.export(Report(model={}, data=run.data.describe())))
    assert indexed.signature.task == "indexed_recommendation"
    assert [o.name for o in indexed.signature.outputs] == ["vectors"]
    measured = indexed.read_asset("index.json")
    assert measured["chosen"]["recall"] >= 0.99
    instances = [
        {"history": ["r1p0"], "k": 5},
        {"history": ["r5p3", "r5p4"], "seen": ["r5p5", "r5p6"], "k": 3},
        {"history": ["r5p3", "gone"], "k": 10},
    ]
    for ours, exact in zip(serve(indexed, *instances), serve(trained, *instances), strict=True):
        assert ours["items"] == exact["items"]
        assert ours["scores"] == pytest.approx(exact["scores"], abs=1e-4)
        assert ours["unknown"] == exact["unknown"]
    extended = index(folder, indexed, pl.DataFrame([row(0, SIZE - 1)]))
    walk = [f"r0p{p}" for p in range(2, SIZE - 1)]
    assert f"r0p{SIZE - 1}" in serve(extended, {"history": walk, "k": 3})[0]["items"]


def test_the_same_content_gives_the_same_vectors(folder: Path, trained: Artifact) -> None:
    """Indexing the training's own table again changes nothing."""
    again = index(folder, trained, pl.read_csv(folder / "items.csv").filter(
        pl.col("item_id").is_in(trained.read_asset("items.json"))
    ))  # fmt: skip
    for history in (["r1p0"], ["r5p3", "r5p4"]):
        assert ask(again, history) == ask(trained, history)


def test_a_catalog_smaller_than_the_list(folder: Path, trained: Artifact) -> None:
    few = index(folder, trained, pl.DataFrame([row(1, p) for p in range(5)]), keep=False)
    assert sorted(few.read_asset("items.json")) == [f"r1p{p}" for p in range(5)]
    assert few.signature.limits["k"] == 5
    assert few.signature.outputs[0].shape == ("batch", 5)
    assert set(ask(few, ["r1p0"])[:4]) == {"r1p1", "r1p2", "r1p3", "r1p4"}
    assert {p["item"] for p in few.read_asset("popular.json")} <= set(few.read_asset("items.json"))


def test_new_items_without_content_are_left_out_and_listed(folder: Path, trained: Artifact) -> None:
    nothing = {"item_id": "blank", "series": None, "place": None, "price": None}
    items = pl.DataFrame([nothing, row(0, SIZE - 1)])
    extended = index(folder, trained, items)
    assert "blank" not in extended.read_asset("items.json")
    assert (folder / "indexing" / "left_out.csv").read_text() == "item_id\nblank\n"


def test_only_two_towers_take_in_items(folder: Path, tiny: Artifact) -> None:
    with pytest.raises(ArtifactError, match=r"has no assets/item_tower\.onnx"):
        index(folder, tiny, pl.DataFrame([row(0, 0)]))


@pytest.fixture
def tiny(tmp_path: Path) -> Artifact:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "model.onnx").write_bytes(b"")
    signature = artifact.Signature("other", artifact.new_version(), "recommendation", (), (), 20)
    return artifact.write(tmp_path / "parts", tmp_path / "artifacts", signature)


def test_the_version_in_force_is_extended_and_stays_so_until_the_new_one_is_promoted(
    folder: Path, trained: Artifact, tmp_path: Path
) -> None:
    name, version = trained.path.parent.name, trained.path.name
    versions = tmp_path / "artifacts" / name
    shutil.copytree(trained.path, versions / version)
    later = versions / "99990101-000000-000"
    later.mkdir()
    (later / artifact.SIGNATURE).write_text("not the one that is taken")
    champion.promote(tmp_path / "artifacts", name, version, "good", "test")
    pl.DataFrame([row(0, SIZE - 1)]).write_csv(tmp_path / "new.csv")
    done = subprocess.run(
        [sys.executable, "scripts/index_items.py", f"artifact={versions}",
         f"path={tmp_path / 'new.csv'}", f"paths.root={tmp_path}"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = Path(done.stdout.splitlines()[-1])
    assert f"version {version} stays in force" in done.stdout + done.stderr
    assert f"promote name={name} version={made.name}" in done.stdout + done.stderr
    assert champion.champion(tmp_path / "artifacts", name).name == version
