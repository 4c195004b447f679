"""A picture of what was simulated: activity, popularity, conversion, telemetry with incidents."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import polars as pl
from matplotlib.axes import Axes


def draw(warehouse: Path, truth: Path, path: Path) -> None:
    """Four panels into one PNG, from the tables as they were written."""
    events = pl.scan_parquet(warehouse / "events" / "**" / "*.parquet")
    figure, axes = plt.subplots(2, 2, figsize=(12, 7), layout="constrained")
    daily = (
        events.group_by(pl.col("timestamp").dt.date().alias("day"), "event")
        .len()
        .sort("day")
        .collect()
    )
    for (name,), part in daily.group_by("event", maintain_order=True):
        axes[0, 0].plot(part["day"], part["len"], label=str(name))
    axes[0, 0].set(title="Events a day", yscale="log", ylabel="events")
    axes[0, 0].legend(fontsize=7, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.08))
    axes[0, 0].tick_params(axis="x", rotation=30)
    views = events.filter(pl.col("event") == "Product Viewed").group_by("item_id").len().collect()
    axes[0, 1].plot(range(1, len(views) + 1), sorted(views["len"], reverse=True))
    axes[0, 1].set(title="Views by item rank", xscale="log", yscale="log")
    axes[0, 1].set(xlabel="rank of the item by views", ylabel="views")
    stars = pl.scan_parquet(warehouse / "reviews" / "**" / "*.parquet").group_by("stars").len()
    counted = stars.sort("stars").collect()
    axes[1, 0].bar(counted["stars"], counted["len"])
    axes[1, 0].set(title="Reviews by stars", xlabel="stars", ylabel="reviews")
    _telemetry(axes[1, 1], warehouse, truth)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _telemetry(axis: Axes, warehouse: Path, truth: Path) -> None:
    incidents = pl.read_parquet(truth / "incidents" / "*.parquet")
    if incidents.is_empty():
        axis.set(title="Telemetry: no incident was planted")
        return
    first = incidents.row(0, named=True)
    rows = (
        pl.scan_parquet(warehouse / "telemetry" / "**" / "*.parquet")
        .filter(
            pl.col("source") == first["source"],
            pl.col("timestamp").dt.date() == first["start"].date(),
        )
        .sort("timestamp")
        .collect()
    )
    for name in ("cpu", "memory", "latency_ms", "errors"):
        axis.plot(rows["timestamp"], rows[name], label=name, linewidth=1)
    axis.axvspan(first["start"], first["end"], color="red", alpha=0.2, label=first["kind"])
    axis.set(title=f"Telemetry of {first['source']} with an incident")
    axis.set(ylabel="%, ms, count")
    axis.legend(fontsize=7)
    axis.tick_params(axis="x", rotation=30)
