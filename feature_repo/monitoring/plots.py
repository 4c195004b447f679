"""Small pictures of distributions: the baseline beside what is there now."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from feature_repo.monitoring.profile import Profile
from feature_repo.monitoring.report import FeatureState

BASELINE, CURRENT = "#9aa9b5", "#c2571a"
# Text stays text, so that a picture is a few kilobytes; ids do not change from run to run.
_STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "millrace", "font.size": 8}


class Distributions:
    """Draws one feature at a time, in a figure that is used again."""

    def __init__(self) -> None:
        with plt.rc_context(_STYLE):
            self._figure, self._axis = plt.subplots(figsize=(3.4, 1.9))

    def __enter__(self) -> Distributions:
        return self

    def __exit__(self, *_: object) -> None:
        plt.close(self._figure)

    def draw(self, feature: FeatureState) -> str | None:
        """An SVG as a data URI; None if there are no rows now."""
        if feature.current is None:
            return None
        axis = self._axis
        axis.clear()
        labels = feature.current.bins.labels
        shown = _shown(feature.baseline, feature.current)
        places = np.arange(len(shown))
        pairs = [(feature.baseline, BASELINE, -0.2), (feature.current, CURRENT, 0.2)]
        with plt.rc_context(_STYLE):
            for profile, colour, shift in pairs:
                if profile is not None and profile.rows:
                    shares = np.array(profile.counts)[shown] / profile.rows
                    axis.bar(places + shift, 100 * shares, 0.4, color=colour)
            every = -(-len(shown) // 6)  # more names than six would run into one another
            axis.set_xticks(places[::every], [labels[i] for i in shown[::every]], fontsize=7)
            for text in axis.get_xticklabels():
                text.set(rotation=25, ha="right", rotation_mode="anchor")
            axis.set_ylabel("% of rows", fontsize=7)
            axis.tick_params(length=2)
            axis.spines[["top", "right"]].set_visible(False)
            axis.margins(x=0.02)
            self._figure.subplots_adjust(0.13, 0.27, 0.99, 0.96)
            target = BytesIO()
            self._figure.savefig(target, format="svg", metadata={"Date": None})
        return "data:image/svg+xml;base64," + base64.b64encode(target.getvalue()).decode()


def _shown(*profiles: Profile | None) -> list[int]:
    """Bins that have rows on either side; the inner ones always."""
    counts = np.sum([p.counts for p in profiles if p is not None], axis=0)
    last = len(counts) - 1
    return [i for i, n in enumerate(counts) if n or 0 < i < last] or [0]
