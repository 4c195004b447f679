"""The report's pictures, as SVG in data URIs."""

from __future__ import annotations

import base64
from datetime import datetime
from io import BytesIO
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.dates as dates
import matplotlib.pyplot as plt
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipelines.anomalies.report.findings import Findings
from pipelines.anomalies.store import CONFIRMED, DISMISSED, SEVERITIES

INK, LINE, THRESHOLD, TRUTH = "#4a5a67", "#dde3e8", "#b3261e", "#cfe5d6"
COLOURS = dict(zip(SEVERITIES, ("#6aa3d5", "#e0a100", "#e0662b", "#a3123a"), strict=True))
# Text stays text, so that a picture is a few kilobytes; ids do not change from run to run.
_STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "millrace", "font.size": 8.5}


def timeline(findings: Findings, source: str, points: int) -> str:
    """One source's score and threshold over time, its anomalies and planted incidents marked.

    Args:
        points: of the score's line at most; each is the highest of its stretch, so none is hidden.
    """
    canvas, axis = _canvas(10.4, 2.3)
    scores = findings.scores.filter(pl.col("source") == source)
    for start, end in _windows(findings, source):
        axis.axvspan(start, end, color=TRUTH, lw=0, zorder=0)  # type: ignore[arg-type]
    if len(scores):
        thinned = _thinned(scores, points)
        time = thinned["timestamp"].to_numpy()
        axis.plot(time, thinned["score"], color=INK, lw=0.8, zorder=2)
        axis.plot(time, thinned["threshold"], color=THRESHOLD, lw=1.1, ls="--", zorder=3)
    found = findings.found.filter(pl.col("source") == source)
    for severity, colour in COLOURS.items():
        part = found.filter(pl.col("severity") == severity)
        axis.scatter(
            part["timestamp"].to_numpy(), part["score"].to_numpy(), s=16, color=colour, zorder=4,
            edgecolors="white", linewidths=0.4,
        )  # fmt: skip
    for verdict, mark in ((CONFIRMED, "$\\checkmark$"), (DISMISSED, "x")):
        part = found.filter(pl.col("verdict") == verdict)
        # Along the top, where they do not cover what was judged.
        axis.scatter(
            part["timestamp"].to_numpy(), np.full(len(part), 0.96), s=26, marker=mark,
            color="#22303a", linewidths=0.8, zorder=5, transform=axis.get_xaxis_transform(),
        )  # fmt: skip
    axis.set_xlim(findings.since, findings.until)  # type: ignore[arg-type]
    axis.set_ylim(0, 1.12 * axis.get_ylim()[1])
    axis.set_ylabel("score")
    _dated(axis)
    return _uri(canvas)


def contributions(findings: Findings, most: int = 12) -> str:
    """Which fields made up the anomalies' scores, by severity."""
    parts = (
        findings.found.select("severity", "fields")
        .explode("fields", empty_as_null=False, keep_nulls=False)
        .unnest("fields")
    )
    total = parts.group_by("name", "severity").agg(pl.col("contribution").sum())
    whole = float(total["contribution"].sum()) or 1.0
    ranked = total.group_by("name").agg(pl.col("contribution").sum()).sort("contribution")
    names = ranked["name"].to_list()[-most:]
    canvas, axis = _canvas(5.1, 0.9 + 0.27 * max(len(names), 3))
    left = np.zeros(len(names))
    present = set(findings.found["severity"])
    for severity, colour in COLOURS.items():
        if severity not in present:
            continue
        by_name = dict(
            total.filter(pl.col("severity") == severity).select("name", "contribution").iter_rows()
        )
        width = np.array([100 * by_name.get(n, 0.0) / whole for n in names])
        axis.barh(names, width, left=left, color=colour, height=0.7, label=severity)
        left += width
    axis.set_xlabel("% of all anomalies' scores")
    axis.legend(frameon=False, fontsize=7.5, loc="lower right")
    return _uri(canvas)


