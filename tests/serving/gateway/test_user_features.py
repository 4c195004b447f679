"""The gateway over the feature client: old histories, Redis away and back, what is logged."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest
from feast import FeatureService
from feast.types import Array, Float64, Int64, String
from omegaconf import DictConfig

from feature_repo.store import StoreError
from serving.gateway.app import create_app
from serving.gateway.user_features import UserFeatures
from tests.serving.features.redis_server import RedisServer
from tests.serving.features.stores import ITEM, USER, client_of, make_store, online, view, write

NOW = datetime.now(UTC)


@pytest.fixture
def redis_store(tmp_path: Path) -> tuple[RedisServer, Path]:
    """Histories that live for a day, in a Redis of their own; and features of another key."""
    server = RedisServer(tmp_path)
    fill(server, tmp_path / "store")
    return server, tmp_path / "store"


def fill(server: RedisServer, folder: Path) -> None:
    history = view(
        "user_history", USER, {"item_ids": Array(String), "length": Int64}, ttl=timedelta(days=1)
    )
    spend = view("spend", USER, {"total": Float64})
    prices = view("prices", ITEM, {"price": Float64})
    store = make_store(folder, online("redis", server.address), history, spend, prices)
    store.apply(FeatureService(name="recommender_v1", features=[history, spend, prices]))
    store.apply(FeatureService(name="without", features=[spend]))
    rows: list[dict[str, Any]] = [
        {"user_id": "fresh", "item_ids": ["i04", "i05"], "length": 2, "ts": NOW},
        {"user_id": "old", "item_ids": ["i04"], "length": 1, "ts": NOW - timedelta(days=2)},
    ]
    write(store, "user_history", rows)
    write(store, "spend", [{"user_id": "fresh", "total": 1.5, "ts": NOW - timedelta(hours=1)}])


@pytest.fixture
async def gateway(
    config: DictConfig, redis_store: tuple[RedisServer, Path]
) -> AsyncIterator[tuple[httpx.AsyncClient, RedisServer, Path]]:
    server, folder = redis_store
    config.features = str(folder)
    config.deadline_ms = 3000
    config.feature_client.readers.redis.timeout_s = 0.5
    app = create_app(config)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as session:
            session.app = app  # type: ignore[attr-defined]
            yield session, server, folder
    server.go_on()
    server.kill()


async def ask(session: httpx.AsyncClient, user: str) -> tuple[str, str | None]:
    answer = (await session.get(f"/recommend?user_id={user}&n=2")).json()
    return answer["source"], answer["reason"]


async def test_a_history_out_of_date_counts_as_unknown(gateway: Any) -> None:
    session, _, _ = gateway
    assert await ask(session, "fresh") == ("model", None)
    assert await ask(session, "old") == ("popular", "unknown_user")


@pytest.mark.services
async def test_without_redis_answers_are_popular_and_come_back(gateway: Any) -> None:
    session, server, folder = gateway
    server.kill()
    assert await ask(session, "fresh") == ("popular", "features_unavailable")
    server.start()
    assert await ask(session, "fresh") == ("popular", "unknown_user"), "empty: says so"
    fill(server, folder)
    assert await ask(session, "fresh") == ("model", None)


@pytest.mark.services
async def test_a_slow_redis_does_not_hold_answers_up(gateway: Any) -> None:
    session, server, _ = gateway
    server.stop()
    assert await ask(session, "fresh") == ("popular", "features_unavailable")
    server.go_on()
    assert await ask(session, "fresh") == ("model", None)


async def test_the_log_has_all_features_of_the_user_as_served(
    gateway: Any, config: DictConfig
) -> None:
    session, _, _ = gateway
    await ask(session, "fresh")
    await ask(session, "fresh")
    body = {"requests": [{"history": ["i30"], "n": 2}]}
    await session.post("/v1/recommendations", json=body)
    await session.app.state.gateway.log.flush()
    (file,) = Path(config.prediction_log.folder).glob("date=*/part-*.parquet")
    first, cached, brought = pq.read_table(file).to_pylist()
    assert json.loads(first["features"]) == {
        "user_history:item_ids": ["i04", "i05"], "user_history:length": 2, "spend:total": 1.5,
    }  # fmt: skip
    assert first["feature_timestamp"] == NOW
    # Histories are read for cached answers too: they say whether what is kept still holds.
    assert (cached["source"], cached["features"]) == ("cache", first["features"])
    assert json.loads(brought["features"]) == {"user_history:item_ids": ["i30"]}
    assert brought["feature_timestamp"] is None


async def test_metrics_tell_what_is_in_memory(gateway: Any) -> None:
    session, _, _ = gateway
    text = (await session.get("/metrics")).text
    assert 'millrace_gateway_features_kept{entity="item"} 0.0' in text
    assert "millrace_gateway_feature_refresh_failures 0.0" in text


def test_a_service_without_histories_is_refused(redis_store: tuple[RedisServer, Path]) -> None:
    server, folder = redis_store
    with pytest.raises(StoreError, match="'without' has no feature 'item_ids'"):
        UserFeatures(client_of(folder), "without")
    with pytest.raises(StoreError, match=r"no feature service 'recommender_v2'; nearest: .*_v1"):
        UserFeatures(client_of(folder), "recommender_v2")
    server.kill()
