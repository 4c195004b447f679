"""A gateway over a real feature store and an upstream that speaks TorchServe's wire format.

The upstream can be told to fail in the ways that a real one cannot be made to on command.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from scripts.entrypoint import CONFIGS
from serving.gateway.app import create_app


class Upstream:
    """Answers like the tiny model: the items after the last one. Its mood can be changed."""

    def __init__(self) -> None:
        self.mood = "well"
        self.moods: dict[str, str] = {}  # of single models
        self.calls: list[int] = []
        self.ranked: list[dict[str, Any]] = []  # what the ranker was asked
        self.asked: list[dict[str, Any]] = []  # what the other models were
        self.scores: Callable[[dict[str, Any]], list[float]] = lambda items: [
            -float(item[1:]) for item in items["item_id"]
        ]
        self.port = 0

    async def predict(self, request: web.Request) -> web.StreamResponse:
        questions = (await request.json())["instances"]
        model = request.match_info["model"]
        mood = self.moods.get(model, self.mood)
        if model != "ranker":
            self.calls.append(len(questions))
            self.asked += questions
        if mood == "slow":
            await asyncio.sleep(6.0)
        if mood == "broken":
            return web.Response(status=503, text="no worker")
        if mood == "cut":
            assert request.transport is not None
            request.transport.close()
        if mood == "garbage":
            return web.json_response({"predictions": []})
        if model == "ranker":
            self.ranked += questions
            scored = [{"scores": self.scores(q["items"])} for q in questions]
            return web.json_response({"predictions": scored})
        return web.json_response({"predictions": [self._answer(q) for q in questions]})

    @staticmethod
    def _answer(question: dict[str, Any]) -> dict[str, Any]:
        known = [i for i in question["history"] if i.startswith("i")]
        if not known:
            return {"error": {"status": 422, "detail": "none of them known"}}
        last = int(known[-1][1:])
        items = [f"i{(last + 1 + n) % 50:02d}" for n in range(question["k"])]
        return {"items": items, "scores": [float(50 - n) for n in range(len(items))], "unknown": 0}


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """In a thread and loop of its own, so that a blocked gateway could not hide behind it."""
    server = Upstream()
    loop = asyncio.new_event_loop()
    started = threading.Event()
    app = web.Application()
    app.router.add_post("/predictions/{model}", server.predict)
    runner = web.AppRunner(app)

    async def start() -> None:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server.port = runner.addresses[0][1]
        started.set()

    thread = threading.Thread(target=lambda: (loop.run_until_complete(start()), loop.run_forever()))
    thread.start()
    assert started.wait(10)
    yield server
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


def gateway_config(
    artifact: Path | None, features: Path, upstream_port: int, folder: Path, *overrides: str
) -> DictConfig:
    """The shipped gateway settings, pointed at a test's parts.

    Args:
        folder: of the test, for what the gateway writes.
        overrides: of `configs/serve.yaml`, such as `gateway/access=keys`.
    """
    keys = folder / "key_file.json"
    keys.write_text(json.dumps({"inference": {"key": "secret"}, "API": {"key": "api"}}))
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        shipped = compose(
            "serve", [f"paths.root={folder}", "gateway/pushes=thread", *overrides]
        ).gateway
    OmegaConf.set_struct(shipped, False)
    url = f"http://127.0.0.1:{upstream_port}"
    cfg = OmegaConf.merge(
        shipped,
        {
            "artifacts": {"recommender": str(artifact) if artifact else None},
            "features": str(features),
            "deadline_ms": 3000,
            "fetch": 5,
            "max_body_bytes": 100_000,
            "cache": {"ttl_s": 60, "max_entries": 100},
            "recommendations": {
                "deadlines_ms": dict.fromkeys(shipped.recommendations.deadlines_ms, 3000),
            },
            "breaker": {"failures": 3, "open_s": 0.3},
            "torchserve": {
                "url": url, "management_url": url, "key_file": str(keys), "timeout_s": 10,
            },
            # a busy machine may be slow: what is tested is not its speed
            "feature_client": {"readers": {"sqlite": {"timeout_s": 5}}},
            "prediction_log": {"folder": str(folder / "predictions"), "interval_s": 60.0},
        },
    )  # fmt: skip
    assert isinstance(cfg, DictConfig)
    return cfg


@contextlib.asynccontextmanager
async def running(config: DictConfig) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the gateway of these settings."""
    app = create_app(config)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as session:
            session.app = app  # type: ignore[attr-defined]
            yield session


@pytest.fixture
def config(tiny_artifact: Path, features: Path, upstream: Upstream, tmp_path: Path) -> DictConfig:
    """With recommendations, and open to everybody."""
    return gateway_config(tiny_artifact, features, upstream.port, tmp_path)


@pytest.fixture
async def client(config: DictConfig) -> AsyncIterator[httpx.AsyncClient]:
    async with running(config) as session:
        yield session


@pytest.fixture
def own_features(features: Path, tmp_path: Path) -> Path:
    """A copy of the store, for tests that write into it."""
    folder = tmp_path / "features"
    shutil.copytree(features, folder)
    settings = folder / "feature_store.yaml"
    settings.write_text(settings.read_text().replace(str(features), str(folder)))
    return folder
