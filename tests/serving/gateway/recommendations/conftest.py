"""A small shop: items with categories, prices, stock, ages and regions; users with histories."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import onnx
import pytest
from feast import Entity, FeatureService, ValueType
from feast.types import Array, Float64, Int64, String
from omegaconf import DictConfig
from onnx import TensorProto, helper

from feature_repo.on_demand import on_demand_views
from feature_repo.store import create_store
from models import artifact
from models.artifact import Signature, Tensor
from tests.feature_repo.stores import REGISTRY
from tests.serving.conftest import N_ITEMS, make_artifact
from tests.serving.features.stores import USER, online, view, write
from tests.serving.gateway.conftest import Upstream, gateway_config

ITEM = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)
NOW = datetime.now(UTC)
HISTORY = "user_history:item_ids"
FIELDS = [
    {"name": "user_id", "kind": "categorical", "side": "user", "feature": None},
    {"name": "item_ids", "kind": "multi_hot", "side": "user", "feature": HISTORY},
    {"name": "age", "kind": "dense", "side": "user", "feature": "user_profile:age"},
    {"name": "item_id", "kind": "categorical", "side": "item", "feature": None},
    {"name": "price", "kind": "dense", "side": "item", "feature": "item_content:price"},
]


def items(answer: dict[str, Any]) -> list[str]:
    return [row["item_id"] for row in answer["items"]]


async def ask(session: httpx.AsyncClient, path: str, body: Any = None) -> dict[str, Any]:
    """The answer, which is one."""
    response = await (session.get(path) if body is None else session.post(path, json=body))
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def fill(folder: Path, online_store: dict[str, Any]) -> Any:
    """User un touched items n and n + 1. Item n costs n, is of category n mod 3 and brand n mod 2;
    it is in stock unless n ends in 9, for adults from 40 on, and sold in Germany if n is even."""
    history = view("user_history", USER, {"item_ids": Array(String), "length": Int64})
    profile = view("user_profile", USER, {"age": Int64})
    content = view(
        "item_content",
        ITEM,
        {"title": String, "category": String, "brand": String, "price": Float64},
    )
    availability = view(
        "item_availability",
        ITEM,
        {"stock": Int64, "minimum_age": Int64, "regions": Array(String)},
    )
    days = {f"times_viewed_{d}d": Int64 for d in (1, 7, 30)}
    statistics = view("item_statistics", ITEM, days)
    orders = view("user_statistics", USER, {"spend_30d": Float64, "orders_30d": Int64})
    (context,) = on_demand_views({"user_statistics": orders, "item_statistics": statistics})
    store = create_store(folder, online_store, {"type": "duckdb"}, REGISTRY)
    store.apply([USER, ITEM, history, profile, content, availability, statistics, orders])
    store.apply(context)
    store.apply(FeatureService(name="recommender_v1", features=[history]))
    store.apply(FeatureService(name="ranking_v1", features=[history, profile, content]))
    write(store, "user_history", [
        {"user_id": f"u{n}", "item_ids": [f"i{n:02d}", f"i{n + 1:02d}"], "length": 2, "ts": NOW}
        for n in range(N_ITEMS - 1)
    ])  # fmt: skip
    write(store, "user_profile", [{"user_id": "u1", "age": 30, "ts": NOW}])
    write(store, "user_statistics", [
        {"user_id": "u1", "spend_30d": 8.0, "orders_30d": 2, "ts": NOW}
    ])  # fmt: skip
    made = [(n, f"i{n:02d}") for n in range(N_ITEMS)]
    write(store, "item_content", [
        {
            "item_id": item, "title": f"Thing {n}", "category": f"c{n % 3}", "brand": f"b{n % 2}",
            "price": float(n), "ts": NOW - timedelta(days=100 - n),
        }
        for n, item in made
    ])  # fmt: skip
    write(store, "item_availability", [
        {
            "item_id": item, "stock": 0 if n % 10 == 9 else 5, "minimum_age": 18 * (n >= 40),
            "regions": ["fr"] if n % 2 else ["fr", "de"], "ts": NOW,
        }
        for n, item in made
    ])  # fmt: skip
    write(store, "item_statistics", [
        {"item_id": item, "times_viewed_1d": int(n == 21) * 30, "times_viewed_7d": max(30, n),
         "times_viewed_30d": 40 + n, "ts": NOW}
        for n, item in made
    ])  # fmt: skip
    return store


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    fill(folder, online("sqlite", ""))
    return folder


@pytest.fixture(scope="session")
def with_neighbours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_artifact(tmp_path_factory.mktemp("with_neighbours"), neighbours=True)


def make_ranker(root: Path, fields: Sequence[dict[str, Any]] = FIELDS) -> Path:
    """An artifact of task ranking; its graph is never run here."""
    parts = root / "parts"
    (parts / "assets").mkdir(parents=True)
    value = helper.make_tensor_value_info("price", TensorProto.FLOAT, ["batch"])
    score = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch"])
    node = helper.make_node("Neg", ["price"], ["scores"])
    graph = helper.make_graph([node], "ranker", [value], [score])
    onnx.save(helper.make_model(graph, ir_version=9), str(parts / "model.onnx"))
    (parts / "assets" / "fields.json").write_text(
        json.dumps({"fields": list(fields), "vocabularies": {}})
    )
    (parts / "metrics.json").write_text("{}")
    signature = Signature(
        name="ranker",
        version="20260102-000000-000",
        task="ranking",
        inputs=(Tensor("price", "float32", ("batch",)),),
        outputs=(Tensor("scores", "float32", ("batch",)),),
        opset=18,
        feature_service="ranking_v1",
        limits={"candidates": 100},
    )
    return artifact.write(parts, root / "artifacts", signature).path


@pytest.fixture(scope="session")
def ranker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_ranker(tmp_path_factory.mktemp("ranker"))


@pytest.fixture
def shop_config(
    with_neighbours: Path, shop: Path, upstream: Upstream, tmp_path: Path
) -> DictConfig:
    """The shipped pipeline over the shop, without a ranker and in the ranking's own order."""
    config = gateway_config(
        with_neighbours,
        shop,
        upstream.port,
        tmp_path,
        "gateway/recommendations/diversity=unchanged",
    )
    config.fetch = 10
    return config
