"""`scripts/recommend_batch.py` from histories to the gateway's answers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from feature_repo.store import open_store
from tests.conftest import ROOT
from tests.serving.gateway.conftest import Upstream, gateway_config, running
from tests.serving.gateway.recommendations.conftest import ask, items


def recommend(root: Path, artifact: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable, "scripts/recommend_batch.py", f"paths.root={root}",
            f"output_dir={root / 'run'}", f"artifact={artifact}", "recommend.k=10", *overrides,
        ],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture
def root(own_features: Path, tmp_path: Path) -> Path:
    """A project with the store of users u0…u19."""
    folder = tmp_path / "project"
    (folder / "data").mkdir(parents=True)
    store = folder / "data" / "features"
    own_features.rename(store)
    settings = store / "feature_store.yaml"
    settings.write_text(settings.read_text().replace(str(own_features), str(store)))
    return folder


async def test_lists_are_in_parquet_and_online_and_the_gateway_answers_from_them(
    root: Path, tiny_artifact: Path, upstream: Upstream, tmp_path: Path
) -> None:
    done = recommend(root, tiny_artifact)
    assert done.returncode == 0, done.stderr
    assert "21 users, 21 of them computed now, 1 without" in done.stdout
    table = pl.read_parquet(root / "data" / "warehouse" / "recommendations" / "users.parquet")
    lists = dict(table.select("user_id", "item_ids").iter_rows())
    assert lists["u3"][:3] == ["i05", "i06", "i07"]
    assert "stranger" not in lists
    metrics = json.loads((root / "run" / "metrics.json").read_text())
    assert metrics["published"]["user_recommendations"]["online_keys"] == 20
    store = open_store(root / "data" / "features")
    found = store.get_online_features(
        ["user_recommendations:item_ids", "user_recommendations:model"], [{"user_id": "u3"}]
    ).to_dict()
    assert list(found["item_ids"][0]) == lists["u3"]
    assert found["model"] == ["recommender 20260101-000000-000"]

    config = gateway_config(
        tiny_artifact, root / "data" / "features", upstream.port, tmp_path,
        "gateway/recommendations=precomputed",
    )  # fmt: skip
    async with running(config) as session:
        answer = await ask(session, "/recommend?user_id=u3&n=3")
        nobody = await ask(session, "/recommend?user_id=nobody&n=3")
    assert (items(answer), answer["source"]) == (["i05", "i06", "i07"], "precomputed")
    assert answer["reason"] is None
    assert (nobody["source"], nobody["reason"]) == ("popular", "nothing_precomputed")
    assert upstream.calls == [], "the model is not asked"

    upstream.mood = "broken"
    config = gateway_config(tiny_artifact, root / "data" / "features", upstream.port, tmp_path)
    async with running(config) as session:
        answer = await ask(session, "/recommend?user_id=u3&n=3")
    assert items(answer) == ["i05", "i06", "i07"]
    assert (answer["source"], answer["reason"]) == ("precomputed", "model_unavailable")


def test_without_histories_it_says_what_to_run(tiny_artifact: Path, tmp_path: Path) -> None:
    done = recommend(tmp_path, tiny_artifact)
    assert done.returncode == 65
    assert "run scripts/materialize.py" in done.stderr
