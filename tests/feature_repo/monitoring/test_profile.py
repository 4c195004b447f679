"""Outliers and saved baselines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import stats

from feature_repo.monitoring.outliers import Fences
from feature_repo.monitoring.profile import Baseline, BaselineError, Profiling


def test_outliers_by_hand() -> None:
    values = pl.Series([1.0, 2.0, 3.0, 4.0, 5.0, 100.0])
    fences = Fences.of(values, z=3.5, reach=1.5)
    assert fences is not None
    # median 3.5, deviations 2.5 1.5 .5 .5 1.5 96.5 → 1.5; quartiles 2.25 and 4.75
    assert fences.scale == pytest.approx(1.4826 * 1.5)
    assert (fences.low, fences.high) == pytest.approx((2.25 - 3.75, 4.75 + 3.75))
    shares = fences.shares(values)
    assert shares is not None
    assert shares == pytest.approx((1 / 6, 1 / 6))


def test_the_scale_is_scipys() -> None:
    values = pl.Series(np.random.default_rng(0).normal(size=999))
    fences = Fences.of(values, 3.5, 3)
    assert fences is not None
    expected = stats.median_abs_deviation(values.to_numpy(), scale="normal")
    assert fences.scale == pytest.approx(expected, rel=1e-4)


def test_most_values_equal() -> None:
    values = pl.Series([0.0] * 90 + [1.0] * 9 + [50.0])
    fences = Fences.of(values, 3.5, 3)
    assert fences is not None
    assert fences.scale > 0
    shares = fences.shares(values)
    assert shares is not None
    assert shares.robust_z == pytest.approx(0.01)  # the 50, and not each 1


def test_no_values_no_fences() -> None:
    assert Fences.of(pl.Series([None, float("nan")], dtype=pl.Float64), 3.5, 3) is None
    assert Profiling()(pl.Series("x", [None] * 5, pl.Float64)).outliers is None
    assert Profiling()(pl.Series("x", ["a", "b"])).outliers is None


def test_outliers_are_counted_by_the_baselines_fences() -> None:
    rng = np.random.default_rng(1)
    profiling = Profiling()
    before = profiling(pl.Series("x", rng.normal(size=5000)))
    mixed = np.concatenate([rng.normal(size=4500), rng.normal(30, 1, 500)])
    after = profiling.like(pl.Series("x", mixed), before)
    assert before.outliers is not None
    assert after.outliers is not None
    assert max(before.outliers) < 0.01
    assert after.outliers == pytest.approx((0.1, 0.1), abs=0.01)


def test_a_baseline_comes_back_from_its_file(tmp_path: Path) -> None:
    profiling = Profiling()
    columns = [
        pl.Series("number", np.random.default_rng(0).normal(size=500)),
        pl.Series("word", ["a", "b", None] * 100),
        pl.Series("list", [["x"] * (n % 9) for n in range(100)]),
        pl.Series("flag", [True, False] * 50),
    ]
    made = Baseline("a week", {"view": {c.name: profiling(c) for c in columns}})
    made.save(tmp_path / "deep" / "baseline.json")
    read = Baseline.load(tmp_path / "deep" / "baseline.json")
    assert read == made
    for column in columns:
        assert profiling.like(column, read.views["view"][column.name]).counts == (
            made.views["view"][column.name].counts
        )


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"source": "x", "views": {"v": {"f": {}}}}'])
def test_a_file_that_is_no_baseline_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "wrong.json"
    path.write_text(text)
    with pytest.raises(BaselineError, match=r"wrong\.json is not a baseline file"):
        Baseline.load(path)


def test_a_missing_baseline_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(BaselineError, match="save_baseline="):
        Baseline.load(tmp_path / "none.json")


def test_a_baseline_of_another_type_is_named() -> None:
    numbers = Profiling()(pl.Series("price", np.arange(100.0)))
    with pytest.raises(BaselineError, match="price does not fit its type, String"):
        Profiling().like(pl.Series("price", ["a", "b"]), numbers)
