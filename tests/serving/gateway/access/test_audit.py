"""The audit log: every write and every denied read, kept whatever happens to the database."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from feature_repo.metadata import connect
from serving.gateway.access.audit import AuditLog, Event, as_row, audit_events, hash_keys
from serving.gateway.access.audit_query import AuditQuery, AuditQueryError
from serving.gateway.access.database import Database
from serving.gateway.access.keys import ApiKeys
from serving.gateway.access.roles import Role
from serving.gateway.access.spill import Spill
from serving.gateway.metrics import GatewayMetrics
from tests.serving.gateway.access.conftest import bearer
from tests.serving.gateway.access.issuer import Issuer

Client = httpx.AsyncClient
PUSH = "/v1/features/user_history/push"


def event(n: int = 0, who: str = "user:ada") -> Event:
    return Event("millrace", who, "push", "ok", subject="user_history", rows=n)


def rows_of(database: sa.Engine, **given: Any) -> list[dict[str, Any]]:
    return AuditQuery.parse(given, 10_000).run(database)


def value(metrics: GatewayMetrics, outcome: str) -> float:
    name = "millrace_gateway_audit_events_total"
    return metrics.registry.get_sample_value(name, {"outcome": outcome}) or 0.0


@pytest.fixture
def log(own_features: Path, tmp_path: Path) -> Iterator[AuditLog]:
    made = AuditLog(Spill(tmp_path / "spill"), max_queue=100, max_batch=10, retry_s=0.05)
    database = Database(own_features)
    database.engine()
    made.open(database, GatewayMetrics())
    yield made
    made.close()


def row(user: str = "u1", **changed: Any) -> dict[str, Any]:
    base = {"user_id": user, "item_ids": ["i30", "i31"], "length": 2}
    return {**base, "event_timestamp": "2026-02-01T12:00:00Z", **changed}


async def audited(client: Client, own_features: Path, **given: Any) -> list[dict[str, Any]]:
    await asyncio.to_thread(client.app.state.gateway.audit.flush)  # type: ignore[attr-defined]
    return rows_of(connect(own_features), **given)


async def test_writes_and_denied_reads_are_logged(
    guarded: Client, issuer: Issuer, own_features: Path
) -> None:
    writer, reader = issuer.token(roles=["writer"]), issuer.token(sub="eve", roles=["reader"])
    good = await guarded.post(
        PUSH,
        json={"rows": [row("u1"), row("u2")]},
        headers={**bearer(writer), "X-Reason": "réparation".encode(), "X-Request-Id": "r-1"},
    )
    assert good.status_code == 200, good.text
    await guarded.post(PUSH, json={"rows": [row(length="two")]}, headers=bearer(writer))
    await guarded.post(PUSH, json={"rows": [row()]}, headers=bearer(reader))
    await guarded.get("/feature/user_history?user_id=u7")
    await guarded.get("/feature/user_history?user_id=u7", headers=bearer(reader))
    events = await audited(guarded, own_features)
    told = [(e["who"], e["action"], e["outcome"], e["status"], e["detail"]) for e in events]
    assert told == [
        ("unknown", "read", "denied", 401, "missing"),
        ("user:eve", "push", "denied", 403, "permission"),
        ("user:ada", "push", "refused", 422, "invalid-push"),
        ("user:ada", "push", "ok", 200, "2 accepted, 0 rejected"),
    ], "a read that was allowed is not logged"
    first = events[-1]
    assert (first["subject"], first["rows"], first["why"]) == ("user_history", 2, "réparation")
    assert (first["request_id"], first["client"]) == ("r-1", "127.0.0.1")
    assert first["keys_hash"] == hash_keys(["u2", "u1"])
    assert "u1" not in json.dumps(events), "keys are hashed"
    assert first["at"].endswith("+00:00")


async def test_admins_ask_the_log_over_http(
    guarded: Client, issuer: Issuer, own_features: Path
) -> None:
    admin = bearer(issuer.token(sub="root", roles=["*:admin"]))
    await guarded.get("/feature/user_history?user_id=u7")
    await audited(guarded, own_features)
    answer = await guarded.get("/v1/audit?outcome=denied&from=2020-01-01&limit=5", headers=admin)
    assert [e["detail"] for e in answer.json()["events"]] == ["missing"]
    nothing = await guarded.get("/v1/audit?to=2020-01-01T00:00:00Z", headers=admin)
    assert nothing.json()["events"] == []
    await audited(guarded, own_features)
    own = await guarded.get("/v1/audit?who=user:root&action=audit.*", headers=admin)
    assert len(own.json()["events"]) == 2, "who reads the log is in it"
    for query, words in [
        ("limit=0", "limit is '0'"),
        ("limit=x", "limit is 'x'"),
        ("from=yesterday", "from is 'yesterday'"),
        ("user=ada", "parameter is 'user'"),
    ]:
        bad = await guarded.get(f"/v1/audit?{query}", headers=admin)
        assert (bad.status_code, words in bad.json()["detail"]) == (422, True), query


async def test_an_admin_of_a_project_sees_that_project(
    guarded: Client, issuer: Issuer, own_features: Path
) -> None:
    with connect(own_features).begin() as connection:
        other = as_row(Event("other", "user:x", "push", "ok"))
        connection.execute(audit_events.insert(), other)
    local = bearer(issuer.token(roles=["admin"]))
    seen = await guarded.get("/v1/audit?project=other", headers=local)
    assert all(e["project"] == "millrace" for e in seen.json()["events"])
    root = bearer(issuer.token(roles=["*:admin"]))
    assert len((await guarded.get("/v1/audit?project=other", headers=root)).json()["events"]) == 1


def test_a_broken_database_loses_nothing(log: AuditLog, own_features: Path) -> None:
    database = connect(own_features)
    with database.begin() as connection:
        connection.execute(sa.text("ALTER TABLE audit_events RENAME TO away"))
    for n in range(25):
        log.append(event(n))
    log.flush()
    assert log.spill.waiting() == 25
    assert log.metrics is not None
    assert value(log.metrics, "spilled") == 25
    with database.begin() as connection:
        connection.execute(sa.text("ALTER TABLE away RENAME TO audit_events"))
    for _ in range(200):
        if log.spill.waiting() == 0:
            break
        threading.Event().wait(0.05)
    assert sorted(e["rows"] for e in rows_of(database, limit=100)) == list(range(25))
    assert log.spill.waiting() == 0


def test_a_full_queue_spills(own_features: Path, tmp_path: Path) -> None:
    """With a writer that hangs: those who append do not wait."""
    held = threading.Event()

    class Hanging(Database):
        def engine(self) -> sa.Engine:
            held.wait(30)
            return super().engine()

    log = AuditLog(Spill(tmp_path / "spill"), max_queue=5, max_batch=1, retry_s=0.05)
    metrics = GatewayMetrics()
    log.open(Hanging(own_features), metrics)
    for n in range(30):
        log.append(event(n))
    assert log.spill.waiting() >= 24
    name, labels = "millrace_gateway_audit_spills_total", {"reason": "overflow"}
    assert (metrics.registry.get_sample_value(name, labels) or 0) >= 24
    held.set()
    log.close()
    later = AuditLog(Spill(tmp_path / "spill"), max_queue=5, max_batch=1, retry_s=0.05)
    later.open(Database(own_features), GatewayMetrics())
    for _ in range(200):
        if later.spill.waiting() == 0:
            break
        threading.Event().wait(0.05)
    later.close()
    assert sorted(e["rows"] for e in rows_of(connect(own_features), limit=100)) == list(range(30))


def test_what_waits_at_the_end_is_written(own_features: Path, tmp_path: Path) -> None:
    log = AuditLog(Spill(tmp_path / "spill"), max_queue=1000, max_batch=50, retry_s=5)
    log.open(Database(own_features), GatewayMetrics())
    for n in range(200):
        log.append(event(n))
    log.close()
    assert len(rows_of(connect(own_features), limit=1000)) == 200


def test_a_disk_that_takes_nothing_is_not_silent(
    log: AuditLog, own_features: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "spill").write_text("a file where the folder should be")
    with connect(own_features).begin() as connection:
        connection.execute(sa.text("DROP TABLE audit_events"))
    log.append(event(7, "user:lost"))
    log.flush()
    assert log.metrics is not None
    assert value(log.metrics, "lost") == 1
    assert "user:lost" in caplog.text
    (tmp_path / "spill").unlink()


def test_a_killed_process_leaves_its_spill_to_the_next(own_features: Path, tmp_path: Path) -> None:
    code = (
        "import os, signal; from pathlib import Path\n"
        "from serving.gateway.access.spill import Spill\n"
        "from serving.gateway.access.audit import Event, as_row\n"
        f"spill = Spill(Path({str(tmp_path / 'spill')!r}))\n"
        "spill.append([as_row(Event('millrace', 'user:dead', 'push', 'ok')) for _ in range(3)])\n"
        "spill.path.open('ab').write(b'{\"id\": \"half')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code], check=False)
    assert killed.returncode == -9
    left = list((tmp_path / "spill").glob("spill-*.jsonl"))
    assert len(left) == 1
    log = AuditLog(Spill(tmp_path / "spill"), max_queue=5, max_batch=5, retry_s=0.05)
    log.open(Database(own_features), GatewayMetrics())
    for _ in range(200):
        if not list((tmp_path / "spill").glob("spill-*.jsonl")):
            break
        threading.Event().wait(0.05)
    log.close()
    assert len(rows_of(connect(own_features), who="user:dead")) == 3


def test_a_recovery_that_was_cut_short_writes_no_row_twice(
    log: AuditLog, own_features: Path
) -> None:
    rows = [as_row(event(n)) for n in range(4)]
    log._insert(rows[:2])
    log._insert_missing(rows)
    assert len(rows_of(connect(own_features))) == 4


def test_questions_and_their_filters(own_features: Path) -> None:
    database = connect(own_features)
    keys = ApiKeys(database)
    keys.create("a", {"*": Role.READER}, "test", None)
    long = Event("millrace", "key:a%b", "push", "ok", why="x\0" + "y" * 5000)
    with database.begin() as connection:
        connection.execute(audit_events.insert(), [as_row(event()), as_row(long)])
    assert len(rows_of(database, who="key:*")) == 1
    assert len(rows_of(database, who="key:a%*")) == 1, "a per cent sign is only a per cent sign"
    assert len(rows_of(database, who="%")) == 0
    assert len(rows_of(database, limit=1)) == 1
    found = rows_of(database, who="key:a%b")[0]
    assert len(found["why"]) == 1000
    with pytest.raises(AuditQueryError, match=r"outcome is 'denid'; accepted: ok, denied, ref"):
        rows_of(database, outcome="denid")
    with pytest.raises(AuditQueryError, match=r"limit is '10001'; accepted.*1 to 10000"):
        AuditQuery.parse({"limit": "10001"}, 10_000)
