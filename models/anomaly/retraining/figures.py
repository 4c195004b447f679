"""Pictures of a comparison: who ranks better, where scores lie, and how many alarms there were."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from io import BytesIO
from typing import Any, Protocol

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve

from models.promotion.comparison import Figure

Scores = NDArray[np.float64]
CHAMPION, CHALLENGER, RIGHT = "#7d8c99", "#c2571a", "#23733f"
# Text stays text, so that a picture is a few kilobytes; ids do not change from run to run.
_STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "millrace", "font.size": 9}


class Side(Protocol):
    @property
    def threshold(self) -> float: ...
    @property
    def cut(self) -> float: ...
    @property
    def holdout(self) -> Scores: ...
    @property
    def planted(self) -> Scores: ...
    @property
    def judged(self) -> Scores: ...


def ranks(old: Side, new: Side, confirmed: NDArray[np.bool_], enough: bool) -> list[Figure]:
    """Precision over recall, on verdicts where there are enough, and on planted anomalies."""
    truth = np.repeat([False, True], [len(old.holdout), len(old.planted)])
    both = [np.concatenate([side.holdout, side.planted]) for side in (old, new)]
    found = [
        _curves("Planted anomalies against the holdout", truth, *both),
    ]
    if enough:
        found.insert(0, _curves("Confirmed against dismissed", confirmed, old.judged, new.judged))
    return found


def _curves(title: str, truth: NDArray[np.bool_], old: Scores, new: Scores) -> Figure:
    canvas, axis = _canvas()
    for scores, colour, name in ((old, CHAMPION, "champion"), (new, CHALLENGER, "challenger")):
        precision, recall, _ = precision_recall_curve(truth, scores)
        axis.step(recall, precision, where="post", color=colour, label=name)
    axis.axhline(truth.mean(), color="#c9d1d8", lw=1, ls=":")
    axis.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.04))
    axis.legend(frameon=False, loc="lower left")
    return Figure(title, _uri(canvas), "Precision over recall; dotted: what guessing reaches.")


def distributions(old: Side, new: Side) -> Figure:
    """Scores of holdout rows and planted anomalies, above and below: champion and challenger."""
    highest = max(float(np.max(s, initial=1.0)) for x in (old, new) for s in (x.holdout, x.planted))
    bins = np.linspace(0, min(highest, 12.0), 49)
    with plt.rc_context(_STYLE):
        canvas, axes = plt.subplots(2, 1, figsize=(5.2, 3.4), sharex=True)
    for axis, side, name, colour in zip(
        axes, (old, new), ("champion", "challenger"), (CHAMPION, CHALLENGER), strict=True
    ):
        for scores, style in (
            (side.holdout, {"alpha": 0.85}),
            (side.planted, {"histtype": "step"}),
        ):
            share = np.full(len(scores), 1 / max(len(scores), 1))
            axis.hist(
                np.minimum(scores, bins[-1]), bins, weights=share, color=colour,
                label="planted" if "histtype" in style else "holdout", **style,
            )  # fmt: skip
        axis.axvline(side.threshold, color="#22303a", lw=1, ls="--")
        axis.set_yscale("log")
        axis.set_ylabel(f"{name}\nshare")
        axis.legend(frameon=False, fontsize=8)
        _plain(axis)
    axes[-1].set_xlabel("score; dashed: the static threshold")
    return Figure("Where scores lie", _uri(canvas), "Outlined: planted anomalies.")


def kinds(old: Side, new: Side, names: Sequence[str]) -> Figure:
    """The share of planted anomalies caught, by kind."""
    canvas, axis = _canvas()
    shown = list(dict.fromkeys(names))
    at = np.arange(len(shown))
    kind = np.asarray(names)
    for side, colour, shift, name in (
        (old, CHAMPION, -0.2, "champion"),
        (new, CHALLENGER, 0.2, "challenger"),
    ):
        caught = [float((side.planted[kind == k] > side.cut).mean()) for k in shown]
        bars = axis.bar(at + shift, caught, 0.38, color=colour, label=name)
        axis.bar_label(bars, [f"{c:.0%}" for c in caught], fontsize=8, padding=2)
    axis.set_xticks(at, shown)
    axis.set(ylabel="caught", ylim=(0, 1.25))
    axis.legend(frameon=False, ncols=2, loc="upper left")
    return Figure(
        "Planted anomalies caught", _uri(canvas), "Where both alarm equally often on the holdout."
    )


def alarms(old: Side, new: Side, time: NDArray[np.int64], parts: int = 24) -> Figure:
    """The share of the holdout that alarms, over its time."""
    canvas, axis = _canvas()
    edges = np.linspace(time.min(), time.max() + 1, parts + 1)
    place = np.digitize(time, edges) - 1
    count = np.bincount(place, minlength=parts)
    middle = ((edges[1:] + edges[:-1]) / 2).astype("datetime64[s]")
    for side, colour, name in ((old, CHAMPION, "champion"), (new, CHALLENGER, "challenger")):
        hits = np.bincount(place, weights=side.holdout > side.threshold, minlength=parts)
        share = np.divide(100 * hits, count, out=np.full(parts, np.nan), where=count > 0)
        axis.plot(middle, share, color=colour, marker=".", label=name)
    axis.set_ylabel("% of rows that alarm")
    axis.set_ylim(bottom=0)
    axis.legend(frameon=False)
    for text in axis.get_xticklabels():
        text.set(rotation=25, ha="right", rotation_mode="anchor")
    return Figure(
        "Alarms on the holdout",
        _uri(canvas),
        "At each model's static threshold; nobody confirmed these rows.",
    )


def _canvas() -> tuple[Canvas, Axes]:
    with plt.rc_context(_STYLE):
        canvas, axis = plt.subplots(figsize=(5.2, 3.4))
    _plain(axis)
    return canvas, axis


def _plain(axis: Axes) -> None:
    axis.spines[["top", "right"]].set_visible(False)


def _uri(canvas: Canvas) -> str:
    target = BytesIO()
    with plt.rc_context(_STYLE):
        canvas.tight_layout()
        canvas.savefig(target, format="svg", metadata={"Date": None})
    plt.close(canvas)
    return "data:image/svg+xml;base64," + base64.b64encode(target.getvalue()).decode()
