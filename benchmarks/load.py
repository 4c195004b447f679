"""Child: an HTTP load, so many connections, each asking again when it is answered.

`python benchmarks/load.py --requests requests.jsonl --host … --port … --connections 8 --seconds 10`
prints requests/s, p50 and p99 in milliseconds, and how many answers were not as expected. It writes
to sockets itself: on two cores a comfortable client would take more time than the servers.

With `--rate` the load is open: requests are due at fixed moments, whether earlier ones have been
answered or not, and latencies count from when they were due, so that a server that stalls is not
spared the requests that would have come meanwhile.

Limits: HTTP/1.1 with keep-alive, one request in flight a connection; no TLS.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import time
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path

import httptools
import numpy as np
import uvloop


class Connection(asyncio.Protocol):
    """One connection, until the deadline."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.load.free(self)

    def ask(self, due: float) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.body = b""
        self.asked = due
        self.transport.write(next(self.load.requests))  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        now = time.perf_counter()
        good = self.parser.get_status_code() == 200 and self.load.expected in self.body
        self.load.record(now, now - self.asked, good, self.parser.get_status_code())
        self.load.free(self)

    def connection_lost(self, error: Exception | None) -> None:
        if self in self.load.idle:
            self.load.idle.remove(self)  # servers close what rests for some seconds
        elif time.perf_counter() < self.load.deadline:
            self.load.lost += 1
        if not self.done.done():
            self.done.set_result(None)


class Load:
    """What all connections share: the requests, the clock, the latencies.

    Args:
        rate: requests a second of an open load; None: every free connection asks at once.
    """

    def __init__(
        self,
        requests: Iterator[bytes],
        expected: bytes,
        warmup: float,
        seconds: float,
        rate: float | None,
    ) -> None:
        self.requests = requests
        self.expected = expected
        self.start = time.perf_counter() + warmup
        self.deadline = self.start + seconds
        self.latencies: list[float] = []
        self.statuses: Counter[int] = Counter()
        self.unexpected = 0
        self.lost = 0
        self.rate = rate
        self.idle: deque[Connection] = deque()  # the one that has rested longest asks next
        self._due: deque[float] = deque()

    def free(self, connection: Connection) -> None:
        """A connection that can ask: at once, or when the next request is due."""
        now = time.perf_counter()
        if self._due:
            connection.ask(self._due.popleft())
        elif now >= self.deadline:
            connection.transport.close()  # type: ignore[attr-defined]
        elif self.rate is None:
            connection.ask(now)
        else:
            self.idle.append(connection)

    async def pace(self, rate: float) -> None:
        """Make requests due until the deadline; they wait where no connection is free."""
        began = time.perf_counter()
        for n in itertools.count():
            due = began + n / rate
            if due >= self.deadline:
                break
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            if self.idle:
                self.idle.popleft().ask(due)
            else:
                self._due.append(due)
        await asyncio.sleep(max(0.0, self.deadline - time.perf_counter()))
        for connection in self.idle:
            connection.transport.close()  # type: ignore[attr-defined]

    def record(self, now: float, latency: float, good: bool, status: int) -> None:
        if now < self.start:
            return
        self.latencies.append(latency)
        self.statuses[status] += 1
        self.unexpected += not good

    def report(self) -> dict[str, object]:
        taken = np.array(self.latencies) * 1000
        p50, p99 = np.percentile(taken, [50, 99]) if len(taken) else (np.nan, np.nan)
        return {
            "requests_per_s": len(taken) / (self.deadline - self.start),
            "p50_ms": float(p50),
            "p99_ms": float(p99),
            "requests": len(taken),
            "unexpected": self.unexpected,
            "statuses": dict(self.statuses),
            "lost_connections": self.lost,
        }


def encode(request: dict[str, object], host: str) -> bytes:
    """One HTTP/1.1 request as bytes."""
    body = json.dumps(request["body"]).encode() if "body" in request else b""
    lines = [f"{request['method']} {request['path']} HTTP/1.1", f"Host: {host}"]
    lines += [f"{k}: {v}" for k, v in dict(request.get("headers", {})).items()]  # type: ignore[call-overload]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def run(args: argparse.Namespace) -> dict[str, object]:
    lines = args.requests.read_text(encoding="utf-8").splitlines()
    requests = [encode(json.loads(line), args.host) for line in lines]
    load = Load(
        itertools.cycle(requests), args.expect.encode(), args.warmup, args.seconds, args.rate
    )
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(lambda: Connection(load), args.host, args.port)
        for _ in range(args.connections)
    ]
    if args.rate is not None:
        await load.pace(args.rate)
    await asyncio.wait([protocol.done for _, protocol in made], timeout=args.seconds + 60)
    return load.report()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=Path, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--warmup", type=float, default=1.0)
    parser.add_argument("--rate", type=float, help="requests a second; by default all that goes")
    parser.add_argument("--expect", default="", help="text that every good answer holds")
    print(json.dumps(uvloop.run(run(parser.parse_args()))))


if __name__ == "__main__":
    main()
