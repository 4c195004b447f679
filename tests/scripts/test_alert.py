"""The script: it may be killed at any moment, and its commands say what they did."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipelines.alerts.tables import MEMBERS, NOTIFICATIONS, SENT
from pipelines.anomalies.store import ANOMALIES, connect
from serving.supervisor import free_port
from tests.conftest import ROOT
from tests.pipelines.alerts.house import House, anomaly_row
from tests.pipelines.alerts.servers import HttpSink


@pytest.fixture
def http() -> Iterator[HttpSink]:
    sink = HttpSink()
    yield sink
    sink.close()


def command(root: Path, *arguments: str) -> list[str]:
    words = list(itertools.takewhile(lambda argument: "=" not in argument, arguments))
    return [
        sys.executable, "scripts/alert.py", *words, f"paths.root={root}",
        f"anomalies.store=sqlite:///{root}/store.db", "alerts/scores=none",
        *arguments[len(words) :],  # of two values for one key the last counts
    ]  # fmt: skip


def script(root: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(root, *arguments), cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **environment},
    )  # fmt: skip


def started(root: Path, url: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(
            root, "run", "alerts/routes=[webhook]", "alerts.grouping.group_wait=1s",
            "alerts.grouping.resolve_after=2s", "alerts.job.every_s=0.02",
            "alerts.delivery.lease=1s", "alerts.delivery.backoff=1s",
            "alerts.engine.most=40", *arguments,
        ),
        cwd=ROOT, stdout=(root / "said.log").open("w"), stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "MILLRACE_ALERT_WEBHOOK_URL": url},
    )  # fmt: skip


def until_started(process: subprocess.Popen[str], root: Path) -> None:
    said = root / "said.log"  # a pipe that nobody reads would stop the process
    while "alerts: started" not in said.read_text():
        assert process.poll() is None, said.read_text()
        time.sleep(0.05)


@pytest.mark.slow
def test_killed_again_and_again_it_loses_nothing(tmp_path: Path, http: HttpSink) -> None:
    """240 anomalies of 20 sources, while the process is killed three times at random moments."""
    store = connect(f"sqlite:///{tmp_path}/store.db")
    url = f"json://127.0.0.1:{http.port}/hook"
    dice = random.Random(7)
    numbers = iter(range(240))

    def found(count: int) -> None:
        for n in [next(numbers) for _ in range(count)]:
            with store.begin() as connection:
                now = time.time_ns() // 1000
                row = anomaly_row(now, f"s{n % 20}", "critical")
                connection.execute(sa.insert(ANOMALIES).values(row))

    for _ in range(3):
        process = started(tmp_path, url, "alerts.job.metrics_port=null")
        until_started(process, tmp_path)
        found(80)
        time.sleep(dice.random() * 1.5)
        process.kill()
        process.wait()
    process = started(tmp_path, url, "alerts.job.metrics_port=null")
    until_started(process, tmp_path)
    with store.connect() as connection:
        waiting = sa.select(sa.func.count()).where(NOTIFICATIONS.c.reason == "resolved")
        not_sent = sa.select(sa.func.count()).where(NOTIFICATIONS.c.status != SENT)
        for _ in range(600):
            ended = connection.execute(
                sa.text("select count(*) from alerts where ended_at is null")
            )
            if (
                not ended.scalar()
                and connection.execute(waiting).scalar()
                and not connection.execute(not_sent).scalar()
            ):
                break
            connection.rollback()
            time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=60)
    assert process.returncode == 0
    with store.connect() as connection:
        anomalies = set(connection.execute(sa.select(ANOMALIES.c.id)).scalars())
        assert set(connection.execute(sa.select(MEMBERS.c.anomaly)).scalars()) == anomalies
        assert len(anomalies) == 240
        rows = connection.execute(sa.select(NOTIFICATIONS)).all()
    assert {r.status for r in rows} == {SENT}
    arrived = Counter(r.headers["idempotency-key"] for r in http.requests)
    assert set(arrived) == {r.key for r in rows}
    # Twice only what was under way when it was killed.
    assert sum(arrived.values()) - len(arrived) <= 3
    store.dispose()


def test_it_answers_prometheus_and_stops(tmp_path: Path, http: HttpSink) -> None:
    port = free_port()
    url = f"json://127.0.0.1:{http.port}/hook"
    process = started(tmp_path, url, f"alerts.job.metrics_port={port}")
    try:
        until_started(process, tmp_path)
        text = ""
        for _ in range(100):
            with contextlib.suppress(OSError):
                text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
            if 'millrace_alert_notifications_waiting{route="webhook"} 0.0' in text:
                break
            time.sleep(0.05)
        assert 'millrace_alert_notifications_dead{route="webhook"} 0.0' in text
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
    assert process.returncode == 0


def test_commands_on_the_store(tmp_path: Path) -> None:
    store = connect(f"sqlite:///{tmp_path}/store.db")
    house = House(store)
    house.clock.time = time.time_ns() // 1000
    house.fire()
    done = script(tmp_path, "silence", "source=db-.*", "for=2h", "who=ann", "why=disk swap")
    assert "silence 1: source=~db-.* until" in done.stdout, done.stderr
    assert "it matches 1 anomalies of the last 7 days" in done.stdout
    done = script(tmp_path, "acknowledge", "1", "who=ann", "why=on it")
    assert done.stdout == "alert 1 is acknowledged by ann\n"
    assert "on it" in script(tmp_path, "list", "history", "1").stdout
    assert "ann" in script(tmp_path, "list", "silences").stdout
    done = script(tmp_path, "maintenance", "name=backup", "days=[sat,sun]", "start=02:00",
                  "end=04:00", "source=bd-.*", "why=backup")  # fmt: skip
    assert "maintenance backup: sat,sun 02:00 to 04:00 UTC; next at" in done.stdout
    assert "warning: it matches no anomaly of the last 7 days" in done.stdout
    assert script(tmp_path, "test").stdout.endswith("log: sent\n")
    store.dispose()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["acknowledge", "x", "why=x"], 65, "acknowledge needs a number, not x"),
        (["silence", "source=db", "for=2h"], 65, "say why"),
        (["silnce"], 2, "nearest: silence"),
        (["run", "alerts.grouping.by=[host]"], 78, "cannot group by 'host'"),
        (["run", "alerts/routes=[email]"], 78, "MILLRACE_ALERT_EMAIL_URL"),
        (["run", "anomalies.store=postgresql+psycopg://127.0.0.1:1/x"], 69, "cannot be used"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else None,
)
def test_what_is_wrong_is_said(tmp_path: Path, arguments: list[str], code: int, says: str) -> None:
    done = script(tmp_path, *arguments)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_test_that_does_not_arrive_fails(tmp_path: Path) -> None:
    url = f"json://127.0.0.1:{free_port()}/hook"
    done = script(tmp_path, "test", "alerts/routes=[webhook]", MILLRACE_ALERT_WEBHOOK_URL=url)
    assert done.returncode == 69
    assert "webhook: failed" in done.stdout
