"""Bars side by side, into one PNG."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def bars(
    panels: Mapping[str, Mapping[str, float]],
    unit: str,
    path: Path,
    ours: str = "millrace",
    digits: int = 0,
) -> None:
    """One panel for each entry; rows whose name starts with `ours` stand out.

    Args:
        digits: of each bar's label, behind the point.
    """
    rows = max(len(p) for p in panels.values())
    longest = max(len(name) for p in panels.values() for name in p)
    width = 4 + 0.08 * longest  # inches: room for bars and titles beside the names
    figure, axes = plt.subplots(
        1, len(panels), figsize=(width * len(panels), 1.2 + 0.42 * rows), layout="constrained"
    )
    for axis, (title, values) in zip(
        axes if len(panels) > 1 else [axes], panels.items(), strict=True
    ):
        names = list(values)[::-1]
        colours = ["#c2571a" if n.startswith(ours) else "#8a9ba8" for n in names]
        drawn = axis.barh(names, [values[n] for n in names], color=colours)
        axis.bar_label(drawn, fmt=f"{{:,.{digits}f}}", padding=3, fontsize=8)
        axis.set(title=title, xlabel=unit)
        axis.margins(x=0.18)
        axis.locator_params(axis="x", nbins=5)  # long numbers must not touch
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)
