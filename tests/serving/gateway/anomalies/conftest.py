"""A gateway of anomalies only: real TorchServe, Redis and SQLite, and an empty feature store."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
import sqlalchemy as sa
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from feature_repo.store import create_store
from pipelines.anomalies.store import ANOMALIES, THRESHOLDS, connect
from scripts.entrypoint import CONFIGS
from tests.serving.conftest import RunningTorchServe
from tests.serving.features.redis_server import RedisServer
from tests.serving.gateway.conftest import gateway_config, running

NOW = datetime.now(UTC)


def event(**changed: Any) -> dict[str, Any]:
    """An event of this moment that scores 0 unless it is changed."""
    return {"timestamp": NOW.isoformat(), "cpu_usage": 50, "memory": 50, **changed}


def us(moment: datetime) -> int:
    return int((moment - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1))


@pytest.fixture(scope="session")
def empty_features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A feature store without a single view, as `scripts/serve.py` makes it."""
    folder = tmp_path_factory.mktemp("empty_features")
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        shipped = compose("serve", [f"paths.root={folder}"]).features
    parts = (shipped.online_store, shipped.offline_store, shipped.registry)
    create_store(folder, *(OmegaConf.to_container(p, resolve=True) for p in parts))  # type: ignore[arg-type]
    return folder


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture
def stream() -> str:
    """A name of its own for each test."""
    return f"telemetry-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def anomaly_config(
    torchserve: RunningTorchServe,
    detector: Path,
    empty_features: Path,
    broker: RedisServer,
    stream: str,
    tmp_path: Path,
) -> DictConfig:
    cfg = gateway_config(
        None, empty_features, torchserve.server.ports.inference, tmp_path,
        f"anomalies.store=sqlite:///{tmp_path / 'store.db'}",
        f"anomalies.broker=redis://{broker.address}/0",
        f"anomalies.stream={stream}",
        "gateway.anomalies.deadline_ms=10000",
        "gateway.anomalies.thresholds.max_age_s=0.05",
        "gateway.anomalies.thresholds.timeout_s=5",
        "gateway.audit.retry_s=0.1",
    )  # fmt: skip
    cfg.artifacts.anomaly = str(detector)
    cfg.torchserve.key_file = str(torchserve.server.tokens.path)
    cfg.torchserve.management_url = torchserve.server.management_url
    return cfg


@pytest.fixture
async def judge(anomaly_config: DictConfig) -> AsyncIterator[httpx.AsyncClient]:
    """A client of that gateway."""
    async with running(anomaly_config) as session:
        yield session


@pytest.fixture
def store(tmp_path: Path) -> Iterator[sa.Engine]:
    """The gateway's anomaly store, as a stream processor has it."""
    engine = connect(f"sqlite:///{tmp_path / 'store.db'}")
    yield engine
    engine.dispose()


def set_threshold(store: sa.Engine, source: str, threshold: float) -> None:
    values = {"threshold": threshold, "events": 1000, "version": "v", "updated_at": us(NOW)}
    with store.begin() as connection:
        connection.execute(THRESHOLDS.delete().where(THRESHOLDS.c.source == source))
        connection.execute(THRESHOLDS.insert().values(source=source, **values))


def found(name: str, **changed: Any) -> dict[str, Any]:
    """A row of `anomalies`."""
    return {
        "id": name, "source": "web-1", "timestamp": us(NOW), "detected_at": us(NOW),
        "status": "anomaly", "severity": "major", "score": 5.5, "threshold": 3.0,
        "fields": {
            "memory": {"value": 54.0, "expected": 50.0, "contribution": 0.4},
            "cpu_usage": {"value": 101.0, "expected": 50.0, "contribution": 5.1},
        },
        "reason": None, "model": "anomaly", "version": "v1", **changed,
    }  # fmt: skip


def insert(store: sa.Engine, *rows: dict[str, Any]) -> None:
    with store.begin() as connection:
        connection.execute(ANOMALIES.insert(), list(rows))


def client_of(broker: RedisServer) -> redis.Redis:
    return redis.Redis(port=broker.port)
