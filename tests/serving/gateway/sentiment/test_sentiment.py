"""POST /v1/sentiment through a real TorchServe."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from omegaconf import DictConfig

from serving.gateway.torchserve import TorchServeClient
from tests.serving.conftest import RunningTorchServe
from tests.serving.gateway.conftest import gateway_config, running

pytestmark = pytest.mark.services


@pytest.fixture
def config(
    torchserve: RunningTorchServe, classifier: Path, features: Path, tmp_path: Path
) -> DictConfig:
    cfg = gateway_config(None, features, torchserve.server.ports.inference, tmp_path)
    cfg.max_body_bytes = 16_777_216  # as shipped
    cfg.artifacts.sentiment = str(classifier)
    cfg.torchserve.key_file = str(torchserve.server.tokens.path)
    cfg.torchserve.management_url = torchserve.server.management_url
    return cfg


@pytest.fixture
async def client(config: DictConfig) -> AsyncIterator[httpx.AsyncClient]:
    async with running(config) as session:
        yield session


async def ask(client: httpx.AsyncClient, body: Any, status: int = 200) -> dict[str, Any]:
    answer = await client.post("/v1/sentiment", json=body, timeout=120)
    assert answer.status_code == status, answer.text
    content: dict[str, Any] = answer.json()
    return content


async def test_one_text(client: httpx.AsyncClient) -> None:
    answer = await ask(client, {"text": "a GOOD film"})
    assert answer["label"] == "positive"
    assert answer["probabilities"]["positive"] == pytest.approx(0.952574, abs=1e-5)
    assert not answer["abstained"]
    assert answer["version"] == "20260101-000000-000"
    assert answer["request_id"]


async def test_thousands_of_texts_in_order(client: httpx.AsyncClient) -> None:
    texts = [["good", "bad", "film"][n % 3] for n in range(1000)]
    answers = (await ask(client, {"texts": texts}))["answers"]
    assert [a["label"] for a in answers] == [["positive", "negative", "unsure"][n % 3]
                                             for n in range(1000)]  # fmt: skip


async def test_an_explanation_names_the_word(client: httpx.AsyncClient) -> None:
    answer = await ask(client, {"text": "film bad film", "explain": True})
    effects = {e["token"]: e["effect"] for e in answer["explanation"]}
    assert effects["bad"] > 0.4
    assert effects["film"] == 0


@pytest.mark.parametrize("text", ["", "   ", "😀😀", "<br/><p>", "\x00\x00", "фильм", "x" * 9])
async def test_texts_without_a_known_word_are_unsure(text: str, client: httpx.AsyncClient) -> None:
    answer = await ask(client, {"text": text})
    assert answer["label"] == "unsure"
    assert answer["abstained"]
    assert answer["reason"]


async def test_a_hundred_thousand_words_are_read_to_their_end(client: httpx.AsyncClient) -> None:
    answer = await ask(client, {"text": "film " * 99_000 + "bad " * 1_000})
    assert answer["pieces"] == 12_500
    assert answer["probabilities"]["negative"] > 0.5


async def test_work_comes_to_the_model_in_small_parts(
    config: DictConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request to the model must end long before its worker counts as stuck."""
    asked: list[int] = []
    real = TorchServeClient.predict

    async def counting(self: Any, name: str, instances: Any, timeout_s: float) -> Any:
        asked.append(len(instances))
        return await real(self, name, instances, timeout_s)

    monkeypatch.setattr(TorchServeClient, "predict", counting)
    config.sentiment.chunk_characters = 1000
    async with running(config) as session:
        asked.clear()
        texts = ["good " * 300, "bad " * 100, "good " * 100, 5, "bad"]
        answers = (await ask(session, {"texts": texts}))["answers"]
        assert asked == [1, 4]
        assert [a.get("label") for a in answers] == [
            "positive", "negative", "positive", None, "negative"
        ]  # fmt: skip
        asked.clear()
        await ask(session, {"texts": ["good"] * 3, "explain": True})
        assert asked == [1, 1, 1]


async def test_what_is_no_text_has_an_error_in_its_place(client: httpx.AsyncClient) -> None:
    answers = (await ask(client, {"texts": ["good", 5, None, "bad"]}))["answers"]
    assert answers[0]["label"] == "positive"
    assert answers[1]["error"]["detail"] == "text is 5; it must be a string"
    assert answers[2]["error"]["status"] == 400
    assert answers[3]["label"] == "negative"


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        ({"text": 5}, 422, "text is 5; it must be a string"),
        ({"texts": ["x"] * 10_001}, 413, "10001 texts; at most 10000 in one call"),
        ({"texts": ["x"] * 21, "explain": True}, 413, "21 texts to explain; at most 20"),
        ({"texts": []}, 422, "texts is no list of texts"),
        ({"texts": "good"}, 422, "texts is no list of texts"),
        ({}, 422, "one is needed"),
        ({"text": "a", "texts": ["b"]}, 422, "one is needed"),
        ({"text": "a", "lang": "en"}, 422, "unknown member 'lang'"),
        ({"text": "a", "explain": "yes"}, 422, "explain is 'yes'"),
        (["good"], 422, "the body is a JSON list"),
    ],
)
async def test_bad_bodies_are_named(
    body: Any, status: int, detail: str, client: httpx.AsyncClient
) -> None:
    answer = await ask(client, body, status)
    assert detail in answer["detail"]
    assert answer["accepted"]


async def test_broken_utf8_is_no_json(client: httpx.AsyncClient) -> None:
    answer = await client.post(
        "/v1/sentiment", content=b'{"text": "\xff\xfe"}',
        headers={"content-type": "application/json"},
    )  # fmt: skip
    assert answer.status_code == 400
    assert "not JSON" in answer.json()["detail"]


async def test_a_model_that_is_away_is_told(config: DictConfig) -> None:
    config.torchserve.url = "http://127.0.0.1:1"
    async with running(config) as session:
        answer = await ask(session, {"text": "good"}, 503)
        assert "not judged" in answer["detail"]
        for _ in range(config.breaker.failures):
            await ask(session, {"text": "good"}, 503)
        health = (await session.get("/health/ready")).json()
        assert health["models"]["sentiment"]["state"] == "unavailable"


async def test_it_is_documented_and_counted(client: httpx.AsyncClient) -> None:
    await ask(client, {"text": "good"})
    document = (await client.get("/openapi.json")).json()
    assert "post" in document["paths"]["/v1/sentiment"]
    metrics = (await client.get("/metrics")).text
    assert 'millrace_gateway_sentiment_answers_total{label="positive"} 1.0' in metrics
