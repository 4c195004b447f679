"""From events to what a ranker learns from: simulate, materialize, impressions."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig

from feature_repo.registry.contract import require_same
from feature_repo.requests import REQUEST_VIEWS
from feature_repo.services import SERVICES
from feature_repo.store import StoreError
from models.recommender.ranking.fields import Fields
from models.recommender.ranking.readers.snapshot import SnapshotReader
from scripts.entrypoint import CONFIGS
from scripts.impressions import collect
from scripts.materialize import raw_tables


def settings(script: str, root: Path, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose(script, [f"paths.root={root}", f"output_dir={root / script}", *overrides])


def test_impressions_have_features_as_of_each_showing(tmp_path: Path) -> None:
    sizes = ["size=tiny", "size.days=4", "size.users=100", "size.sources=1"]
    instantiate(settings("simulate", tmp_path, *sizes).simulation).run(lambda *_: None)
    cfg = settings("materialize", tmp_path)
    views = {*SERVICES["ranking_v2"]} - {*REQUEST_VIEWS}
    instantiate(cfg.features)(raw_tables(cfg), only=sorted(views))
    collect(settings("impressions", tmp_path, f"output={tmp_path / 'spring'}"))

    rows = pl.read_parquet(tmp_path / "spring" / "data.parquet")
    assert 0.1 < rows["label"].mean() < 0.4  # type: ignore[operator]
    # Nobody's statistics or history hold the day that is not over yet.
    first = rows.filter(pl.col("shown_at").dt.date() == rows["shown_at"].dt.date().min())
    assert first["views_30d"].null_count() == len(first)
    later = rows.filter(pl.col("shown_at").dt.date() == rows["shown_at"].dt.date().max())
    assert later["views_30d"].null_count() < 0.5 * len(later)
    assert later["price_to_usual"].null_count() < len(later)
    # As the events themselves say, of days before the showing's.
    events = pl.read_parquet(tmp_path / "data" / "warehouse" / "events" / "**" / "*.parquet")
    items = pl.read_parquet(tmp_path / "data" / "warehouse" / "items" / "*.parquet")
    viewed = events.filter(pl.col("event") == "Product Viewed").join(
        items.select("item_id", "category"), on="item_id"
    )
    assert later["category_share"].null_count() < 0.5 * len(later)
    for row in later.sample(30, seed=0).iter_rows(named=True):
        mine = viewed.filter(
            pl.col("user_id") == row["user_id"],
            pl.col("timestamp").dt.date() < row["shown_at"].date(),
        )
        share = (mine["category"] == row["category"]).mean()
        assert row["category_share"] == pytest.approx(share, nan_ok=True)

    # And what was touched that very day, as the store has it online.
    touched = viewed.sort("timestamp", "message_id")
    for row in later.sample(30, seed=1).iter_rows(named=True):
        mine = touched.filter(
            pl.col("user_id") == row["user_id"], pl.col("timestamp") < row["shown_at"]
        )
        items = mine.filter((pl.col("item_id") != pl.col("item_id").shift(1)).fill_null(True))
        assert row["recent_items"] == items["item_id"].tail(50).to_list()

    made = SnapshotReader(tmp_path / "spring", time="shown_at").read()
    assert made.service == "ranking_v2"
    train = settings("train", tmp_path, "experiment=recommender/dlrm", "data.path=x")
    made.require(Fields.of(train.data.fields))
    assert made.features["user_statistics"]["features"]["views_7d"] == "Int64"
    assert made.features["item_content"]["key"] == "item_id"
    store = tmp_path / "data" / "features"
    assert require_same("ranker", made.features, store, "ranking_v2") == []


def test_what_must_be_computed_first_is_said(tmp_path: Path) -> None:
    """Three times: no store, an older one without the service, and one that lags behind."""
    sizes = ["size=tiny", "size.users=100", "size.sources=1"]
    instantiate(settings("simulate", tmp_path, *sizes, "size.days=4").simulation).run(
        lambda *_: None
    )
    cfg = settings("impressions", tmp_path, f"output={tmp_path / 'spring'}")
    with pytest.raises(StoreError, match=r"make the store with `python scripts/materialize\.py`"):
        collect(cfg)
    compute = settings("materialize", tmp_path)
    instantiate(compute.features)(raw_tables(compute), only=["item_content"])
    with pytest.raises(
        StoreError, match=r"'ranking_v2' yet; it lacks .*user_statistics.*scripts/materialize\.py`"
    ):
        collect(cfg)
    views = sorted({*SERVICES["ranking_v2"]} - {*REQUEST_VIEWS})
    instantiate(compute.features)(raw_tables(compute), only=views)
    days = tmp_path / "data" / "warehouse" / "events"
    [file] = (days / "date=2025-12-31").glob("*.parquet")
    later = days / "date=2026-01-03"
    later.mkdir()
    moved = pl.read_parquet(file).with_columns(pl.col("timestamp") + pl.duration(days=3))
    moved.with_columns(pl.col("message_id") + "x").write_parquet(later / "part-0.parquet")
    # Nothing happened between, so that a history is as it was, but not the last 30 days.
    message = (
        r"the impressions go on to 2026-01-03, but of the views of ranking_v2 these are behind: "
        r"user_statistics \(computed up to 2025-12-31, due up to 2026-01-02\), .*materialize\.py`"
    )
    with pytest.raises(StoreError, match=message):
        collect(cfg)
    fresh = sorted({*views} - {"item_statistics"})
    instantiate(compute.features)(raw_tables(compute), only=fresh)
    message = r"behind: item_statistics \(computed up to 2025-12-31, due up to 2026-01-02\); `py"
    with pytest.raises(StoreError, match=message):
        collect(cfg)
    cfg.allow_stale = True
    assert collect(cfg)["rows"] > 0
