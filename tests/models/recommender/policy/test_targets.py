"""Policies to be judged: a column, or a recommender's artifact that draws from its list."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor, nn

from models import artifact
from models.champion import promote
from models.export import export_onnx
from models.recommender.export import TopK
from models.recommender.interactions import DataError
from models.recommender.policy.log import Log
from models.recommender.policy.targets import ArtifactTarget, ColumnTarget
from tests.conftest import ROOT
from tests.models.recommender.policy import bandit

SCORES = torch.tensor([0.0, 4.0, 3.0, 2.0, 1.0])  # of padding and items a, b, c, d


class Fixed(nn.Module):
    """The same scores for everybody."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Parameter(SCORES)

    def score(self, history: Tensor) -> Tensor:
        return self.scores + 0 * history[:, :1].float()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recommender of four items that prefers a to b to c to d."""
    folder = tmp_path_factory.mktemp("staging")
    ones = torch.ones(2, 3, dtype=torch.long)
    dynamic = {"history": {0: "batch", 1: "time"}, "seen": {0: "batch", 1: "seen"}}
    inputs, outputs = export_onnx(
        TopK(Fixed(), 4), {"history": ones, "seen": ones}, dynamic, ["items", "scores"],
        folder / "model.onnx",
    )  # fmt: skip
    (folder / "assets").mkdir()
    (folder / "assets" / "items.json").write_text(json.dumps(["a", "b", "c", "d"]))
    signature = artifact.Signature(
        name="fixed", version="1", task="recommendation", inputs=inputs, outputs=outputs,
        opset=20, vocabulary="assets/items.json", limits={"history": 2, "k": 4},
    )  # fmt: skip
    return artifact.write(folder, tmp_path_factory.mktemp("artifacts"), signature).path


def log(**columns: Any) -> Log:
    frame = pl.DataFrame(columns)
    return Log(frame, rejected=0, read=len(frame))


def test_the_best_that_is_left_is_shown_and_nothing_seen(model: Path) -> None:
    rows = log(
        request_id=["r", "r", "s", "t"],
        item_id=["a", "c", "b", "z"],
        place=[1, 2, 1, 1],
        history=[[], [], ["unknown", "a"], ["a"]],
    )
    target = ArtifactTarget(str(model), history="history").of(rows)
    assert target.chance.tolist() == [1, 0, 1, 0]
    left = ["b", "c", "d"]
    assert target.actions == [["a", "b", "c", "d"], left, left, left]
    assert target.chances is not None
    assert target.chances[1] == [1, 0, 0]


def test_temperature_and_epsilon_spread_it(model: Path) -> None:
    rows = log(
        request_id=["r", "r"], item_id=["b", "d"], place=[1, 2],
        features=[None, json.dumps({"user_history:item_ids": ["a"], "other:n": 1})],
    )  # fmt: skip
    target = ArtifactTarget(str(model.parent), temperature=0.5, epsilon=0.2).of(rows)
    first = np.exp(np.array([4, 3, 2, 1]) / 0.5)
    assert target.chance[0] == pytest.approx(0.8 * first[1] / first.sum() + 0.2 / 4)
    left = np.exp(np.array([2, 1]) / 0.5)  # b stands above, a was seen
    assert target.chance[1] == pytest.approx(0.8 * left[1] / left.sum() + 0.2 / 2)
    assert target.chances is not None
    assert [sum(c) for c in target.chances] == pytest.approx([1, 1])


def test_of_several_versions_the_one_in_force_is_judged(model: Path, tmp_path: Path) -> None:
    """It is what the gateway serves, not whatever was trained last."""
    root = tmp_path / "artifacts"
    shutil.copytree(model, root / "fixed" / "1")
    parts = shutil.copytree(model, tmp_path / "parts")
    (parts / "assets" / "items.json").write_text(json.dumps(["b", "a", "c", "d"]))
    artifact.write(parts, root, replace(artifact.load(model).signature, version="2"))
    rows = log(request_id=["r"], item_id=["a"], place=[1], history=[[]])
    target = ArtifactTarget(str(root / "fixed"), history="history")
    assert target.of(rows).chance.tolist() == [0], "nobody promoted any: the newest"
    promote(root, "fixed", "1", "it is better", "ada")
    assert target.of(rows).chance.tolist() == [1]


def test_histories_that_are_none_are_named(model: Path) -> None:
    rows = {"request_id": ["r"], "item_id": ["a"], "place": [1]}
    with pytest.raises(DataError, match=r"no column 'features' of histories; it has request_id"):
        ArtifactTarget(str(model)).of(log(**rows))
    with pytest.raises(DataError, match=r"holds '\[1\]'; a list of item ids"):
        ArtifactTarget(str(model)).of(log(**rows, features=["[1]"]))
    with pytest.raises(artifact.ArtifactError, match="elsewhere"):
        ArtifactTarget("elsewhere").of(log(**rows, features=[None]))
    with pytest.raises(DataError, match="temperature=-1"):
        ArtifactTarget(str(model), temperature=-1)


def test_columns_that_are_none_are_named() -> None:
    rows = {"request_id": ["r"], "item_id": ["a"], "place": [1]}
    with pytest.raises(DataError, match=r"columns\.target"):
        ColumnTarget().of(log(**rows))
    rows |= {"target": [0.5], "might": [["a", "b"]], "chances": [[0.5]]}
    assert ColumnTarget().of(log(**rows)).actions is None
    with pytest.raises(DataError, match="no column may"):
        ColumnTarget("may", "chances").of(log(**rows))
    for actions in ("might", "item_id"):
        with pytest.raises(DataError, match="must be lists of equal lengths"):
            ColumnTarget(actions, "chances").of(log(**rows))


def test_the_script_finds_the_planted_truth(tmp_path: Path) -> None:
    bandit.log(5000, seed=8).write_parquet(tmp_path / "log.parquet")
    done = subprocess.run(
        [
            sys.executable, "scripts/evaluate_policy.py", f"log={tmp_path / 'log.parquet'}",
            "columns.target=judged", "policy.actions=might", "policy.chances=chances",
            "evaluation.context=device", f"output_dir={tmp_path / 'out'}",
        ],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "logged policy" in done.stdout
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())["model"]
    for name in ("ips", "snips", "doubly_robust"):
        assert found[f"{name}_low"] < bandit.TRUTH < found[f"{name}_high"], name


def test_the_script_names_what_is_wrong(tmp_path: Path) -> None:
    frame = bandit.log(10, seed=9).with_columns(pl.lit(0.0).alias("propensity"))
    frame.write_parquet(tmp_path / "log.parquet")
    done = subprocess.run(
        [
            sys.executable, "scripts/evaluate_policy.py", f"log={tmp_path / 'log.parquet'}",
            "columns.target=judged", f"output_dir={tmp_path / 'out'}",
        ],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 65, done.stderr
    assert "10 × propensity is 0 or below" in done.stderr
    assert "Traceback" not in done.stderr
