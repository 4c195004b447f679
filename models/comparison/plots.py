"""The page's pictures, as SVG in data URIs."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox

from models.comparison.runs import FinishedRun

FLOOR = "#8a9ba8"
# Of a name beside its point, in the order of trial: whether it ends there, and the offset.
_PLACES = [
    (right, -5 if right else 5, up) for up in (4, -10, 14, -20, 24, -30) for right in (False, True)
]
# Text stays text, so that a picture is a few kilobytes; ids do not change from run to run.
_STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "millrace", "font.size": 9}


def colours(runs: Sequence[FinishedRun]) -> dict[str, Any]:
    """A run has one colour in all pictures."""
    wheel = plt.get_cmap("tab10")
    return {run.name: wheel(i % 10) for i, run in enumerate(runs)}


def metric_bars(runs: Sequence[FinishedRun], metric: str, paint: dict[str, Any]) -> str | None:
    """One metric of every run, the best floor of each kind behind them in grey."""
    rows = [(r.name, r.model[metric], paint[r.name]) for r in runs if metric in r.model]
    if not rows:
        return None
    floors: dict[str, float] = {}
    for run in runs:
        for name, values in {**run.floors, **run.peers}.items():
            if metric in values:
                floors[name] = values[metric]
    rows = [*((n, v, FLOOR) for n, v in floors.items()), *rows][::-1]
    canvas, axis = _canvas(5.2, 0.7 + 0.3 * len(rows))
    drawn = axis.barh(
        range(len(rows)), [v for _, v, _ in rows], color=[c for _, _, c in rows], height=0.7
    )
    axis.set_yticks(range(len(rows)), [_short(n) for n, _, _ in rows])
    axis.bar_label(drawn, fmt="{:,.4g}", padding=3, fontsize=8)
    axis.margins(x=0.2)
    axis.locator_params(axis="x", nbins=5)
    return _uri(canvas)


def curve(runs: Sequence[FinishedRun], metric: str, paint: dict[str, Any]) -> str | None:
    """One metric of every run over its epochs."""
    drawn = [run for run in runs if metric in run.curves]
    if not drawn:
        return None
    canvas, axis = _canvas(5.2, 3.0)
    for run in drawn:
        axis.plot(
            *zip(*run.curves[metric], strict=True), marker=".", color=paint[run.name],
            label=_short(run.name),
        )  # fmt: skip
    axis.set(xlabel="epoch")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axis.legend(frameon=False, fontsize=8)
    axis.grid(alpha=0.3)
    return _uri(canvas)


def trade_off(
    runs: Sequence[FinishedRun], across: str, up: str, paint: dict[str, Any]
) -> str | None:
    """Two metrics against one another, so that what a gain in one costs in the other shows."""
    drawn = [run for run in runs if across in run.model and up in run.model]
    if not drawn:
        return None
    canvas, axis = _canvas(5.2, 3.2)
    floors: dict[str, tuple[float, float]] = {}
    for run in drawn:
        for name, values in run.floors.items():
            if across in values and up in values:
                floors[name] = (values[across], values[up])
    points = [(n, x, y, FLOOR) for n, (x, y) in floors.items()]
    points += [(r.name, r.model[across], r.model[up], paint[r.name]) for r in drawn]
    for _, x, y, colour in points:
        axis.scatter([x], [y], color=colour, s=36, zorder=3)
    axis.set(xlabel=across, ylabel=up)
    axis.margins(0.2)
    axis.grid(alpha=0.3)
    label_apart(canvas, axis, [(_short(name), x, y) for name, x, y, _ in points])
    return _uri(canvas)


def label_apart(canvas: Figure, axis: Axes, points: Sequence[tuple[str, float, float]]) -> None:
    """Write names beside points, each at the first of some places where it covers no other."""
    canvas.draw_without_rendering()  # until then, nothing knows where it will stand
    taken: list[Bbox] = []
    for name, x, y in points:
        for right, across, up in _PLACES:
            note = axis.annotate(
                name, (x, y), xytext=(across, up), textcoords="offset points", fontsize=8,
                ha="right" if right else "left",
            )  # fmt: skip
            box = note.get_window_extent()
            if not any(box.overlaps(other) for other in taken):
                break
            note.remove()
        else:  # a crowd: the first place again
            note = axis.annotate(
                name, (x, y), xytext=_PLACES[0][1:], textcoords="offset points", fontsize=8
            )
            box = note.get_window_extent()
        taken.append(box)


def _short(name: str, longest: int = 26) -> str:
    return name if len(name) <= longest else "…" + name[1 - longest :]


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    with plt.rc_context(_STYLE):
        canvas, axis = plt.subplots(figsize=(width, height), layout="constrained")
    axis.spines[["top", "right"]].set_visible(False)
    return canvas, axis


def _uri(canvas: Figure) -> str:
    target = BytesIO()
    with plt.rc_context(_STYLE):
        canvas.savefig(target, format="svg", metadata={"Date": None})
    plt.close(canvas)
    return "data:image/svg+xml;base64," + base64.b64encode(target.getvalue()).decode()
