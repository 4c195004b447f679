"""Run the marketplace day by day and write it: memory holds one day, whatever the size.

Every day has a random generator of its own, seeded by (seed, day); what goes from day to day is how
far users came in their series, and reviews that are due later. The tables are written into a folder
beside the goal, which is renamed when it is complete: a killed run leaves nothing that looks like a
warehouse.
"""

from __future__ import annotations

import json
import logging
import resource
import shutil
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pipelines.simulator.commerce import EXPERIMENT, Rates, label, trade
from pipelines.simulator.incident_log import IncidentLog
from pipelines.simulator.population import (
    FAVOURITES,
    Ints,
    Population,
    item_ids,
    items_table,
    populate,
    user_ids,
    users_table,
)
from pipelines.simulator.sessions import browse
from pipelines.simulator.telemetry import measure

log = logging.getLogger(__name__)

Progress = Callable[[int, int], object]  # days done, days in all


class WarehouseExistsError(FileExistsError):
    """There is a warehouse already; two simulations are never mixed."""

    exit_code = 73  # EX_CANTCREAT


class SettingsError(ValueError):
    """A simulation that cannot be run."""

    exit_code = 78  # EX_CONFIG


@dataclass
class Simulation:
    """A marketplace of a given size.

    Args:
        warehouse, truth: folders to write; truth is for tests and judges, never for models.
        seed: the same seed and sizes give the same rows.
        last_day: the day after the last simulated one (ISO date): runs never depend on the clock.
        sessions_per_day: of an average user.
        noise: share of views that leave the session's walk.
        log: how operators keep their log of incidents.
    """

    warehouse: Path
    truth: Path
    seed: int
    users: int
    items: int
    categories: int
    ring_size: int
    days: int
    last_day: str
    sessions_per_day: float
    noise: float
    sources: int
    telemetry_interval_s: int
    incident_rate: float
    rates: Rates
    log: IncidentLog
    overwrite: bool = False

    def __post_init__(self) -> None:
        self.warehouse, self.truth = Path(self.warehouse), Path(self.truth)
        for name in ("users", "items", "categories", "ring_size", "days", "sources"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.seed < 0:
            raise SettingsError(f"seed is {self.seed}; it must be a whole number from 0")
        if not 0 <= self.noise < 1:
            raise SettingsError(f"noise is {self.noise}; it must lie in 0 ≤ noise < 1")

    def run(self, progress: Progress) -> dict[str, Any]:
        """Write all tables; returns rows by table, seconds, rows a second and peak memory.

        Raises:
            WarehouseExistsError: something is there and `overwrite` is false.
            SettingsError: the sizes do not fit one another.
        """
        started = time.perf_counter()
        for folder in (self.warehouse, self.truth):
            if folder.exists() and any(folder.iterdir()) and not self.overwrite:
                raise WarehouseExistsError(
                    f"{folder} exists; overwrite=true replaces it, paths.data=… writes elsewhere"
                )
        staging = self.warehouse.parent / f".simulation-{self.seed}"
        shutil.rmtree(staging, ignore_errors=True)
        rows = self._write(staging, progress)
        for folder, goal in (
            (staging / "truth", self.truth),
            (staging / "warehouse", self.warehouse),
        ):
            shutil.rmtree(goal, ignore_errors=True)
            goal.parent.mkdir(parents=True, exist_ok=True)
            folder.replace(goal)
        staging.rmdir()
        seconds = time.perf_counter() - started
        total = sum(rows.values())
        return {
            "rows": rows,
            "seconds": round(seconds, 2),
            "rows_per_s": round(total / seconds),
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }

    def _write(self, staging: Path, progress: Progress) -> dict[str, int]:
        first = date.fromisoformat(self.last_day) - timedelta(days=self.days)
        start = datetime(first.year, first.month, first.day, tzinfo=UTC)
        rng = np.random.default_rng([self.seed, 0])
        try:
            people = populate(
                rng,
                self.users,
                self.items,
                self.categories,
                self.ring_size,
                self.sessions_per_day,
                self.days,
            )
        except ValueError as error:
            raise SettingsError(str(error)) from error
        writer = _Writer(staging)
        writer.dimension("users", users_table(people, start, rng))
        writer.dimension("items", items_table(people, start, rng))
        waiting: dict[int, list[pl.DataFrame]] = defaultdict(
            list
        )  # reviews by the day they are due
        walked = np.zeros((people.n_users, FAVOURITES), dtype=np.int64)
        logged: list[pl.DataFrame] = []
        for day in range(self.days):
            self._day(people, walked, day, start + timedelta(days=day), writer, waiting, logged)
            progress(day + 1, self.days)
        self._write_log(pl.concat(logged), writer)
        self._write_truth(people, writer)
        manifest = {"seed": self.seed, "days": self.days, "rows": writer.rows}
        (staging / "warehouse" / "_manifest.json").write_text(json.dumps(manifest) + "\n")
        return dict(writer.rows)

    def _day(
        self,
        people: Population,
        walked: Ints,
        day: int,
        midnight: datetime,
        writer: _Writer,
        waiting: dict[int, list[pl.DataFrame]],
        logged: list[pl.DataFrame],
    ) -> None:
        rng = np.random.default_rng([self.seed, 1, day])
        micro = round(midnight.timestamp()) * 1_000_000
        views = browse(people, walked, day, rng, self.noise)
        telemetry, incidents = measure(
            self.sources, self.telemetry_interval_s, day, micro, self.incident_rate, rng
        )
        writer.fact("telemetry", midnight, telemetry)
        writer.truth("incidents", day, incidents)
        # A generator of its own: the other tables do not depend on how the log is kept.
        logged.append(self.log.write(incidents, day, np.random.default_rng([self.seed, 2, day])))
        due = waiting.pop(day, [])
        events = [_reviewed(pl.concat(due), micro)] if due else []
        if due:
            writer.fact("reviews", midnight, _reviews(pl.concat(due), micro))
        if len(views.user):
            traded = trade(people, views, day, micro, self.rates, rng)
            events.append(traded.events)
            writer.fact("orders", midnight, _orders(traded.orders))
            writer.truth("sentiments", day, traded.sentiments)
            for (when,), part in traded.reviews.group_by("due", maintain_order=True):
                waiting[int(str(when))].append(part)
        if events:
            table = label(pl.concat(events, how="diagonal_relaxed"), people, day)
            writer.fact("events", midnight, table)

    def _write_log(self, entries: pl.DataFrame, writer: _Writer) -> None:
        """By the day of the entry; those that nobody has written by the end are not there."""
        end = datetime.fromisoformat(self.last_day).replace(tzinfo=UTC)
        entered = entries.filter(pl.col("timestamp") < end).sort("timestamp", "incident_id")
        for (day,), part in entered.group_by(pl.col("timestamp").dt.date(), maintain_order=True):
            assert isinstance(day, date), "grouped by date"
            writer.fact("incidents", datetime(day.year, day.month, day.day, tzinfo=UTC), part)

    def _write_truth(self, people: Population, writer: _Writer) -> None:
        writer.truth(
            "users",
            None,
            pl.DataFrame(
                {
                    "user_id": user_ids(np.arange(people.n_users)),
                    "favourites": people.favourites,
                    "weights": people.weights,
                    "treated": people.treated,
                }
            ),
        )
        ring = np.empty(people.n_items, dtype=np.int64)
        ring[people.rings] = np.arange(len(people.rings))[:, None]
        writer.truth(
            "items",
            None,
            pl.DataFrame(
                {
                    "item_id": item_ids(np.arange(people.n_items)),
                    "category": people.category,
                    "ring": ring,
                    "position": people.position,
                    "quality": people.quality,
                }
            ),
        )
        effect = {"experiment": EXPERIMENT, "order_lift": self.rates.treatment_lift}
        (writer.folder / "truth" / "effects.json").write_text(json.dumps(effect) + "\n")


class _Writer:
    """Parquet files below one staging folder, and how many rows went where."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: dict[str, int] = defaultdict(int)

    def dimension(self, table: str, frame: pl.DataFrame) -> None:
        self._put(self.folder / "warehouse" / table / "part-0.parquet", frame)
        self.rows[table] += len(frame)

    def fact(self, table: str, midnight: datetime, frame: pl.DataFrame) -> None:
        folder = self.folder / "warehouse" / table / f"date={midnight:%Y-%m-%d}"
        self._put(folder / "part-0.parquet", frame)
        self.rows[table] += len(frame)

    def truth(self, table: str, day: int | None, frame: pl.DataFrame) -> None:
        name = "part-0" if day is None else f"part-{day:05d}"
        self._put(self.folder / "truth" / table / f"{name}.parquet", frame)

    def _put(self, path: Path, frame: pl.DataFrame) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        frame.write_parquet(path)


def _orders(orders: pl.DataFrame) -> pl.DataFrame:
    return orders.select(
        "order_id",
        user_ids(orders["user"].to_numpy()).alias("user_id"),
        item_ids(orders["item"].to_numpy()).alias("item_id"),
        pl.col("quantity").cast(pl.Int64),
        "price",
        pl.col("time").cast(pl.Datetime("us", "UTC")).alias("timestamp"),
    )


def _reviews(due: pl.DataFrame, midnight_us: int) -> pl.DataFrame:
    return due.sort("second", "review_id").select(
        "review_id",
        pl.col("user").map_batches(lambda s: user_ids(s.to_numpy()), pl.String).alias("user_id"),
        pl.col("item").map_batches(lambda s: item_ids(s.to_numpy()), pl.String).alias("item_id"),
        "stars",
        "title",
        "text",
        (pl.col("second") * 1_000_000 + midnight_us)
        .cast(pl.Datetime("us", "UTC"))
        .alias("timestamp"),
    )


def _reviewed(due: pl.DataFrame, midnight_us: int) -> pl.DataFrame:
    """The `Product Reviewed` events of the reviews due today."""
    return due.select(
        (pl.col("second") * 1_000_000 + midnight_us).alias("time"),
        "user",
        pl.lit(None, pl.Int64).alias("session"),
        "item",
        pl.lit(None, pl.Float64).alias("price"),
        pl.lit(None, pl.Int64).alias("quantity"),
        pl.lit("Product Reviewed").alias("event"),
    )
