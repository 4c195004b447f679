"""Reads over several views: on-demand features, whole-number keys, values that are too old."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import polars as pl
import pytest
from feast.types import Float64, Int64, String

from feature_repo.sources import WarehouseTable
from tests.feature_repo.stores import materialization
from tests.serving.features.stores import ITEM, USER, make_store, online, view, write
from tests.serving.gateway.conftest import gateway_config, running

Client = httpx.AsyncClient
NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
async def kinds(tmp_path: Path) -> AsyncIterator[Client]:
    """User statistics that age, items with whole-number keys, and two versions of one view."""
    folder = tmp_path / "features"
    store = make_store(
        folder,
        online("sqlite", ""),
        view("spending", USER, {"user_id": String, "spend": Float64}, ttl=timedelta(hours=1)),
        view("spending_v2", USER, {"user_id": String, "spend": String}, ttl=timedelta(hours=1)),
        view("item_price", ITEM, {"item_id": Int64, "price": Float64}),
    )
    old = NOW - timedelta(hours=2)
    write(store, "spending", [
        {"user_id": "u1", "spend": 2.5, "ts": NOW}, {"user_id": "u2", "spend": 9.0, "ts": old},
    ])  # fmt: skip
    write(store, "spending_v2", [{"user_id": "u1", "spend": "2.50", "ts": NOW}])
    write(store, "item_price", [{"item_id": 7, "price": 1.5, "ts": NOW}])
    async with running(gateway_config(None, folder, 9, tmp_path)) as client:
        yield client


async def test_too_old_values_are_null_and_marked(kinds: Client) -> None:
    rows = (await kinds.get("/feature/spending?user_id=u1&user_id=u2")).json()["rows"]
    assert [r["features"]["spend"] for r in rows] == [2.5, None]
    assert [r["statuses"]["spend"] for r in rows] == ["PRESENT", "OUTSIDE_MAX_AGE"]


async def test_whole_number_keys(kinds: Client) -> None:
    rows = (await kinds.get("/feature/item_price?item_id=7")).json()["rows"]
    assert rows[0] == {
        "item_id": 7, "features": {"price": 1.5}, "statuses": {"price": "PRESENT"},
        "event_timestamp": NOW.isoformat(),
    }  # fmt: skip
    bad = await kinds.get("/feature/item_price?item_id=seven")
    assert (bad.status_code, bad.json()["accepted"]) == (422, "a whole number")
    body = {"features": ["item_price:price"], "entities": {"item_id": ["7"]}}
    wrong = await kinds.post("/v1/features", json=body)
    assert (wrong.status_code, "item_id[0] is '7', a str" in wrong.json()["detail"]) == (422, True)


@pytest.mark.parametrize("name", ["spending@v2", "spending_v2"])
async def test_versions_side_by_side(kinds: Client, name: str) -> None:
    answer = (await kinds.get(f"/feature/{name}?user_id=u1")).json()
    assert (answer["view"], answer["version"]) == ("spending_v2", 2)
    assert answer["rows"][0]["features"] == {"spend": "2.50"}
    missing = await kinds.get("/feature/spending@v3?user_id=u1")
    assert missing.json()["accepted"] == "spending@v1, spending@v2"


async def test_several_views_and_keys_at_once(kinds: Client) -> None:
    body = {
        "features": ["spending:spend", "spending@v2:spend", "item_price:price"],
        "entities": {"user_id": ["u1", "u9"], "item_id": [7, 8]},
    }
    answer = (await kinds.post("/v1/features", json=body)).json()
    assert [(f["name"], f["version"], f["values"]) for f in answer["features"]] == [
        ("spending:spend", 1, [2.5, None]),
        ("spending_v2:spend", 2, ["2.50", None]),
        ("item_price:price", 1, [1.5, None]),
    ]
    plain = await kinds.post("/get-online-features", json=body)
    assert (plain.status_code, "spend" in plain.json()["detail"]) == (422, True)
    full = await kinds.post("/get-online-features", json={**body, "full_feature_names": True})
    names = ["user_id", "item_id", "spending__spend", "spending_v2__spend", "item_price__price"]
    assert full.json()["metadata"]["feature_names"] == names


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Client]:
    """The shipped user and item statistics, so that the on-demand view is there."""
    events = tmp_path / "warehouse" / "events" / f"date={NOW:%Y-%m-%d}"
    events.mkdir(parents=True)
    day = NOW - timedelta(days=1)
    rows = [("Product Viewed", "u1", "i1", 1, 10.0), ("Order Completed", "u1", "i1", 1, 10.0)]
    frame = pl.DataFrame(
        {
            "message_id": [f"m{n}" for n in range(len(rows))],
            "event": [r[0] for r in rows],
            "user_id": [r[1] for r in rows],
            "item_id": [r[2] for r in rows],
            "quantity": [r[3] for r in rows],
            "price": [r[4] for r in rows],
            "timestamp": [day + timedelta(seconds=n) for n in range(len(rows))],
        }
    )
    target = events.parent / f"date={day:%Y-%m-%d}"
    target.mkdir(exist_ok=True)
    frame.write_parquet(target / "part-0.parquet")
    folder = tmp_path / "features"
    table = WarehouseTable(events.parent)
    made = materialization(folder)
    made({"events": table}, only=["user_statistics", "item_statistics"])
    async with running(gateway_config(None, folder, 9, tmp_path)) as client:
        yield client


async def test_request_time_features(shop: Client) -> None:
    body = {
        "features": ["purchase_context:price_to_usual", "user_statistics:orders_30d"],
        "entities": [{"user_id": "u1", "item_id": "i1", "offered_price": 20.0}],
    }
    answer = await shop.post("/v1/features", json=body)
    assert answer.status_code == 200, answer.text
    values = {f["name"]: f["values"] for f in answer.json()["features"]}
    assert values == {"purchase_context:price_to_usual": [2.0], "user_statistics:orders_30d": [1]}
    body["entities"] = [{"user_id": "u1", "item_id": "i1"}]
    missing = await shop.post("/v1/features", json=body)
    assert (missing.status_code, "'offered_price'" in missing.json()["detail"]) == (422, True)
    single = await shop.get("/feature/purchase_context?user_id=u1")
    assert (single.status_code, "offered_price" in single.json()["accepted"]) == (422, True)
    described = (await shop.get("/v1/registry/views/purchase_context")).json()
    assert (described["on_demand"], described["sent"]) == (True, ["offered_price"])
