"""POST /predict through a real TorchServe: answers, thresholds, bad input, failures."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from omegaconf import DictConfig

from pipelines.anomalies.commits import CommitStore
from serving.supervisor import free_port
from tests.serving.gateway.anomalies.conftest import NOW, event, set_threshold
from tests.serving.gateway.conftest import Upstream, running

pytestmark = [pytest.mark.services]

Client = httpx.AsyncClient


async def ask(client: Client, body: Any) -> httpx.Response:
    """Also what JSON does not have: NaN and infinities."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await client.post(
        "/predict", content=content, headers={"content-type": "application/json"}
    )


async def test_the_issues_own_example(judge: Client) -> None:
    flat = {"timestamp": "2023-10-10T12:34:56Z", "cpu_usage": 87, "memory": 54}
    response = await ask(judge, flat)
    answer = response.json()
    assert response.status_code == 200
    assert (answer["anomaly"], answer["status"], answer["severity"]) == (
        True, "anomaly", "warning",
    )  # fmt: skip
    assert answer["score"] == pytest.approx(4.1)
    assert answer["threshold"] == 3.0
    assert [r["field"] for r in answer["reasons"]] == ["cpu_usage", "memory"]
    assert answer["reasons"][0] == {
        "field": "cpu_usage", "value": 87, "expected": 50.0, "contribution": pytest.approx(3.7),
    }  # fmt: skip
    assert (answer["model"], answer["version"]) == ("anomaly", "20260202-000000-000")
    assert answer["source"] == "default"
    assert answer["request_id"] == response.headers["x-request-id"]


async def test_a_normal_event(judge: Client) -> None:
    answer = (await ask(judge, event(cpu_usage=52))).json()
    assert (answer["anomaly"], answer["status"], answer["severity"]) == (False, "normal", None)
    assert [r["field"] for r in answer["reasons"]] == ["cpu_usage"]


@pytest.mark.parametrize(
    ("cpu", "severity"), [(81, "info"), (86, "warning"), (101, "major"), (121, "critical")]
)
async def test_severity_is_read_from_the_score(judge: Client, cpu: int, severity: str) -> None:
    assert (await ask(judge, event(cpu_usage=cpu))).json()["severity"] == severity


async def test_missing_null_and_extra_fields_are_named(judge: Client) -> None:
    answer = (await ask(judge, {"timestamp": NOW.isoformat(), "cpu_usage": 90, "fan": 1})).json()
    assert answer["score"] == pytest.approx(4.0)
    assert (answer["missing"], answer["ignored"]) == (["memory"], ["fan"])
    answer = (await ask(judge, event(cpu_usage=90, memory=None))).json()
    assert (answer["missing"], answer["ignored"]) == (["memory"], [])


@pytest.mark.parametrize(
    ("changed", "words", "accepted"),
    [
        ({"cpu_usage": float("nan")}, "cpu_usage is NaN", "finite number or null"),
        ({"cpu_usage": float("inf")}, "cpu_usage is infinite", "finite number or null"),
        ({"cpu_usage": -float("inf")}, "cpu_usage is infinite", "finite number or null"),
        ({"cpu_usage": 1e39}, "cpu_usage is 1e+39", "finite number or null"),
        ({"cpu_usage": 10**400}, "cpu_usage is an integer of 1329 bits", "finite number"),
        ({"cpu_usage": "87"}, 'cpu_usage is "87"', "a number or null"),
        ({"cpu_usage": True}, "cpu_usage is true", "a number or null"),
        ({"cpu_usage": [87]}, "cpu_usage is a JSON list", "a number or null"),
        ({"host": "web-1"}, 'host is "web-1"', "a number or null"),
        ({"timestamp": None}, "timestamp is missing", "with a zone"),
        ({"timestamp": 1760000000}, "timestamp is 1760000000", "with a zone"),
        ({"timestamp": "yesterday"}, 'timestamp is "yesterday"', "with a zone"),
        ({"timestamp": "2026-01-31T12:00:00"}, "without a zone", "with a zone"),
        ({"timestamp": (NOW + timedelta(days=1)).isoformat()}, "in the future", "300 s after now"),
        ({"timestamp": (NOW - timedelta(days=11000)).isoformat()}, "too old", "3650 days before"),
        ({"timestamp": "0001-01-01T00:00:00+23:59"}, "timestamp is", "with a zone"),
        ({"source": 7}, "source is 7", "255 characters"),
        ({"source": "x" * 256}, "source has 256 characters", "255 characters"),
        ({"source": "a\x00b"}, "source is", "control characters"),
        ({"messageId": "x" * 65}, "messageId has 65 characters", "64 characters"),
        ({"a\x00": 1}, "a field is named", "control characters"),
        ({"history": 7}, "history is 7", "a list of events"),
        ({"history": [7]}, "history[0] is 7", "JSON object"),
        ({"history": [{"memory": "x"}]}, 'history[0].memory is "x"', "a number or null"),
        ({"history": [event()]}, "history[0].timestamp is", "oldest first"),
    ],
)  # fmt: skip
async def test_bad_input_is_named(
    judge: Client, changed: dict[str, Any], words: str, accepted: str
) -> None:
    response = await ask(judge, event(**changed))
    problem = response.json()
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["type"].endswith("invalid-event")
    assert words in problem["detail"]
    assert accepted in problem["accepted"]


