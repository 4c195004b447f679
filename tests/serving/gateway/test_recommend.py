"""GET /recommend and POST /v1/recommendations: answers, fallbacks, errors."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest
from omegaconf import DictConfig

from serving.gateway.app import create_app
from tests.serving.gateway.conftest import Upstream, running

Client = httpx.AsyncClient


def items(answer: dict[str, Any]) -> list[str]:
    return [row["item_id"] for row in answer["items"]]


async def test_a_known_user_gets_the_models_list(client: Client) -> None:
    response = await client.get("/recommend", params={"user_id": "u4", "n": 3})
    answer = response.json()
    assert response.status_code == 200
    assert items(answer) == ["i06", "i07", "i08"]
    assert (answer["source"], answer["reason"]) == ("model", None)
    assert answer["version"] == "20260101-000000-000"
    assert response.headers["x-request-id"] == answer["request_id"]


async def test_the_second_answer_comes_from_the_cache(client: Client, upstream: Upstream) -> None:
    first = (await client.get("/recommend?user_id=u4&n=5")).json()
    second = (await client.get("/recommend?user_id=u4&n=2")).json()
    assert second["source"] == "cache"
    assert items(second) == items(first)[:2]
    assert len(upstream.calls) == 1


async def test_an_unknown_user_gets_popular_items_marked_as_such(client: Client) -> None:
    answer = (await client.get("/recommend?user_id=nobody&n=2")).json()
    assert items(answer) == ["i00", "i01"]
    assert (answer["source"], answer["reason"]) == ("popular", "unknown_user")


async def test_a_history_of_unseen_items_falls_back(client: Client) -> None:
    answer = (await client.get("/recommend?user_id=stranger&n=2")).json()
    assert (answer["source"], answer["reason"]) == ("popular", "no_known_items")


async def test_same_time_questions_of_one_user_are_computed_once(
    client: Client, upstream: Upstream
) -> None:
    answers = await asyncio.gather(*(client.get("/recommend?user_id=u3") for _ in range(20)))
    assert {a.status_code for a in answers} == {200}
    assert sum(upstream.calls) == 1


async def test_same_time_questions_of_many_users_share_requests(
    client: Client, upstream: Upstream
) -> None:
    urls = [f"/recommend?user_id=u{n}&n=1" for n in range(20)]
    answers = await asyncio.gather(*(client.get(u) for u in urls))
    assert [items(a.json()) for a in answers] == [[f"i{n + 2:02d}"] for n in range(20)]
    assert sum(upstream.calls) == 20
    assert len(upstream.calls) < 20


async def test_batch_answers_in_order_with_histories_too(client: Client) -> None:
    body = {"requests": [{"user_id": "u1", "n": 1}, {"history": ["i30"], "n": 2}, {"user_id": "x"}]}
    response = await client.post("/v1/recommendations", json=body)
    answers = response.json()["answers"]
    assert items(answers[0]) == ["i03"], answers[0]["reason"]
    assert items(answers[1]) == ["i31", "i32"]
    assert answers[2]["reason"] == "unknown_user"


@pytest.mark.parametrize(
    ("query", "kind", "accepted"),
    [
        ("", "invalid-user-id", "non-empty string"),
        ("user_id=", "invalid-user-id", "non-empty string"),
        ("user_id=%20", "invalid-user-id", "non-empty string"),
        ("user_id=" + "x" * 300, "invalid-user-id", "at most 256 characters"),
        ("user_id=u1&n=0", "invalid-n", "from 1 to 10"),
        ("user_id=u1&n=-1", "invalid-n", "from 1 to 10"),
        ("user_id=u1&n=1000000000", "invalid-n", "from 1 to 10"),
        ("user_id=u1&n=x", "invalid-n", "from 1 to 10"),
        ("user_id=u1&n=1.5", "invalid-n", "from 1 to 10"),
    ],
)
async def test_bad_queries_say_what_is_accepted(
    client: Client, query: str, kind: str, accepted: str
) -> None:
    response = await client.get(f"/recommend?{query}")
    problem = response.json()
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["type"].endswith(kind)
    assert accepted in problem["accepted"]


@pytest.mark.parametrize(
    ("content", "kind", "status", "words"),
    [
        (b"{", "application/json", 400, "not JSON"),
        (b"\xff\xfe", "application/json", 400, "not JSON"),
        (b"{}", "text/plain", 415, "text/plain"),
        (b"{}", "", 415, "missing"),
        (b"{}", "application/json", 422, "no list"),
        (b'{"requests": []}', "application/json", 422, "0 requests"),
        (b'{"requests": [{"user_id": "u1"}, 7]}', "application/json", 422, "requests[1]"),
        (b'{"requests": [{"user_id": "u1", "n": true}]}', "application/json", 422, "requests[0]"),
        (b'{"requests": [{"history": "i1"}]}', "application/json", 422, "requests[0]: history"),
        (b'{"requests": [{"history": ["i1", 2]}]}', "application/json", 422, "history[1] is 2"),
        (
            b'{"requests": [{"user_id": "u1", "history": ["i1"]}]}',
            "application/json",
            422,
            "both user_id and history",
        ),
        (b" " * 200_000, "application/json", 413, "100000 bytes"),
    ],
)
async def test_bad_bodies(
    client: Client, content: bytes, kind: str, status: int, words: str
) -> None:
    headers = {"content-type": kind} if kind else {}
    response = await client.post("/v1/recommendations", content=content, headers=headers)
    assert response.status_code == status
    assert words in response.json()["detail"]


async def test_a_long_body_without_a_length_is_cut_off_too(client: Client) -> None:
    async def endless() -> Any:
        for _ in range(20):
            yield b" " * 10_000

    headers = {"content-type": "application/json"}
    response = await client.post("/v1/recommendations", content=endless(), headers=headers)
    assert response.status_code == 413


@pytest.mark.parametrize(("method", "path", "status"), [
    ("GET", "/nowhere", 404), ("POST", "/recommend", 405),
])  # fmt: skip
async def test_wrong_paths_and_methods(client: Client, method: str, path: str, status: int) -> None:
    response = await client.request(method, path)
    assert response.status_code == status
    assert response.json()["status"] == status


@pytest.mark.parametrize("mood", ["broken", "cut", "garbage"])
async def test_a_failing_model_gives_popular_items_and_is_counted(
    client: Client, upstream: Upstream, mood: str
) -> None:
    upstream.mood = mood
    for n in range(6):
        answer = (await client.get(f"/recommend?user_id=u{n}&n=2")).json()
        assert (answer["source"], answer["reason"]) == ("popular", "model_unavailable")
        assert not set(items(answer)) & {f"i{n:02d}", f"i{n + 1:02d}"}, "seen items stay out"
    assert len(upstream.calls) == 3, "the breaker opens after three failures"
    text = (await client.get("/metrics")).text
    assert 'millrace_gateway_fallbacks_total{reason="model_unavailable"} 6.0' in text
    assert "millrace_gateway_breaker_open 1.0" in text
    assert (await client.get("/health/ready")).json()["status"] == "degraded"


async def test_the_breaker_closes_again(client: Client, upstream: Upstream) -> None:
    upstream.mood = "broken"
    for n in range(4):
        await client.get(f"/recommend?user_id=u{n}")
    upstream.mood = "well"
    await asyncio.sleep(0.35)
    assert (await client.get("/recommend?user_id=u9")).json()["source"] == "model"
    assert (await client.get("/health/ready")).json()["status"] == "ready"


async def test_the_deadline_holds(config: DictConfig, upstream: Upstream) -> None:
    config.deadline_ms = 3000
    upstream.mood = "slow"
    async with running(config) as session:
        started = time.perf_counter()
        answer = (await session.get("/recommend?user_id=u5&n=2")).json()
    assert answer["reason"] == "deadline"
    assert time.perf_counter() - started < 5.5, "well before the model's own six seconds"


async def test_request_ids_are_kept_if_sane(client: Client) -> None:
    kept = await client.get("/health/live", headers={"x-request-id": "abc-1"})
    assert kept.headers["x-request-id"] == "abc-1"
    replaced = await client.get("/health/live", headers={"x-request-id": "a" * 500})
    assert len(replaced.headers["x-request-id"]) == 32


async def test_a_draining_gateway_is_not_ready_but_answers(client: Client) -> None:
    client.app.state.gateway.draining = True  # type: ignore[attr-defined]
    assert (await client.get("/health/ready")).status_code == 503
    assert (await client.get("/health/live")).status_code == 200
    assert (await client.get("/recommend?user_id=u1")).json()["source"] == "model"


async def test_too_many_at_once_get_429(config: DictConfig, upstream: Upstream) -> None:
    config.max_in_flight = 2
    upstream.mood = "slow"
    app = create_app(config)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as session:
            urls = [f"/recommend?user_id=u{n}" for n in range(6)]
            answers = await asyncio.gather(*(session.get(u) for u in urls))
            live = await session.get("/health/live")
    refused = [a for a in answers if a.status_code == 429]
    assert len(refused) == 4
    assert refused[0].headers["retry-after"] == "1"
    assert live.status_code == 200


async def test_every_answer_is_logged_as_it_was_given(config: DictConfig, client: Client) -> None:
    answer = (await client.get("/recommend?user_id=u4&n=2")).json()
    await client.get("/recommend?user_id=nobody&n=1")
    await client.app.state.gateway.log.flush()  # type: ignore[attr-defined]
    files = list(Path(config.prediction_log.folder).glob("date=*/part-*.parquet"))
    rows = pq.read_table(files[0]).to_pylist()
    assert rows[0]["request_id"] == answer["request_id"]
    features = {"user_history:item_ids": ["i04", "i05"], "user_history:length": 2}
    assert json.loads(rows[0]["features"]) == features
    assert rows[0]["feature_timestamp"] == datetime(2026, 1, 1, 0, 0, 9, tzinfo=UTC)
    assert rows[0]["items"] == items(answer)
    assert rows[1]["reason"] == "unknown_user"
    assert rows[1]["features"] is None


async def test_answers_of_one_request_have_ids_of_their_own(
    config: DictConfig, client: Client
) -> None:
    body = {"requests": [{"user_id": "u4", "n": 2}, {"history": ["i01"], "n": 2}]}
    response = await client.post("/v1/recommendations", json=body)
    whole = response.headers["x-request-id"]
    told = [a["request_id"] for a in response.json()["answers"]]
    assert told == [f"{whole}.1", f"{whole}.2"]
    await client.app.state.gateway.log.flush()  # type: ignore[attr-defined]
    (file,) = Path(config.prediction_log.folder).glob("date=*/part-*.parquet")
    assert sorted(pq.read_table(file)["request_id"].to_pylist()) == told


async def test_openapi_describes_what_is_served(client: Client) -> None:
    document = (await client.get("/openapi.json")).json()
    app = client.app  # type: ignore[attr-defined]
    served = {
        (r.path.replace(":path}", "}"), m.lower()) for r in app.routes for m in r.methods - {"HEAD"}
    }
    documented = {(path, m) for path, methods in document["paths"].items() for m in methods}
    assert documented == {s for s in served if not s[0].startswith(("/docs", "/redoc", "/openapi"))}
    example = document["paths"]["/v1/recommendations"]["post"]["requestBody"]["content"][
        "application/json"
    ]["example"]
    response = await client.post("/v1/recommendations", json=example)
    assert response.status_code == 200
