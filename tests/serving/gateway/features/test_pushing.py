"""Publishing features: what is pushed is online and offline; what is wrong is named."""

from __future__ import annotations

import asyncio
import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
from omegaconf import DictConfig, OmegaConf

from feature_repo import gateway_pushes
from feature_repo.gateway_pushes import Terms
from feature_repo.online.outage import OnlineStoreError
from tests.serving.gateway.conftest import running

Client = httpx.AsyncClient
PUSH = "/v1/features/user_history/push"
TIME = "2026-02-01T12:00:00Z"


def row(user: str = "u1", **changed: Any) -> dict[str, Any]:
    made = {"user_id": user, "item_ids": ["i30", "i31"], "length": 2, "event_timestamp": TIME}
    return {name: value for name, value in {**made, **changed}.items() if value is not ...}


def offline(folder: Path) -> pl.DataFrame:
    files = list((folder / "offline" / "user_history").rglob("push-*.parquet"))
    return pl.concat([pl.read_parquet(f) for f in files]) if files else pl.DataFrame()


async def length_of(client: Client, user: str) -> Any:
    answer = await client.get(f"/feature/user_history?user_id={user}&features=length")
    return answer.json()["rows"][0]["features"]["length"]


async def test_pushed_rows_are_online_and_offline(gateway: Client, own_features: Path) -> None:
    rows = [row("u1", length=7), row("new", length=5, event_timestamp="2026-02-02T00:30:00+01:00")]
    answer = await gateway.post(PUSH, json={"rows": rows})
    assert answer.status_code == 200, answer.text
    assert (answer.json()["accepted"], answer.json()["rejected"]) == (2, [])
    assert await length_of(gateway, "u1") == 7
    assert await length_of(gateway, "new") == 5
    kept = offline(own_features).sort("user_id")
    assert kept["user_id"].to_list() == ["new", "u1"]
    moment = datetime(2026, 2, 1, 23, 30, tzinfo=UTC)
    assert kept["event_timestamp"].to_list()[0] == moment
    assert kept.schema["event_timestamp"] == pl.Datetime("us", "UTC")
    days = {f.parent.name for f in (own_features / "offline").rglob("push-*.parquet")}
    assert days == {"day=2026-02-01"}
    metrics = (await gateway.get("/metrics")).text
    assert 'pushed_rows_total{outcome="accepted",view="user_history"} 2.0' in metrics


async def test_an_older_push_does_not_hide_a_newer_one(gateway: Client) -> None:
    await gateway.post(PUSH, json={"rows": [row(length=9)]})
    await gateway.post(PUSH, json={"rows": [row(length=3, event_timestamp="2026-01-15T00:00:00Z")]})
    assert await length_of(gateway, "u1") == 9
    await gateway.post(PUSH, json={"rows": [row(length=4)]})
    assert await length_of(gateway, "u1") == 4, "of the same moment, the later one corrects"


async def test_rows_that_break_rules_are_told_and_kept(gateway: Client, own_features: Path) -> None:
    rows = [row("u1", length=5), row("u2", length=0), row("u3", length=None), row("u4", length=6)]
    answer = (await gateway.post(PUSH, json={"rows": rows})).json()
    assert answer["accepted"] == 2
    assert [r["row"] for r in answer["rejected"]] == [1, 2]
    assert "length" in answer["rejected"][0]["reason"]
    assert "null" in answer["rejected"][1]["reason"].lower()
    assert await length_of(gateway, "u4") == 6
    assert await length_of(gateway, "u2") == 2, "as before"
    files = list((own_features / "quarantine" / "user_history").glob("*.parquet"))
    assert sorted(pl.concat([pl.read_parquet(f) for f in files])["user_id"]) == ["u2", "u3"]


FUTURE = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
BAD: list[tuple[str, Any, str, str]] = [
    # case, row, words of the detail, words of what is accepted
    ("unknown field", row(lenght=3), "lenght is 3, which is an unknown field; nearest: length", ""),
    ("wrong type", row(length="7"), "length is '7', which is no Int64", "whole number of 64 bits"),
    ("a fraction", row(length=1.5), "length is 1.5, which is no Int64", "whole number"),
    ("a truth", row(length=True), "length is True, which is no Int64", "whole number"),
    ("a float is no int", row(length=2.0), "length is 2.0", "whole number"),
    ("wrong item", row(item_ids=["i1", 2]), "item_ids is ['i1', 2]", "a list, each a string"),
    ("missing field", row(length=...), "length is nothing, which is missing", "each of"),
    ("missing key", row(user_id=...), "user_id is nothing, which is missing", "user_id"),
    ("null key", row(user_id=None), "user_id is None, which is no key", "non-empty string"),
    ("number as key", row(user_id=7), "user_id is 7, which is no key", "non-empty string"),
    ("no time", row(event_timestamp=...), "event_timestamp is nothing", "each of"),
    ("null time", row(event_timestamp=None), "event_timestamp is None, which is null", "RFC 3339"),
    ("naive", row(event_timestamp="2026-02-01T12:00:00"), "which has no zone", "with its zone"),
    ("nanoseconds", row(event_timestamp="2026-02-01T12:00:00.123456789Z"), "nanoseconds", "micro"),
    ("a number", row(event_timestamp=1769947200000), "could be seconds, milli-", "RFC 3339"),
    ("a day", row(event_timestamp="2026-02-01"), "which is no time", "RFC 3339"),
    ("no such day", row(event_timestamp="2026-02-31T00:00:00Z"), "which is no time", "RFC 3339"),
    ("the future", row(event_timestamp=FUTURE), "300 s in the future", "RFC 3339"),
    ("no object", 7, "the row is 7, which is no object", "an object of user_id"),
]


