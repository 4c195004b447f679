"""Folds from the real config, intervals against a known one, and inputs that are bad."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from models.recommender.cross_validation import cross_validate
from models.recommender.evaluation import RankingTask
from models.recommender.interactions import DataError
from models.recommender.intervals import t_interval
from models.recommender.ratings.data import newest_of_pairs
from scripts.entrypoint import CONFIGS
from tests.models.recommender.test_histories import interactions
from tests.models.recommender.test_ratings import planted


@pytest.fixture
def stars(tmp_path: Path) -> Path:
    """Planted tastes in MovieLens-100K's own form, with ids of every kind and a few oddities."""
    data = planted(users=40, items=24)
    names = {0: "-7", 1: str(2**63 + 5), 2: "anna"}
    rows = [
        f"{names.get(u, u)}\t{i}\t{r:.1f}\t{1_000_000_000 + u}"  # all of a user at one time
        for u, i, r in zip(
            data.user.tolist(), data.item.tolist(), data.rating.tolist(), strict=True
        )  # type: ignore[union-attr]
    ]
    rows += ["lonely\t1\t4\t1000000000", "40\tunheard\t5\t1000000001"]
    rows += [rows[0], "anna\t3\t9\t1000000000"]  # a pair again, and a rating off the scale
    file = tmp_path / "u.data"
    file.write_text("\n".join(rows) + "\n")
    return file


def config(data: Path, output: Path, *overrides: str) -> DictConfig:
    settings = [
        f"data.path={data}", f"output_dir={output}", f"paths.root={output}", "folds=3",
        "threads=1", "protocol.ks=[5,10]", *overrides,
    ]  # fmt: skip
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("cross_validate", settings)


def test_the_interval_is_students() -> None:
    interval = t_interval([1.0, 2.0, 3.0], 0.95)
    assert interval.mean == 2.0
    assert interval.high - interval.mean == pytest.approx(4.302653 / 3**0.5, abs=1e-5)
    assert interval.mean - interval.low == pytest.approx(interval.high - interval.mean)
    with pytest.raises(ValueError, match="at least 2 values, not 1"):
        t_interval([1.0])


def test_rating_models_on_folds_of_awkward_data(
    stars: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    output = tmp_path / "run"
    small = ["model.parts.bayesian.draws=6", "model.parts.bayesian.burn_in=2"]
    found = cross_validate(config(stars, output, "floors.bayesian=null", *small))
    assert set(found) == {"model", "mean", "biases", "svd", "knn"}
    assert found["model"]["rmse"].high < found["mean"]["rmse"].low
    assert found["model"]["ndcg@10"].mean > found["mean"]["ndcg@10"].mean
    report = json.loads((output / "metrics.json").read_text())
    assert report["model"]["rmse_low"] == found["model"]["rmse"].low
    assert len(report["conditions"]["each_fold"]["svd"]) == 3
    assert report["data"]["users"] == 42
    assert (output / "folds.png").stat().st_size > 1000
    rejects = pl.read_csv(output / "rejects.csv")
    assert rejects["reason"].to_list() == ["rating outside the scale 1 to 5"]
    assert "1 interactions repeat a pair of user and item: the newest counts" in caplog.text
    assert "fold 3/3, knn: rmse" in caplog.text


def test_ranking_models_on_the_same_folds(stars: Path, tmp_path: Path) -> None:
    cfg = config(
        stars, tmp_path / "run", "model=recommender/item_knn", "floors=ranking", "plotted=[ndcg@5]",
        "model.decay=1.0", "data.reader.min_rating=3.5",
    )  # fmt: skip
    found = cross_validate(cfg)
    assert "rmse" not in found["model"]
    assert found["model"]["ndcg@5"].mean > found["popularity"]["ndcg@5"].mean + 0.05


def test_a_hybrid_is_tuned_within_each_fold(stars: Path, tmp_path: Path) -> None:
    cfg = config(
        stars, tmp_path / "run", "model=recommender/hybrid", "floors=none", "plotted=[]",
        "model.parts.content=null", "model.parts.als=null", "model.parts.user_knn=null",
    )  # fmt: skip
    assert 0 < cross_validate(cfg)["model"]["ndcg@10"].mean <= 1
    assert not (tmp_path / "run" / "folds.png").exists()


def test_bad_settings_are_refused(stars: Path, tmp_path: Path) -> None:
    few = tmp_path / "few" / "u.data"
    few.parent.mkdir()
    few.write_text("a\tx\t5\t1000000000\nb\tx\t4\t1000000000\n")
    output = tmp_path / "run"
    with pytest.raises(DataError, match="2 interactions cannot fill 3 folds"):
        cross_validate(config(few, output))
    with pytest.raises(DataError, match="confidence must lie between 0 and 1, not 2"):
        cross_validate(config(stars, output, "confidence=2"))
    with pytest.raises(DataError, match="at least 3 folds"):
        cross_validate(config(stars, output, "folds=2"))
    with pytest.raises(DataError, match="more than max_reject_share"):
        cross_validate(config(stars, output, "data.rating_scale=[4,5]"))


def test_of_equal_times_the_later_row_stays_in_the_order_of_the_input() -> None:
    frame = pl.DataFrame(
        {
            "user_id": list("aabab"),
            "item_id": list("xxxyx"),
            "timestamp": [5, 5, 1, 2, 0],
            "rating": [1, 2, 3, 4, 5],
        }
    )
    assert newest_of_pairs(frame)["rating"].to_list() == [2, 3, 4]


def test_questions_of_random_folds_see_all_that_is_known_of_a_user() -> None:
    data = interactions([[1, 2, 3, 4], [5, 1], [9]])
    held_out = np.array([0, 1, 0, 0, 0, 1, 1], dtype=bool)
    task = RankingTask.of_users(data, ~held_out, held_out)
    assert task.users.tolist() == [0, 1], "of the third user nothing is known"
    assert [data.item_ids[i - 1] for i in task.histories.pad()[0].tolist()] == ["i1", "i3", "i4"]
    with pytest.raises(DataError, match="nothing to rank"):
        RankingTask.of_users(data, ~held_out, np.zeros(7, dtype=bool))
