"""Anomalies listed, verdicts taken, precision figured, over a real SQLite store."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from omegaconf import DictConfig

from feature_repo.metadata import connect as metadata
from pipelines.anomalies.store import VERDICTS
from serving.gateway.access.audit_query import AuditQuery
from serving.gateway.access.keys import ApiKeys
from serving.gateway.access.roles import Role
from tests.serving.gateway.anomalies.conftest import NOW, event, found, insert, us
from tests.serving.gateway.conftest import gateway_config, running

pytestmark = [pytest.mark.services]

Client = httpx.AsyncClient


async def ids(client: Client, **query: Any) -> list[str]:
    response = await client.get("/v1/anomalies", params=query)
    assert response.status_code == 200, response.text
    return [a["id"] for a in response.json()["anomalies"]]


async def say(client: Client, name: str, verdict: str = "confirm", **more: Any) -> httpx.Response:
    return await client.post(f"/v1/anomalies/{name}/verdict", json={"verdict": verdict, **more})


async def test_an_anomaly_is_shown_with_its_reasons(judge: Client, store: sa.Engine) -> None:
    insert(store, found("a"))
    (shown,) = (await judge.get("/v1/anomalies")).json()["anomalies"]
    assert shown["timestamp"] == NOW.isoformat().replace("+00:00", "Z")
    assert [r["field"] for r in shown["reasons"]] == ["cpu_usage", "memory"]
    assert shown["reasons"][0]["expected"] == 50.0
    assert shown["verdict"] is None
    assert (await judge.get("/v1/anomalies/a")).json() == {**shown, "verdicts": []}


async def test_pages_go_back_in_time_and_miss_nothing(judge: Client, store: sa.Engine) -> None:
    moments = [us(NOW - timedelta(seconds=n // 3)) for n in range(10)]  # three at a time
    insert(store, *(found(f"a{n}", timestamp=at) for n, at in enumerate(moments)))
    seen: list[str] = []
    cursor = None
    for page in range(4):
        query = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        answer = (await judge.get("/v1/anomalies", params=query)).json()
        seen += [a["id"] for a in answer["anomalies"]]
        cursor = answer["cursor"]
        if page == 1:  # what comes in meanwhile is newer, and moves nothing
            insert(store, found("new", timestamp=us(NOW + timedelta(seconds=1))))
    assert cursor is None
    assert seen == ["a2", "a1", "a0", "a5", "a4", "a3", "a8", "a7", "a6", "a9"]


async def test_filters(judge: Client, store: sa.Engine) -> None:
    day = timedelta(days=1)
    insert(
        store,
        found("old", timestamp=us(NOW - 2 * day), severity="info"),
        found("other", source="web-2", timestamp=us(NOW - day), severity="critical"),
        found("unsure", status="to_review", score=None, threshold=None, fields={},
              reason="the model is unavailable"),
    )  # fmt: skip
    await say(judge, "old", "confirm")
    await say(judge, "other", "confirm")
    await say(judge, "other", "dismiss")
    assert await ids(judge, source="web-2") == ["other"]
    assert await ids(judge, severity="info,critical") == ["other", "old"]
    assert await ids(judge, status="to_review") == ["unsure"]
    assert await ids(judge, verdict="confirmed") == ["old"]
    assert await ids(judge, verdict="dismissed") == ["other"]
    assert await ids(judge, verdict="none") == ["unsure"]
    assert await ids(judge, verdict="none,confirmed") == ["unsure", "old"]
    since, until = (NOW - day).isoformat(), NOW.isoformat()
    assert await ids(judge, since=since) == ["unsure", "other"]
    assert await ids(judge, since=since, until=until) == ["other"], "until is not included"
    tomorrow = f"{NOW + day:%Y-%m-%d}"
    assert await ids(judge, since=tomorrow) == []
    (unsure,) = (await judge.get("/v1/anomalies?status=to_review")).json()["anomalies"]
    assert (unsure["score"], unsure["failure"]) == (None, "the model is unavailable")


@pytest.mark.parametrize(
    ("query", "words", "accepted"),
    [
        ("sources=web-1", "parameter is 'sources'", "source"),
        ("since=yesterday", "since is 'yesterday'", "UTC day"),
        ("until=2026-01-31T12:00:00", "until is", "zone"),
        ("since=0001-01-01T00:00:00%2B23:00", "since is", "UTC day"),
        ("severity=bad", "severity is 'bad'", "critical"),
        ("severity=info,", "severity is ''", "critical"),
        ("status=normal", "status is 'normal'", "to_review"),
        ("verdict=confirm", "verdict is 'confirm'", "confirmed"),
        ("limit=0", "limit is '0'", "from 1 to 1000"),
        ("limit=1001", "limit is '1001'", "from 1 to 1000"),
        ("limit=x", "limit is 'x'", "from 1 to 1000"),
        ("limit=%C2%B2", "limit is '²'", "from 1 to 1000"),
        ("cursor=x", "cursor is 'x'", "answer before"),
        ("cursor=WzFd", "cursor is 'WzFd'", "answer before"),
        ("cursor=%E2%82%AC", "cursor is '€'", "answer before"),
    ],
)
async def test_bad_queries_say_what_is_accepted(
    judge: Client, query: str, words: str, accepted: str
) -> None:
    response = await judge.get(f"/v1/anomalies?{query}")
    assert response.status_code == 422
    assert words in response.json()["detail"]
    assert accepted in response.json()["accepted"]


async def test_a_verdict_counts_and_another_one_replaces_it(
    judge: Client, store: sa.Engine
) -> None:
    insert(store, found("a"))
    first = await say(judge, "a", "confirm", reason="disk was full", who="ada")
    assert first.status_code == 201
    assert first.json()["verdict"]["verdict"] == "confirmed"
    second = await say(judge, "a", "dismiss", who="grace")
    assert second.status_code == 201
    shown = (await judge.get("/v1/anomalies/a")).json()
    assert shown["verdict"]["who"] == "grace"
    assert [(v["verdict"], v["who"], v["reason"]) for v in shown["verdicts"]] == [
        ("confirmed", "ada", "disk was full"), ("dismissed", "grace", None),
    ]  # fmt: skip
    with store.connect() as connection:
        rows = connection.execute(VERDICTS.select().order_by(VERDICTS.c.sequence)).all()
    assert [(r.anomaly, r.verdict) for r in rows] == [("a", "confirmed"), ("a", "dismissed")]
    metrics = (await judge.get("/metrics")).text
    assert 'millrace_gateway_anomaly_verdicts_total{verdict="confirmed"} 1.0' in metrics


async def test_the_same_verdict_again_is_a_conflict_that_says_whose_it_is(
    judge: Client, store: sa.Engine
) -> None:
    insert(store, found("a"))
    await say(judge, "a", "confirm", who="ada")
    again = await say(judge, "a", "confirm", who="grace")
    assert again.status_code == 409
    assert again.json()["current"]["who"] == "ada"
    assert "confirmed already, by ada" in again.json()["detail"]
    answers = await asyncio.gather(*(say(judge, "a", "dismiss") for _ in range(8)))
    assert {a.status_code for a in answers} <= {201, 409}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "verdict is missing"),
        ({"verdict": "confirmed"}, 'verdict is "confirmed"'),
        ({"verdict": ["confirm"]}, "verdict is a JSON list"),
        ({"verdict": "confirm", "reson": "x"}, 'unknown field "reson"'),
        ({"verdict": "confirm", "reason": 7}, "reason is 7"),
        ({"verdict": "confirm", "reason": "x" * 2001}, "reason has 2001 characters"),
        ({"verdict": "confirm", "reason": "a\x00"}, "zero byte"),
        ({"verdict": "confirm", "who": "x" * 256}, "who has 256 characters"),
        ([], "a JSON list"),
    ],
)
async def test_bad_verdicts_are_named(
    judge: Client, store: sa.Engine, body: Any, words: str
) -> None:
    insert(store, found("a"))
    response = await judge.post("/v1/anomalies/a/verdict", json=body)
    assert response.status_code == 422
    assert words in response.json()["detail"]


@pytest.mark.parametrize("name", ["unknown", "a%00b", "%E2%82%AC"])
async def test_an_anomaly_that_is_not_there(judge: Client, name: str) -> None:
    assert (await judge.get(f"/v1/anomalies/{name}")).status_code == 404
    refused = await say(judge, name)
    assert refused.status_code == 404
    assert refused.json()["type"].endswith("unknown-anomaly")


async def test_ids_that_are_addresses_can_be_asked_for(judge: Client, store: sa.Engine) -> None:
    insert(store, found("mqtt/plant 1/7"))
    path = "/v1/anomalies/mqtt%2Fplant%201%2F7"
    assert (await judge.get(path)).json()["id"] == "mqtt/plant 1/7"
    assert (await say(judge, "mqtt%2Fplant%201%2F7")).status_code == 201


async def test_precision_of_what_people_looked_at(judge: Client, store: sa.Engine) -> None:
    empty = (await judge.get("/v1/anomalies/precision")).json()
    assert empty["overall"] == {
        "anomalies": 0, "confirmed": 0, "dismissed": 0, "open": 0, "precision": None,
    }  # fmt: skip
    before = us(NOW - timedelta(days=40))
    insert(
        store,
        *(found(f"a{n}") for n in range(4)),
        found("b", source="web-2", severity="info", version="v2", timestamp=before),
    )
    for name, verdict in (("a0", "dismiss"), ("a0", "confirm"), ("a1", "confirm"),
                          ("a2", "dismiss"), ("b", "dismiss")):  # fmt: skip
        assert (await say(judge, name, verdict)).status_code == 201
    answer = (await judge.get("/v1/anomalies/precision")).json()
    assert answer["overall"] == {
        "anomalies": 5, "confirmed": 2, "dismissed": 2, "open": 1, "precision": 0.5,
    }  # fmt: skip
    by = answer["by"]
    assert [(g["source"], g["precision"]) for g in by["source"]] == [
        ("web-1", pytest.approx(2 / 3)), ("web-2", 0.0),
    ]  # fmt: skip
    assert [g["severity"] for g in by["severity"]] == ["major", "info"]
    assert [g["version"] for g in by["version"]] == ["v1", "v2"]
    assert by["day"][0]["day"] == f"{NOW:%Y-%m-%d}"
    since = f"{NOW - timedelta(days=7):%Y-%m-%d}"
    recent = (await judge.get(f"/v1/anomalies/precision?since={since}")).json()
    assert recent["overall"]["precision"] == pytest.approx(2 / 3)
    assert (await judge.get("/v1/anomalies/precision?source=web-1")).status_code == 422


async def test_what_could_not_be_scored_is_no_alarm_in_the_precision(
    judge: Client, store: sa.Engine
) -> None:
    failed = {"status": "to_review", "score": None, "threshold": None, "reason": "no model"}
    insert(store, found("a"), found("b", **failed))
    for name, verdict in (("a", "dismiss"), ("b", "confirm")):
        assert (await say(judge, name, verdict)).status_code == 201
    answer = (await judge.get("/v1/anomalies/precision")).json()
    assert answer["overall"] == {
        "anomalies": 1, "confirmed": 0, "dismissed": 1, "open": 0, "precision": 0.0,
    }  # fmt: skip
    assert [g["anomalies"] for g in answer["by"]["source"]] == [1]


async def test_access_and_audit(
    anomaly_config: DictConfig, store: sa.Engine, tmp_path: Path
) -> None:
    insert(store, found("a"))
    guarded = gateway_config(
        None, Path(anomaly_config.features), 9, tmp_path, "gateway/access=keys",
        f"anomalies.store=sqlite:///{tmp_path / 'store.db'}",
    )  # fmt: skip
    anomaly_config.access = guarded.access
    database = metadata(Path(anomaly_config.features))
    secrets = {}
    for role in (Role.READER, Role.WRITER):
        name = f"{tmp_path.name}-{role}"[-60:]
        _, secret = ApiKeys(database).create(name, {"millrace": role}, "test", None)
        secrets[role] = {"X-API-Key": secret}
    reader, writer = secrets[Role.READER], secrets[Role.WRITER]
    say_so, url = {"verdict": "confirm"}, "/v1/anomalies/a/verdict"
    async with running(anomaly_config) as client:
        for method, path in (("POST", "/predict"), ("GET", "/v1/anomalies"),
                             ("GET", "/v1/anomalies/a"), ("POST", "/v1/telemetry"),
                             ("GET", "/v1/anomalies/precision"), ("POST", url)):  # fmt: skip
            assert (await client.request(method, path)).status_code == 401, path
        assert (await client.post("/predict", json=event(), headers=reader)).status_code == 200
        assert (await client.get("/v1/anomalies", headers=reader)).status_code == 200
        assert (await client.post(url, json=say_so, headers=reader)).status_code == 403
        refused = await client.post("/v1/telemetry", json=event(), headers=reader)
        assert refused.status_code == 403
        assert (await client.post("/v1/telemetry", json=event(), headers=writer)).status_code == 202
        lie = await client.post(url, json={**say_so, "who": "ada"}, headers=writer)
        assert lie.status_code == 422
        assert "credentials" in lie.json()["detail"]
        said = await client.post(url, json=say_so, headers={**writer, "X-Reason": "call 12"})
        who = said.json()["verdict"]["who"]
        assert who.startswith("key:")
        client.app.state.gateway.audit.flush()  # type: ignore[attr-defined]
    found_events = AuditQuery.parse({"who": who}, 100).run(database)
    logged = {(e["action"], e["outcome"]): e for e in found_events}
    told = logged["anomalies.verdict", "ok"]
    assert (told["subject"], told["detail"], told["why"]) == ("a", "confirmed", "call 12")
    assert logged["telemetry.write", "ok"]["rows"] == 1
    assert ("anomalies.verdict", "refused") in logged