@pytest.mark.parametrize(
    "fields", [{"pressure": 1}, {"pressure": 1, "cpu_usage": None}, {"cpu_usage": None}]
)
async def test_a_model_of_other_fields_says_which_it_has(
    judge: Client, fields: dict[str, Any]
) -> None:
    problem = (await ask(judge, {"timestamp": NOW.isoformat(), **fields})).json()
    assert problem["status"] == 422
    assert f"it has {sorted(fields)}" in problem["detail"]
    assert problem["accepted"] == "a number for at least one of ['cpu_usage', 'memory']"


async def test_an_event_without_any_field(judge: Client) -> None:
    problem = (await ask(judge, {"timestamp": NOW.isoformat()})).json()
    assert "no fields" in problem["detail"]


@pytest.mark.parametrize(
    ("content", "kind", "status", "words"),
    [
        (b"{", "application/json", 400, "not JSON"),
        (b'{"cpu_usage": NaN', "application/json", 400, "not JSON"),
        (b"[" * 50_000, "application/json", 400, "not JSON"),
        (b"NaN" + b"[" * 50_000, "application/json", 400, "not JSON"),
        (b"\xff", "application/json", 400, "not JSON"),
        (b'{"source": "\\ud800"}', "application/json", 400, "no low surrogate"),
        (b"{}", "text/plain", 415, "text/plain"),
        (b"[]", "application/json", 422, "0 events"),
        (b"7", "application/json", 422, "an event is 7"),
        (b"null", "application/json", 422, "an event is null"),
        (b"[" + b"{}," * 256 + b"{}]", "application/json", 422, "257 events"),
    ],
)
async def test_bad_bodies(
    judge: Client, content: bytes, kind: str, status: int, words: str
) -> None:
    response = await judge.post("/predict", content=content, headers={"content-type": kind})
    assert response.status_code == status
    assert words in response.json()["detail"]


async def test_of_a_list_each_event_has_its_own_answer(judge: Client) -> None:
    body = [event(), event(cpu_usage="x"), event(cpu_usage=90), event(cpu_usage=float("nan"))]
    response = await ask(judge, body)
    answers = response.json()["answers"]
    assert response.status_code == 200
    assert [a["status"] for a in answers] == ["normal", "refused", "anomaly", "refused"]
    assert answers[1]["error"]["field"] == "cpu_usage"
    assert "NaN" in answers[3]["error"]["detail"]
    metrics = (await judge.get("/metrics")).text
    assert 'millrace_gateway_anomaly_answers_total{status="refused"} 2.0' in metrics
    none_good = await ask(judge, [event(cpu_usage="x"), 7])
    assert none_good.status_code == 422
    assert len(none_good.json()["answers"]) == 2


async def test_a_source_never_seen_starts_where_the_model_says(judge: Client) -> None:
    answer = (await ask(judge, event(source="new-machine", cpu_usage=75))).json()
    assert (answer["anomaly"], answer["threshold"]) == (False, 3.0)
    assert answer["threshold_from"] == "model", "no stream has run it"


async def test_a_source_never_seen_starts_where_the_stream_of_this_version_says(
    judge: Client, store: sa.Engine
) -> None:
    version = (await ask(judge, event())).json()["version"]
    for of, start in ((version, 4.5), ("another", 9.0)):
        CommitStore(store).tell_start("anomaly", of, 1.0, 1)
        CommitStore(store).tell_start("anomaly", of, start, 2)
    await asyncio.sleep(0.1)
    answer = (await ask(judge, event(source="new-machine"))).json()
    assert (answer["threshold"], answer["threshold_from"]) == (4.5, "cold_start")


async def test_a_sources_own_threshold_counts_as_soon_as_it_changes(
    judge: Client, store: sa.Engine
) -> None:
    set_threshold(store, "web-1", 2.0)
    answer = (await ask(judge, event(source="web-1", cpu_usage=75))).json()
    assert (answer["threshold"], answer["anomaly"]) == (2.0, True)
    assert answer["threshold_from"] == "source"
    set_threshold(store, "web-1", 6.0)
    await asyncio.sleep(0.1)
    answer = (await ask(judge, event(source="web-1", cpu_usage=75))).json()
    assert (answer["threshold"], answer["anomaly"]) == (6.0, False)


