"""Point-in-time joins beside Feast's own local stores: `python benchmarks/pit_join.py`.

One million entity rows, ten million feature rows, four features, through Feast's SDK in every case;
each store in a process of its own. Rows lost and values found are compared, not only seconds. The
rows are spread over different numbers of keys: what Feast's stores take grows with the rows of a
key, so one shape alone would say little.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np
import polars as pl
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from benchmarks.chart import bars
from benchmarks.child import ROOT, measure
from models.report import Report, conditions
from scripts.entrypoint import entrypoint

log = logging.getLogger(__name__)


def make_tables(cfg: DictConfig, users: int, folder: Path) -> None:
    """Random keys and moments; a hundredth of the keys has its first feature row too late."""
    if (folder / "features.parquet").is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    span = int(cfg.days * 86_400 * 1e6)
    start = 1_767_225_600_000_000  # 2026-01-01 UTC, microseconds
    moment = pl.Datetime("us", "UTC")
    keys = rng.integers(0, users, cfg.feature_rows)
    time = rng.integers(0, span, cfg.feature_rows)
    time = np.where(keys % 100 == 0, span + time, time)
    features = {f"f{n}": rng.normal(size=cfg.feature_rows) for n in range(cfg.columns)}
    frame = pl.DataFrame({"user_id": keys, "event_timestamp": start + time, **features})
    frame.with_columns(
        pl.col("event_timestamp").cast(moment),
        (pl.col("event_timestamp") + 1_000_000).cast(moment).alias("created"),
    ).write_parquet(folder / "features.parquet")
    pl.DataFrame(
        {
            "user_id": rng.integers(0, users, cfg.entity_rows),
            "event_timestamp": start + rng.integers(0, span, cfg.entity_rows),
        }
    ).with_columns(pl.col("event_timestamp").cast(moment)).write_parquet(
        folder / "entities.parquet"
    )


def join(cfg: DictConfig, users: int, folder: Path) -> dict[str, dict[str, float]]:
    """Every store's join of the tables with so many keys."""
    make_tables(cfg, users, folder)
    rows = {}
    for name, kind in cfg.stores.items():
        ours = name == "millrace"
        task = {
            "folder": str(folder),
            "store": name,
            "type": kind,
            "features": cfg.columns,
            "ttl_days": cfg.ttl_days,
            "options": {"memory_limit_mb": cfg.memory_limit_mb} if ours else {},
        }
        command = [sys.executable, "benchmarks/pit_join_rate.py", json.dumps(task)]
        rows[name] = measure(command, {"PYTHONPATH": str(ROOT)})
        log.info("%s keys, %s: %.1f s", f"{users:,}", name, rows[name]["seconds"])
    return rows


def print_table(cfg: DictConfig, users: int, rows: dict[str, dict[str, float]]) -> None:
    """One shape's joins beside ours."""
    ours = rows["millrace"]
    table = Table(
        title=f"{cfg.entity_rows:,} entity rows, {cfg.feature_rows:,} feature rows × "
        f"{cfg.columns}, {users:,} keys: {cfg.feature_rows // users:,} rows a key"
    )
    names = ("seconds", "times", "CPU s", "times", "peak MB", "rows lost", "nulls", "sum of f0")
    for column in ("", *names):
        table.add_column(column, justify="right" if column else "left")
    for name, row in rows.items():
        table.add_row(
            name, f"{row['seconds']:.1f}", f"{row['seconds'] / ours['seconds']:.1f}",
            f"{row['cpu_seconds']:.1f}", f"{row['cpu_seconds'] / ours['cpu_seconds']:.1f}",
            f"{row['peak_mb']:,}", f"{row['lost_rows']:,}", f"{row['null']:,}", f"{row['sum']:.3f}",
        )  # fmt: skip
    Console(width=None if sys.stdout.isatty() else 120).print(table)


@entrypoint("benchmark/pit_join")
def main(cfg: DictConfig) -> None:
    """Join every shape with every store, compare, print, draw."""
    output = Path(cfg.output_dir).resolve()
    output.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, output / "config.yaml", resolve=True)
    ours: dict[str, float] = {}
    peers: dict[str, dict[str, float]] = {}
    panels: dict[str, dict[str, float]] = {}
    for users in cfg.users:
        shape = f"{cfg.feature_rows // users}_rows_a_key"
        rows = join(cfg, users, Path(cfg.path).resolve() / shape)
        print_table(cfg, users, rows)
        for name, row in rows.items():
            measured = ours if name == "millrace" else peers.setdefault(name, {})
            measured |= {f"{metric}_{shape}": value for metric, value in row.items()}
        title = f"seconds, {shape.replace('_', ' ')}"
        panels[title] = {name: row["seconds"] for name, row in rows.items()}
    report = Report(
        model=ours, peers=peers, data={"name": "generated"}, conditions=conditions(seed=0)
    )
    report.write(output / "metrics.json")
    bars(panels, "", output / "pit_join.png", digits=1)


if __name__ == "__main__":
    main()
