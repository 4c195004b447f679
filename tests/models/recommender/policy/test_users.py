"""A judged model is told of a log's users what it would have been told, and the rest by a table."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from torch import Tensor, nn

from models import artifact
from models.export import export_onnx
from models.recommender.attributes import AttributeTable
from models.recommender.interactions import DataError
from models.recommender.policy.log import Log
from models.recommender.policy.targets import ArtifactTarget
from models.recommender.ranking.encoding import Encoding
from models.recommender.ranking.fields import Field, Fields
from models.recommender.ranking.vocabularies import encoding_of
from tests.conftest import ROOT


class ByHand(nn.Module):
    """Best first: a for the left-handed, b for the right-handed, c for all others."""

    def __init__(self, encoding: Encoding, fields: Fields) -> None:
        super().__init__()
        hand = next(f for f in fields.all if f.name == "hand")
        scores = torch.zeros(8, 4)
        scores[:, 3] = 1.0
        for place, value in enumerate(["left", "right"]):
            scores[int(encoding.column(hand, [value])[0]), place + 1] = 2.0
        self.scores = nn.Parameter(scores)

    def forward(
        self, history: Tensor, seen: Tensor, hand: Tensor, tags: Tensor
    ) -> tuple[Tensor, Tensor]:
        scores = self.scores[hand] + 0.0 * (tags.sum(1) + history.sum(1) + seen.sum(1))[:, None]
        best = scores[:, 1:].topk(3, dim=1)
        return best.indices + 1, best.values


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("staging")
    fields = Fields(
        (
            Field("hand", "categorical", "user", "user_profile:hand"),
            Field("tags", "multi_hot", "user"),
        )
    )
    seen = pl.DataFrame({"hand": ["left", "right"], "tags": [["x"], ["y"]]})
    encoding = encoding_of(fields, seen)
    ones = torch.ones(2, 3, dtype=torch.long)
    example = {"history": ones, "seen": ones, "user_hand": ones[:, 0], "user_tags": ones}
    dynamic: Mapping[str, Mapping[int, str]] = {
        "history": {0: "batch", 1: "time"}, "seen": {0: "batch", 1: "seen"},
        "user_hand": {0: "batch"}, "user_tags": {0: "batch", 1: "tags"},
    }  # fmt: skip
    inputs, outputs = export_onnx(
        ByHand(encoding, fields), example, dynamic, ["items", "scores"], folder / "model.onnx"
    )
    (folder / "assets").mkdir()
    (folder / "assets" / "items.json").write_text(json.dumps(["a", "b", "c"]))
    (folder / "assets" / "user_fields.json").write_text(json.dumps(encoding.as_json()))
    signature = artifact.Signature(
        name="by_hand", version="1", task="recommendation", inputs=inputs, outputs=outputs,
        opset=20, vocabulary="assets/items.json", limits={"history": 2, "k": 3},
    )  # fmt: skip
    return artifact.write(folder, tmp_path_factory.mktemp("artifacts"), signature).path


@pytest.fixture
def table(tmp_path: Path) -> AttributeTable:
    """Of three users; nobody knows u4."""
    rows = [("u1", "left", "x"), ("u2", "right", "x|y"), ("u3", "left", "")]
    frame = pl.DataFrame(rows, ["user_id", "hand", "tags"], orient="row")
    frame.write_csv(tmp_path / "users.csv")
    return AttributeTable(
        path=tmp_path / "users.csv", id="user_id", categories=["hand", "tags"], separator="|",
        rejects=tmp_path / "rejects.csv", missing=tmp_path / "missing.csv",
    )  # fmt: skip


def log(features: list[Any] | None = None, users: int = 4) -> Log:
    """A request of each user, who are shown a; the last one has no name."""
    names = [f"u{n}" for n in range(1, users + 1)]
    columns: dict[str, Any] = {
        "request_id": [*(f"r{n}" for n in names), "anonymous"],
        "user_id": [*names, "anonymous"],
        "item_id": ["a"] * (users + 1),
        "place": [1] * (users + 1),
        "history": [[]] * (users + 1),
    }
    if features is not None:
        columns["features"] = features
    frame = pl.DataFrame(columns)
    return Log(frame, rejected=0, read=len(frame))


def firsts(model: Path, rows: Log, **settings: Any) -> list[str]:
    target = ArtifactTarget(str(model), history="history", **settings).of(rows)
    assert target.actions is not None
    assert target.chance.tolist() == [float(found[0] == "a") for found in target.actions]
    return [found[0] for found in target.actions]


def served(**profile: Any) -> str:
    return json.dumps({f"user_profile:{name}": value for name, value in profile.items()})


def test_what_was_served_counts_as_it_was_then(model: Path) -> None:
    told = [served(hand="right"), served(hand="left"), served(hand=None), served(age=3), None]
    assert firsts(model, log(told)) == ["b", "a", "c", "c", "c"]


def test_the_table_tells_what_the_log_does_not(model: Path, table: AttributeTable) -> None:
    assert firsts(model, log(), users=table) == ["a", "b", "a", "c", "c"]
    # What was served is stronger, also where it was nothing.
    told = [served(hand="right"), served(hand=None), None, None, None]
    assert firsts(model, log(told), users=table) == ["b", "c", "a", "c", "c"]
    assert firsts(model, log(told), users=table, features=None) == ["a", "b", "a", "c", "c"]


def test_what_nobody_tells_is_said(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert firsts(model, log()) == ["c"] * 5
    assert "of no user is hand, tags known" in caplog.text
    caplog.clear()
    firsts(model, log([served(hand="left")] * 5))
    assert "of no user is tags known" in caplog.text


def test_features_that_are_none_are_named(model: Path, table: AttributeTable) -> None:
    with pytest.raises(DataError, match=r"'features' holds '\[1\]'; JSON of"):
        firsts(model, log(["[1]"] * 5))
    strangers = log().frame.with_columns(user_id=pl.lit("nobody"))
    with pytest.raises(DataError, match=r"users\.csv: none of 1 ids"):
        firsts(model, Log(strangers, 0, 5), users=table)


def test_the_script_reads_a_table_of_users(
    model: Path, table: AttributeTable, tmp_path: Path
) -> None:
    """Two of three users are left-handed, and would be shown what the log shows."""
    ran = log(users=3).frame.head(3).with_columns(propensity=pl.lit(0.5), reward=pl.lit(1.0))
    ran.rename({"item_id": "items"}).drop("place").write_parquet(tmp_path / "log.parquet")
    done = subprocess.run(
        [
            sys.executable, "scripts/evaluate_policy.py", f"log={tmp_path / 'log.parquet'}",
            "policy=artifact", f"policy.path={model}", "policy.history=history",
            "user_attributes@policy.users=table", f"policy.users.path={table.path}",
            "policy.users.categories=[hand,tags]", "policy.users.separator='|'",
            f"output_dir={tmp_path / 'out'}",
        ],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())["model"]
    assert found["mean_weight"] == pytest.approx(4 / 3), "two of three, at twice their chance"
