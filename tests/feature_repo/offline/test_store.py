"""The offline store as Feast's SDK uses it, beside the defects of Feast's own local stores."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, Int64

from feature_repo.offline.asof import JoinError
from feature_repo.store import create_store
from tests.feature_repo.stores import REGISTRY

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Any:
    """Two views of one entity: `counts` (values live one day) and `prices` (for ever)."""
    hours = [0, 1, 2, 2, 50]
    table = pl.DataFrame(
        {
            "user": ["ann", "ann", "ann", "ann", "late"],
            "n": [1, 2, 3, 4, 5],
            "price": [1.0, 2.0, 3.0, 4.0, 5.0],
            "ts": [NOON + timedelta(hours=h) for h in hours],
            "made": [NOON + timedelta(hours=h) for h in [0, 9, 2, 3, 50]],
        }
    ).with_columns(pl.col("ts", "made").cast(pl.Datetime("us", "UTC")))
    table.write_parquet(tmp_path / "table.parquet")
    user = Entity(name="user", join_keys=["user"], value_type=ValueType.STRING)
    source = FileSource(
        name="table",
        path=str(tmp_path / "table.parquet"),
        timestamp_field="ts",
        created_timestamp_column="made",
    )
    views = [
        FeatureView(
            name="counts", entities=[user], ttl=timedelta(days=1),
            schema=[Field(name="n", dtype=Int64)], source=source,
        ),
        FeatureView(
            name="prices", entities=[user], ttl=timedelta(0),
            schema=[Field(name="price", dtype=Float64)], source=source,
        ),
    ]  # fmt: skip

    @on_demand_feature_view(sources=views, schema=[Field(name="total", dtype=Float64)])
    def totals(inputs: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"total": inputs["n"] * inputs["price"]})

    made = create_store(
        tmp_path / "store",
        {"type": "sqlite", "path": "online.db"},
        {"type": "feature_repo.offline.store.AsofOfflineStore"},
        REGISTRY,
    )
    made.apply([user, *views, totals])
    return made


def asked(*rows: tuple[str | None, float]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "user": [user for user, _ in rows],
            "event_timestamp": [NOON + timedelta(hours=h) for _, h in rows],
        }
    )


def test_every_row_stays_and_values_are_of_their_moment(store: Any) -> None:
    frame = asked(("ann", 1.5), ("late", 1), ("ann", 1.5), (None, 5), ("ann", 4), ("ann", 30))
    found = store.get_historical_features(frame, ["counts:n", "prices:price"]).to_df()
    # Feast's dask store drops `late`, whose only row comes later, and one of the twins.
    assert found["user"].tolist() == ["ann", "late", "ann", None, "ann", "ann"]
    assert found["n"].astype("Int64").tolist() == [2, pd.NA, 2, pd.NA, 4, pd.NA]
    assert found["price"].astype("Float64").tolist() == [2.0, pd.NA, 2.0, pd.NA, 4.0, 4.0]


def test_only_what_was_known_then(store: Any) -> None:
    frame = asked(("ann", 1.5), ("ann", 2.5), ("ann", 9.5))
    job = store.get_historical_features(frame, ["prices:price"], filter_by_created_timestamp=True)
    assert job.to_df()["price"].tolist() == [1.0, 3.0, 4.0]


def test_full_names_and_on_demand_features(store: Any) -> None:
    features = ["counts:n", "prices:price", "totals:total"]
    frame = asked(("ann", 4))
    job = store.get_historical_features(frame, features, full_feature_names=True)
    (row,) = job.to_df().to_dict("records")
    assert (row["counts__n"], row["prices__price"], row["totals__total"]) == (4, 4.0, 16.0)
    assert job.metadata.max_event_timestamp == NOON + timedelta(hours=4)


def test_results_are_saved_once(store: Any, tmp_path: Path) -> None:
    job = store.get_historical_features(asked(("ann", 4)), ["counts:n"])
    storage = SavedDatasetFileStorage(str(tmp_path / "saved" / "training.parquet"))
    job.persist(storage)
    assert pl.read_parquet(tmp_path / "saved" / "training.parquet")["n"].to_list() == [4]
    with pytest.raises(JoinError, match="allow_overwrite=True"):
        job.persist(storage)
    job.persist(storage, allow_overwrite=True)


def test_materialization_goes_on_working(store: Any) -> None:
    store.materialize(NOON, NOON + timedelta(hours=3))
    row = store.get_online_features(["counts:n"], [{"user": "ann"}]).to_dict()
    assert row["n"] == [4]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ("SELECT 1", "entity_df is a str; this store takes a pandas data frame"),
        (asked(("ann", 1)).assign(event_timestamp=None), "is null in 1 of 1 rows"),
        (asked(("ann", 1)).assign(event_timestamp="yesterdayish"), "cannot be read"),
        (asked(("ann", 1)).assign(user=[["ann"]]), r"key user of the entity frame is List"),
    ],
)
def test_what_cannot_be_joined_is_named(store: Any, frame: Any, message: str) -> None:
    with pytest.raises(JoinError, match=message):
        store.get_historical_features(frame, ["counts:n"]).to_df()
