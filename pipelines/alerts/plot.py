"""The small picture of an alert: score and threshold of the last hour, what is above marked."""

from __future__ import annotations

from datetime import datetime
from io import BytesIO
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipelines.alerts.history import ScoreSeries

SCORE, LIMIT, ABOVE = "#5b6b78", "#9a6700", "#c0392b"
_MOST = 2_000  # points drawn; a busy source has far more, and a picture has 960 columns


def draw(series: ScoreSeries, source: str, zone: ZoneInfo) -> bytes:
    """A PNG, 960 × 360; no pyplot, so that several may be drawn at once.

    A score that is missing, because scoring failed, is a mark on the floor.
    """
    figure = Figure(figsize=(6.4, 2.4), dpi=150)
    FigureCanvasAgg(figure)
    axis = figure.add_subplot()
    keep = thinned(series)
    time = [datetime.fromtimestamp(t / 1e6, zone) for t in series.time[keep]]
    score, limit = series.score[keep], series.threshold[keep]
    axis.plot(time, score, color=SCORE, linewidth=0.9, label="score")  # type: ignore[arg-type]
    axis.step(time, limit, color=LIMIT, linewidth=1.2, where="post", label="threshold")  # type: ignore[arg-type]
    with np.errstate(invalid="ignore"):
        above = np.flatnonzero(score > limit)
    dates = np.array(time, dtype=object)
    axis.plot(dates[above], score[above], ".", color=ABOVE, markersize=5, label="anomalous")
    failed = np.flatnonzero(np.isnan(score))
    if len(failed):
        floor = np.zeros(len(failed))
        axis.plot(
            dates[failed], floor, "x", color=ABOVE, markersize=4, label="not scored", clip_on=False
        )
    locator = AutoDateLocator(tz=zone, maxticks=7)  # type: ignore[no-untyped-call]
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=zone))  # type: ignore[no-untyped-call]
    axis.set_ylim(bottom=0)
    axis.set_title(source, fontsize=9, loc="left", parse_math=False)
    axis.tick_params(labelsize=8, length=2)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize=7, frameon=False, ncols=4, loc="lower right", bbox_to_anchor=(1, 1))
    figure.tight_layout(pad=0.6)
    target = BytesIO()
    figure.savefig(target, format="png")
    return target.getvalue()


def thinned(series: ScoreSeries) -> NDArray[np.int64]:
    """Which points to draw: of each stretch the highest score, so that no peak is lost."""
    count = len(series.time)
    if count <= _MOST:
        return np.arange(count)
    score = np.nan_to_num(series.score, nan=np.inf)  # what could not be scored is shown
    edges = np.linspace(0, count, _MOST + 1).astype(np.int64)
    return np.array([a + int(np.argmax(score[a:b])) for a, b in pairwise(edges)])