def rates(findings: Findings, most: int = 20) -> str:
    """The share of events that were anomalous, by source and hour of the day (UTC)."""
    hourly = findings.scores.group_by("source", pl.col("timestamp").dt.hour().alias("hour")).agg(
        (100 * pl.col("anomalous").mean()).alias("rate")
    )
    names = findings.eventful[:most]
    grid = np.full((len(names), 24), np.nan)
    row = {name: i for i, name in enumerate(names)}
    for source, hour, rate in hourly.iter_rows():
        if source in row:
            grid[row[source], hour] = rate
    canvas, axis = _canvas(5.1, 1.2 + 0.2 * max(len(names), 4))
    # Few hours are far worse than the rest: a square root keeps the rest visible.
    top = max(float(np.nanmax(grid, initial=0.0)), 0.1)
    norm = matplotlib.colors.PowerNorm(0.5, 0, top)
    image = axis.imshow(grid, aspect="auto", cmap="OrRd", norm=norm, interpolation="none")
    axis.set_yticks(range(len(names)), names)
    axis.set_xticks(range(0, 24, 3))
    axis.set_xlabel("hour of the day, UTC")
    canvas.colorbar(image, ax=axis, label="% anomalous", pad=0.02)
    return _uri(canvas)


def delays(findings: Findings) -> str:
    """From an event's own time until it was in the store, on a logarithmic scale."""
    seconds = delay_seconds(findings)
    canvas, axis = _canvas(5.1, 2.6)
    low, high = max(float(seconds.min()), 1e-3), max(float(seconds.max()), 1e-2)
    axis.hist(
        np.maximum(seconds, low), np.geomspace(low * 0.8, high * 1.25, 40).tolist(), color=INK
    )
    axis.set_xscale("log")
    axis.axvline(float(np.percentile(seconds, 99)), color=THRESHOLD, lw=1.1, ls="--")
    axis.set(xlabel="seconds; dashed: p99", ylabel="anomalies")
    return _uri(canvas)


def delay_seconds(findings: Findings) -> np.ndarray:
    """[N], of everything in the store."""
    micro = (findings.anomalies["detected_at"] - findings.anomalies["timestamp"]).dt
    return micro.total_microseconds().to_numpy() / 1e6


def _windows(findings: Findings, source: str) -> list[tuple[datetime, datetime]]:
    if findings.truth is None:
        return []
    mine = findings.truth.filter(pl.col("source") == source)
    return list(mine.select("start", "end").iter_rows())


def _thinned(scores: pl.DataFrame, points: int) -> pl.DataFrame:
    """The highest score of each of `points` stretches of rows, where there are more rows."""
    stretch = -(-len(scores) // points)
    if stretch == 1:
        return scores
    return (
        scores.with_row_index("row")
        .group_by(pl.col("row") // stretch, maintain_order=True)
        .agg(
            pl.col("timestamp").get(pl.col("score").fill_null(-1).arg_max()),
            pl.col("score").max(),
            pl.col("threshold").mean(),
        )
    )


def _dated(axis: Axes) -> None:
    locator = dates.AutoDateLocator(minticks=4, maxticks=9)  # type: ignore[no-untyped-call]
    axis.xaxis.set_major_locator(locator)
    day = "%d %b"
    formatter = dates.ConciseDateFormatter(  # type: ignore[no-untyped-call]
        locator,
        formats=["%Y", "%b", day, "%H:%M", "%H:%M", "%S.%f"],
        zero_formats=["", "%Y", day, day, "%H:%M", "%H:%M"],
        show_offset=False,
    )
    axis.xaxis.set_major_formatter(formatter)


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    with plt.rc_context(_STYLE):
        canvas, axis = plt.subplots(figsize=(width, height))
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(length=2.5)
    return canvas, axis


def _uri(canvas: Figure) -> str:
    target = BytesIO()
    with plt.rc_context(_STYLE):
        canvas.tight_layout(pad=0.8)
        canvas.savefig(target, format="svg", metadata={"Date": None})
    plt.close(canvas)
    return "data:image/svg+xml;base64," + base64.b64encode(target.getvalue()).decode()