@pytest.mark.parametrize(
    ("bad", "words", "accepted"), [b[1:] for b in BAD], ids=[b[0] for b in BAD]
)
async def test_malformed_rows_refuse_the_push(
    gateway: Client, own_features: Path, bad: Any, words: str, accepted: str
) -> None:
    answer = await gateway.post(PUSH, json={"rows": [row("u5", length=50), bad]})
    problem = answer.json()
    assert answer.status_code == 422, answer.text
    assert problem["detail"].startswith("row 1: ")
    assert words in problem["detail"]
    assert accepted in problem["accepted"]
    assert problem["faults"][0]["row"] == 1
    assert await length_of(gateway, "u5") == 2, "nothing is written"
    assert offline(own_features).is_empty()


def test_a_fraction_of_zeros_is_no_nanosecond() -> None:
    assert gateway_pushes._moment("2026-02-01T12:00:00.123456000Z", False)[1] is None


@pytest.mark.parametrize(
    ("view", "body", "status", "words"),
    [
        ("user_histroy", {"rows": [row()]}, 404, "nearest: user_history"),
        ("user_history@v3", {"rows": [row()]}, 404, "no version 3"),
        ("user_history", {"rows": []}, 422, "there are 0 rows"),
        ("user_history", {"rows": [{}] * 1001}, 422, "there are 1001 rows"),
        ("user_history", {"row": [row()]}, 422, "the body has the fields ['row']"),
        ("user_history", {"rows": {}}, 422, "the body has the fields ['rows']"),
    ],
)
async def test_bad_pushes(gateway: Client, view: str, body: Any, status: int, words: str) -> None:
    answer = await gateway.post(f"/v1/features/{view}/push", json=body)
    assert answer.status_code == status
    assert words in answer.json()["detail"]


def test_a_view_that_is_only_computed_takes_no_pushes(own_features: Path) -> None:
    outcome = gateway_pushes.push(str(own_features), "item_content", [row()], Terms())
    fault = outcome.faults[0]
    assert (fault.field, fault.reason) == ("view", "takes no pushes")
    assert (
        fault.accepted == "views that take pushes: user_history, user_counters, item_availability, "
        "item_review_sentiment"
    )


async def test_a_long_push_is_cut_off(gateway: Client) -> None:
    answer = await gateway.post(PUSH, json={"rows": [row(item_ids=["i" * 100_000])]})
    assert answer.status_code == 413


async def test_a_full_queue_says_when_to_come_back(feature_config: DictConfig) -> None:
    feature_config.pushes.max_waiting = 2
    async with running(feature_config) as client:
        pushes = client.app.state.gateway.pushes  # type: ignore[attr-defined]
        held = threading.Event()
        blocked = asyncio.create_task(pushes.run(held.wait, 30))
        waiting = asyncio.create_task(client.post(PUSH, json={"rows": [row(length=8)]}))
        await asyncio.sleep(0.1)
        refused = await client.post(PUSH, json={"rows": [row()]})
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        held.set()
        await blocked
        assert (await waiting).status_code == 200
        assert await length_of(client, "u1") == 8
        await asyncio.sleep(0)
        assert pushes.waiting == 0


async def test_a_worker_that_dies_is_replaced(
    feature_config: DictConfig, own_features: Path, tmp_path: Path
) -> None:
    """With the shipped worker, a process of its own."""
    shipped = OmegaConf.load("configs/gateway/pushes/process.yaml")
    feature_config.pushes.make_executor = shipped.make_executor
    async with running(feature_config) as client:
        pushes = client.app.state.gateway.pushes  # type: ignore[attr-defined]
        worker = await pushes.run(os.getpid)
        assert worker != os.getpid()
        os.kill(worker, 9)
        answer = await client.post(PUSH, json={"rows": [row(length=8)]})
        if answer.status_code == 503:
            answer = await client.post(PUSH, json={"rows": [row(length=8)]})
        assert answer.status_code == 200, answer.text
        assert await length_of(client, "u1") == 8


async def test_a_store_that_cannot_be_written_is_said_so(
    gateway: Client, own_features: Path
) -> None:
    target = own_features / "offline" / "user_history" / "day=2026-02-01"
    target.write_text("a file where the day's folder should be")
    answer = await gateway.post(PUSH, json={"rows": [row("u5", length=50)]})
    assert answer.status_code == 503
    assert str(own_features) not in answer.text
    assert await length_of(gateway, "u5") == 2, "offline comes first: nothing is online either"
    target.unlink()
    assert (await gateway.post(PUSH, json={"rows": [row("u5", length=50)]})).status_code == 200


async def test_an_online_store_that_is_away_is_named(
    gateway: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> Any:
        raise OnlineStoreError("Redis at shop:6379: refused; push them again when it answers")

    monkeypatch.setattr("serving.gateway.features.pushes.push", away)
    answer = await gateway.post(PUSH, json={"rows": [row()]})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["detail"].startswith("Redis at shop:6379: refused; push them again")
