"""Request-time features: what the client computes is what Feast puts into a training set."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

from feature_repo.requests import REQUEST_VIEWS
from feature_repo.sources import RawTable, WarehouseCategoryViews, warehouse_tables
from feature_repo.store import StoreError, open_store
from serving.features.errors import KeyColumnError
from tests.feature_repo.stores import materialization
from tests.serving.features.stores import client_of

START = datetime(2025, 12, 1, tzinfo=UTC)
NAMES = [
    "purchase_context:price_to_usual",
    "purchase_context:item_momentum",
    "category_context:category_share",
]
EVENTS = ("Product Viewed", "Product Viewed", "Product Added", "Order Completed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six weeks of random events of ten users and eight items."""
    root = tmp_path_factory.mktemp("purchases")
    chance = random.Random(0)
    rows = [
        {
            "message_id": str(n),
            "user_id": f"u{chance.randrange(10)}",
            "item_id": f"i{chance.randrange(8)}",
            "event": chance.choice(EVENTS),
            "price": float(chance.randrange(1, 50)),
            "quantity": chance.randrange(1, 3),
            "timestamp": START + timedelta(minutes=chance.randrange(42 * 24 * 60)),
        }
        for n in range(1500)
    ]
    rows += [{**rows[0], "message_id": "v", "user_id": "looker", "event": "Product Viewed"}]
    frame = pl.DataFrame(rows, schema_overrides={"timestamp": pl.Datetime("us", "UTC")})
    for (day,), part in frame.sort("timestamp").group_by(pl.col("timestamp").dt.date()):
        path = root / "warehouse" / "events" / f"date={day}" / "part-0.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_parquet(path)
    (root / "warehouse" / "items").mkdir()
    pl.DataFrame(
        {
            "item_id": [f"i{n}" for n in range(7)],  # of i7 the catalog knows nothing
            "title": "thing", "description": "", "brand": "b", "price": 1.0,
            "category": [f"c{n % 3}" for n in range(7)],
            "created_at": START - timedelta(days=1),
        },
        schema_overrides={"created_at": pl.Datetime("us", "UTC")},
    ).write_parquet(root / "warehouse" / "items" / "part-0.parquet")  # fmt: skip
    found = warehouse_tables(root / "warehouse")
    tables: dict[str, RawTable] = {
        "events": found["events"],
        "items": found["items"],
        "category_views": WarehouseCategoryViews(found["events"], found["items"]),
    }
    views = ["user_statistics", "item_statistics", "user_categories", "item_content"]
    materialization(root / "features")(tables, only=views)
    return root / "features"


def same(left: Any, right: Any) -> bool:
    """Equal, where pandas writes NaN for null."""
    if left is None or pd.isna(right):
        return left is None and bool(pd.isna(right))
    return bool(left == right)


async def test_the_clients_answer_is_the_training_sets(folder: Path) -> None:
    keys: dict[str, list[Any]] = {
        "user_id": [*(f"u{n}" for n in range(10)), "looker", "nobody", "u1"],
        "item_id": [*(f"i{n % 8}" for n in range(10)), "i0", "i1", "unknown"],
        "offered_price": [9.5, 20, 1e-3, *[float(n) for n in range(10)]],
    }
    client = client_of(folder)
    await client.open()
    assert client.views["purchase_context"].sent == ("offered_price",)
    assert client.views["category_context"].sent == ()
    found = await client.read([*NAMES, "user_statistics:orders_30d"], keys)
    entities = pd.DataFrame(keys | {"event_timestamp": [datetime.now(UTC)] * 13})
    trained = open_store(folder).get_historical_features(entities, NAMES).to_df()
    trained = trained.set_index(["user_id", "item_id"]).loc[
        list(zip(keys["user_id"], keys["item_id"], strict=True))
    ]
    for name, values in zip(NAMES, found.values, strict=False):
        offline = trained[name.partition(":")[2]].tolist()
        assert all(map(same, values, offline)), (name, values, offline)
    assert sum(v is not None and math.isfinite(v) for v in found.values[0]) >= 8
    assert found.statuses[0][-3:-1] == ["NULL_VALUE", "NULL_VALUE"], "nothing bought yet"
    assert found.statuses[1][-1] == "NULL_VALUE", "an unknown item"
    shares = found.values[2]
    assert all(0 <= shares[n] < 1 for n in range(7)), shares
    assert sum(shares[:7]) > 0
    assert [shares[7], *shares[-2:]] == [None] * 3, "nothing known of item or user"
    assert found.event_timestamps[0][0] is not None
    assert found.names[3] == "user_statistics:orders_30d"
    alone = await client.read([NAMES[0]], {k: v[:1] for k, v in keys.items()})
    assert alone.values == [[found.values[0][0]]]
    await client.close()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"offered_price": None}, r"'purchase_context' needs the column 'offered_price'"),
        ({"item_id": None}, r"'item_statistics' needs the key column 'item_id'"),
        ({"offered_price": ["9.5"]}, r"offered_price\[0\] is '9.5', a str; .* takes float or int"),
        ({"offered_price": [1.0, 2.0]}, "different lengths"),
    ],
)
async def test_what_the_caller_sends_is_checked(
    folder: Path, change: dict[str, Any], message: str
) -> None:
    client = client_of(folder)
    sent = {"user_id": ["u1"], "item_id": ["i1"], "offered_price": [1.0]} | change
    with pytest.raises(KeyColumnError, match=message):
        await client.read(NAMES, {k: v for k, v in sent.items() if v is not None})


async def test_another_function_than_the_registered_one_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def purchase_context(rows: dict[str, list[float]]) -> dict[str, list[float | None]]:
        return {"price_to_usual": [0.0], "item_momentum": [0.0]}

    other = replace(REQUEST_VIEWS["purchase_context"], function=purchase_context)
    monkeypatch.setitem(REQUEST_VIEWS, "purchase_context", other)
    client = client_of(folder)
    keys = {"user_id": ["u1"], "item_id": ["i1"], "offered_price": [1.0]}
    with pytest.raises(StoreError, match="registered with another version of its function"):
        await client.read(NAMES, keys)
