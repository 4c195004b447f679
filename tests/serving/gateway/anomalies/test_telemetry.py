"""POST /v1/telemetry into a real Redis: partitions, reports, dead letters, backpressure, faults."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from omegaconf import DictConfig

from pipelines.anomalies.partition import partition_of
from tests.serving.features.redis_server import RedisServer
from tests.serving.gateway.anomalies.conftest import client_of, event
from tests.serving.gateway.conftest import running

pytestmark = [pytest.mark.services]

Client = httpx.AsyncClient
PARTITIONS = 8


def lines(*events: Any) -> bytes:
    return b"\n".join(e if isinstance(e, bytes) else json.dumps(e).encode() for e in events)


async def send(client: Client, *events: Any) -> httpx.Response:
    headers = {"content-type": "application/x-ndjson"}
    return await client.post("/v1/telemetry", content=lines(*events), headers=headers)


def entries(broker: RedisServer, stream: str, partition: int) -> list[list[dict[str, Any]]]:
    with client_of(broker) as redis:
        return [json.loads(e[b"data"]) for _, e in redis.xrange(f"{stream}:{partition}")]


def letters(broker: RedisServer, stream: str) -> list[dict[str, Any]]:
    with client_of(broker) as redis:
        return [json.loads(e[b"data"]) for _, e in redis.xrange(f"{stream}:dead")]


async def test_every_event_comes_into_its_sources_partition_in_order(
    judge: Client, broker: RedisServer, stream: str
) -> None:
    sent = [event(source=f"s{n % 20}", cpu_usage=n) for n in range(100)]
    sent = [{**e, "messageId": f"m{n}"} for n, e in enumerate(sent)]
    response = await send(judge, *sent)
    assert response.status_code == 202
    assert response.json() == {
        "accepted": 100, "duplicates": [], "refused": [], "busy": [],
    }  # fmt: skip
    for partition in range(PARTITIONS):
        expected = [e for e in sent if partition_of(e["source"], PARTITIONS) == partition]
        found = entries(broker, stream, partition)
        assert [e for entry in found for e in entry] == expected
        assert len(found) == (1 if expected else 0), "one entry carries many events"
    metrics = (await judge.get("/metrics")).text
    assert 'millrace_gateway_telemetry_events_total{outcome="accepted"} 100.0' in metrics


@pytest.mark.parametrize("body", [event(), [event()], [event(), event(source="b")]])
async def test_json_works_too(judge: Client, body: Any) -> None:
    response = await judge.post("/v1/telemetry", json=body)
    assert response.status_code == 202
    assert response.json()["accepted"] == (len(body) if isinstance(body, list) else 1)


async def test_a_list_of_events_goes_in_as_it_is(
    judge: Client, broker: RedisServer, stream: str
) -> None:
    sent = [event(cpu_usage=n, messageId=str(n)) for n in range(3)]
    await judge.post("/v1/telemetry", json=sent)
    assert entries(broker, stream, partition_of("default", PARTITIONS)) == [sent]


async def test_bad_lines_are_reported_and_kept_and_the_others_go_in(
    judge: Client, broker: RedisServer, stream: str
) -> None:
    response = await send(
        judge, event(messageId="a"), b"{", b"", event(cpu_usage="x"), b'{"cpu_usage": NaN}',
        b'{"timestamp": "2026-01-01T00:00:00Z", "cpu_usage": NaN}', b"\xff\xfe",
        event(messageId="b"),
    )  # fmt: skip
    report = response.json()
    assert response.status_code == 207
    assert report["accepted"] == 2
    assert {r["line"]: r["field"] for r in report["refused"]} == {
        2: None, 4: "cpu_usage", 5: "timestamp", 6: "cpu_usage", 7: None,
    }  # fmt: skip
    assert "not JSON" in report["refused"][0]["detail"]
    assert report["refused"][3]["detail"] == "cpu_usage is NaN"
    kept = letters(broker, stream)
    assert [k["reason"] for k in kept] == [r["detail"] for r in report["refused"]]
    assert kept[0]["payload"] == "{"
    assert kept[4]["payload_base64"] == "//4="


async def test_in_a_json_list_the_element_is_named_and_kept_as_it_was(
    judge: Client, broker: RedisServer, stream: str
) -> None:
    good = json.dumps(event())
    body = f'[{good}, {{"timestamp": "2026-01-01T00:00:00Z", "v": Infinity}}, null]'
    headers = {"content-type": "application/json"}
    response = await judge.post("/v1/telemetry", content=body, headers=headers)
    assert response.status_code == 207
    assert [r["line"] for r in response.json()["refused"]] == [2, 3]
    payloads = [k["payload"] for k in letters(broker, stream)]
    assert payloads == ['{"timestamp":"2026-01-01T00:00:00Z","v":Infinity}', "null"]


async def test_where_nothing_is_good_it_is_422_with_the_report(
    judge: Client, broker: RedisServer, stream: str
) -> None:
    response = await send(judge, b"x", event(history=[]))
    problem = response.json()
    assert response.status_code == 422
    assert "line 1" in problem["detail"]
    assert [r["line"] for r in problem["report"]["refused"]] == [1, 2]
    assert len(letters(broker, stream)) == 2


async def test_an_event_without_any_of_the_models_fields_is_refused_with_the_reason(
    judge: Client, broker: RedisServer, stream: str
) -> None:
    strange = {"timestamp": event()["timestamp"], "humidity": 3, "cpu_usage": None}
    response = await send(judge, event(messageId="a"), strange)
    report = response.json()
    assert (response.status_code, report["accepted"]) == (207, 1)
    (refused,) = report["refused"]
    assert refused["line"] == 2
    assert "a number for none of the fields of model" in refused["detail"]
    assert refused["accepted"] == "a number for at least one of ['cpu_usage', 'memory']"
    (kept,) = letters(broker, stream)
    assert (kept["reason"], json.loads(kept["payload"])) == (refused["detail"], strange)
    alone = await send(judge, strange)
    assert (alone.status_code, alone.json()["detail"][:4]) == (422, "none")


async def test_an_event_that_comes_twice_in_a_request_goes_in_once(
    judge: Client, broker: RedisServer, stream: str
) -> None:
    first = event(messageId="a")
    response = await send(judge, first, event(), first, event())
    assert response.status_code == 202
    assert (response.json()["accepted"], response.json()["duplicates"]) == (2, [3, 4])
    (entry,) = entries(broker, stream, partition_of("default", PARTITIONS))
    assert len(entry) == 2


@pytest.mark.parametrize(
    ("content", "kind", "status", "words"),
    [
        (b"{", "application/json", 400, "not JSON"),
        (b"{}", "text/csv", 415, "text/csv"),
        (b"", "application/x-ndjson", 422, "0 events"),
        (b"\n\n", "application/x-ndjson", 422, "0 events"),
        (b"[]", "application/json", 422, "0 events"),
        (b"1\n" * 10_001, "application/x-ndjson", 422, "10001 events"),
        (b" " * 200_000, "application/x-ndjson", 413, "100000 bytes"),
    ],
)
async def test_bad_bodies(
    judge: Client, content: bytes, kind: str, status: int, words: str
) -> None:
    response = await judge.post("/v1/telemetry", content=content, headers={"content-type": kind})
    assert response.status_code == status
    assert words in response.json()["detail"]


async def test_full_partitions_push_back(
    anomaly_config: DictConfig, broker: RedisServer, stream: str
) -> None:
    anomaly_config.anomalies.intake.max_entries = 1
    here, elsewhere = "a", "b"
    assert partition_of(here, PARTITIONS) != partition_of(elsewhere, PARTITIONS)
    async with running(anomaly_config) as client:
        assert (await send(client, event(source=here))).status_code == 202
        response = await send(client, event(source=here, cpu_usage=1))
        assert response.status_code == 429
        assert response.headers["retry-after"] == "5"
        assert response.json()["report"]["busy"] == [1]
        mixed = await send(client, event(source=elsewhere), event(source=here), b"x")
        assert mixed.status_code == 207
        report = mixed.json()
        assert (report["accepted"], report["busy"]) == (1, [2])
        assert len(entries(broker, stream, partition_of(here, PARTITIONS))) == 1


async def test_a_few_huge_entries_push_back_too(anomaly_config: DictConfig) -> None:
    """An entry may hold hundreds of events: their number alone bounds no memory."""
    anomaly_config.anomalies.intake.max_mb = 0.05
    async with running(anomaly_config) as client:
        for n in range(20):
            some = [event(messageId=f"{n}-{m}") for m in range(300)]
            response = await send(client, *some)
            if response.status_code != 202:
                break
        assert response.status_code == 429
        assert 1 <= n < 5


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    yield server
    server.kill()


async def test_a_broker_that_is_away_takes_nothing_and_comes_back(
    anomaly_config: DictConfig, own_broker: RedisServer, stream: str
) -> None:
    anomaly_config.anomalies.intake.url = f"redis://{own_broker.address}/0"
    async with running(anomaly_config) as client:
        assert (await send(client, event(messageId="1"))).status_code == 202
        own_broker.kill()
        response = await send(client, event(messageId="2"), b"x")
        problem = response.json()
        assert response.status_code == 503
        assert response.headers["retry-after"] == "2"
        assert "no line was accepted" in problem["detail"]
        assert (problem["report"]["accepted"], problem["report"]["unknown"]) == (0, [])
        assert (await client.post("/predict", json=event())).status_code == 200
        own_broker.start()
        assert (await send(client, event(messageId="2"))).status_code == 202
        found = entries(own_broker, stream, partition_of("default", PARTITIONS))
        assert [e["messageId"] for entry in found for e in entry] == ["2"]
        metrics = (await client.get("/metrics")).text
        assert 'millrace_gateway_telemetry_events_total{outcome="failed"} 1.0' in metrics


@contextlib.asynccontextmanager
async def cut_after_exec(port: int) -> AsyncIterator[int]:
    """A way to Redis that passes everything on, and breaks once the broker was told to execute."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, asks = await asyncio.open_connection("127.0.0.1", port)
        back = asyncio.create_task(pump(answers, writer))
        while data := await reader.read(65536):
            if b"EXEC" in data:
                back.cancel()
                asks.write(data)
                await asks.drain()
                await answers.read(1)  # it has been done
                break
            asks.write(data)
        asks.close()
        writer.close()

    server = await asyncio.start_server(meet, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_a_connection_cut_while_sending_hides_nothing(
    anomaly_config: DictConfig, broker: RedisServer, stream: str
) -> None:
    async with cut_after_exec(broker.port) as port:
        anomaly_config.anomalies.intake.url = f"redis://127.0.0.1:{port}/0"
        async with running(anomaly_config) as client:
            response = await send(client, event(messageId="1"), b"x", event(messageId="2"))
            problem = response.json()
            assert response.status_code == 503
            assert problem["report"]["unknown"] == [1, 3]
            assert "sent again, they count once" in problem["detail"]
    (entry,) = entries(broker, stream, partition_of("default", PARTITIONS))
    assert [e["messageId"] for e in entry] == ["1", "2"], "here they are in the stream, once"


async def test_a_broker_without_memory_takes_nothing(
    anomaly_config: DictConfig, own_broker: RedisServer, stream: str
) -> None:
    anomaly_config.anomalies.intake.url = f"redis://{own_broker.address}/0"
    with client_of(own_broker) as redis:
        redis.config_set("maxmemory", "1")
    async with running(anomaly_config) as client:
        response = await send(client, event())
        assert response.status_code == 503
        assert response.json()["report"]["unknown"] == []
    assert entries(own_broker, stream, partition_of("default", PARTITIONS)) == []