async def test_without_a_store_the_models_threshold_counts_and_the_answer_says_so(
    anomaly_config: DictConfig, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    anomaly_config.anomalies.store.url = f"sqlite:///{tmp_path / 'file' / 'store.db'}"
    async with running(anomaly_config) as client:
        answer = (await ask(client, event(cpu_usage=90))).json()
        assert (answer["status"], answer["threshold_from"]) == ("anomaly", "store_unavailable")
        for path in ("", "/x", "/precision"):
            listed = await client.get(f"/v1/anomalies{path}")
            assert listed.status_code == 503
            assert listed.json()["type"].endswith("anomaly-store-unavailable")
        said = await client.post("/v1/anomalies/x/verdict", json={"verdict": "confirm"})
        assert said.status_code == 503


async def test_a_store_that_takes_too_long_does_not_hold_up_the_answer(
    anomaly_config: DictConfig, store: sa.Engine
) -> None:
    set_threshold(store, "web-1", 2.0)
    anomaly_config.anomalies.thresholds.timeout_s = 0
    async with running(anomaly_config) as client:
        answer = (await ask(client, event(source="web-1"))).json()
        assert (answer["threshold"], answer["threshold_from"]) == (3.0, "store_unavailable")


async def test_history_fills_the_models_window(judge: Client) -> None:
    alone = (await ask(judge, event(cpu_usage=90))).json()
    assert alone["window"] == {"length": 2, "given": 1}
    assert alone["score"] == pytest.approx(4.0)
    earlier = [
        {"cpu_usage": 10},
        {"cpu_usage": 88, "timestamp": (NOW - timedelta(seconds=5)).isoformat()},
    ]
    answer = (await ask(judge, event(cpu_usage=90, history=earlier))).json()
    assert answer["window"] == {"length": 2, "given": 2}
    assert answer["score"] == pytest.approx(0.2)
    assert answer["reasons"][0]["expected"] == 88.0


async def test_what_cannot_be_scored_is_to_review_and_never_normal(
    anomaly_config: DictConfig,
) -> None:
    anomaly_config.torchserve.url = f"http://127.0.0.1:{free_port()}"
    async with running(anomaly_config) as client:
        for _ in range(4):  # the fourth is not asked: the breaker is open
            response = await ask(client, event())
            problem = response.json()
            assert response.status_code == 503
            assert response.headers["retry-after"] == "1"
            assert problem["answer"]["status"] == "to_review"
            assert problem["answer"]["anomaly"] is None
        assert "several times" in problem["answer"]["failure"]
        ready = (await client.get("/health/ready")).json()
        assert (ready["status"], ready["models"]["anomaly"]["state"]) == ("degraded", "unavailable")
        response = await ask(client, [event(), event(cpu_usage="x")])
        assert response.status_code == 503
        assert [a["status"] for a in response.json()["answers"]] == ["to_review", "refused"]
        metrics = (await client.get("/metrics")).text
        assert 'millrace_gateway_anomaly_answers_total{status="to_review"} 5.0' in metrics
        assert "millrace_gateway_anomaly_breaker_open 1.0" in metrics


async def test_of_a_list_some_of_which_cannot_be_scored_the_others_are_answered(
    judge: Client,
) -> None:
    response = await ask(judge, [event(), event(cpu_usage=3e38, memory=3e38)])
    assert response.status_code == 200
    assert [a["status"] for a in response.json()["answers"]] == ["normal", "to_review"]
    assert "not finite" in response.json()["answers"][1]["failure"]


async def test_the_deadline_ends_in_to_review(
    anomaly_config: DictConfig, upstream: Upstream
) -> None:
    upstream.mood = "slow"
    anomaly_config.torchserve.url = f"http://127.0.0.1:{upstream.port}"
    anomaly_config.anomalies.deadline_ms = 100
    async with running(anomaly_config) as client:
        response = await ask(client, event())
        assert response.status_code == 503
        assert "within 0.1 s" in response.json()["answer"]["failure"]


async def test_without_a_recommender_there_are_no_recommendations(judge: Client) -> None:
    assert (await judge.get("/recommend?user_id=u1")).status_code == 404
    ready = (await judge.get("/health/ready")).json()
    assert ready["status"] == "ready"
    assert list(ready["models"]) == ["anomaly"]
    paths = (await judge.get("/openapi.json")).json()["paths"]
    assert {"/predict", "/v1/telemetry", "/v1/anomalies", "/v1/anomalies/{id}"} <= set(paths)
    assert "/recommend" not in paths


async def test_without_a_detector_there_are_no_anomalies(client: Client) -> None:
    for method, path in (("POST", "/predict"), ("GET", "/v1/anomalies"), ("POST", "/v1/telemetry")):
        assert (await client.request(method, path)).status_code == 404
    assert "/predict" not in (await client.get("/openapi.json")).json()["paths"]
