"""The lineage as a picture: layers from left to right, one box a node."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.patches import FancyBboxPatch

from feature_repo.registry.lineage import layers

COLUMN, ROW = 3.6, 0.78  # inches from box to box
WIDTH, HEIGHT = 2.7, 0.52  # inches of a box
COLOURS = {
    "table": "#dbe4ee",
    "transformation": "#fdf0c8",
    "view": "#d5ecd4",
    "request-time view": "#bfe3d6",
    "service": "#e6dbf2",
    "model": "#f9d8cf",
}
SWEEPS = 8  # passes over the layers to bring neighbours side by side


def draw(graph: Any, path: Path) -> None:
    """Write a PNG of a graph from `lineage`."""
    columns = layers(graph)
    orders = _ordered(graph, [nodes for _, nodes in columns])
    height = max((len(nodes) for nodes in orders), default=1)
    places = {
        node: (x * COLUMN, (height - len(nodes)) * ROW / 2 + y * ROW)
        for x, nodes in enumerate(orders)
        for y, node in enumerate(nodes)
    }
    size = (len(columns) * COLUMN + 0.4, (height + 1) * ROW + 0.4)
    figure, axes = plt.subplots(figsize=size)
    for x, (layer, _) in enumerate(columns):
        axes.text(x * COLUMN, -ROW, f"{layer}s", ha="center", va="center", weight="bold", size=11)
    for start, end, data in graph.edges(data=True):
        _edge(axes, places[start], places[end], bool(data.get("broken")))
    for node, place in places.items():
        _box(axes, place, graph.nodes[node])
    axes.set_xlim(-COLUMN / 2, (len(columns) - 0.5) * COLUMN)
    axes.set_ylim(height * ROW, -1.5 * ROW)
    axes.axis("off")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)


def _ordered(graph: Any, orders: list[list[str]]) -> list[list[str]]:
    """Each layer sorted by the mean place of its neighbours (the barycentre heuristic)."""
    place = {n: y / max(len(o) - 1, 1) for o in orders for y, n in enumerate(o)}
    undirected = graph.to_undirected(as_view=True)

    def centre(node: str) -> float:
        near: Sequence[str] = list(undirected.neighbors(node))
        return sum(place[n] for n in near) / len(near) if near else place[node]

    for sweep in range(SWEEPS):
        for order in orders if sweep % 2 == 0 else reversed(orders):
            order.sort(key=centre)
            place |= {n: y / max(len(order) - 1, 1) for y, n in enumerate(order)}
    return orders


def _edge(axes: Any, start: tuple[float, float], end: tuple[float, float], broken: bool) -> None:
    """From the right side of one box to the left side of another; broken ones red and dashed."""
    axes.annotate(
        "",
        xy=(end[0] - WIDTH / 2, end[1]),
        xytext=(start[0] + WIDTH / 2, start[1]),
        arrowprops={
            "arrowstyle": "-|>",
            "color": "#c0392b" if broken else "#8a949e",
            "linestyle": "--" if broken else "-",
            "linewidth": 1.6 if broken else 0.9,
            "shrinkA": 0,
            "shrinkB": 0,
            "connectionstyle": "arc3,rad=0",
        },
        zorder=1,
    )


def _box(axes: Any, place: tuple[float, float], data: dict[str, Any]) -> None:
    x, y = place
    axes.add_patch(
        FancyBboxPatch(
            (x - WIDTH / 2, y - HEIGHT / 2),
            WIDTH,
            HEIGHT,
            boxstyle="round,pad=0,rounding_size=0.07",
            facecolor=COLOURS[data["layer"]],
            edgecolor="#5d6770",
            linewidth=0.8,
            zorder=2,
        )
    )
    label, details = data["label"], _shortened(data["details"])
    axes.text(
        x, y - 0.09 if details else y, label, ha="center", va="center", size=9, weight="bold",
        zorder=3,
    )  # fmt: skip
    if details:
        axes.text(x, y + 0.12, details, ha="center", va="center", size=7, color="#444", zorder=3)


def _shortened(text: str, length: int = 52) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
