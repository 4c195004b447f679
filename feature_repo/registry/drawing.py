"""The lineage as a picture: layers from left to right, one box a node.

Edges that pass over a layer go through a place of their own in it, so that they run behind no box.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.patches import FancyBboxPatch

from feature_repo.registry.lineage import layers

COLUMN, ROW = 3.6, 0.78  # inches from box to box
WIDTH, HEIGHT = 2.7, 0.58  # inches of a box
COLOURS = {
    "table": "#dbe4ee",
    "transformation": "#fdf0c8",
    "view": "#d5ecd4",
    "request-time view": "#bfe3d6",
    "service": "#e6dbf2",
    "model": "#f9d8cf",
}
LINE: dict[str, Any] = {"color": "#8a949e", "linewidth": 0.9, "zorder": 1}
SWEEPS = 24  # passes over the layers to bring neighbours side by side


def draw(graph: Any, path: Path) -> None:
    """Write a PNG of a graph from `lineage`."""
    columns = layers(graph)
    orders, segments = _routed(graph, [list(nodes) for _, nodes in columns])
    orders = _ordered(orders, segments)
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
    for (start, end), broken in segments.items():
        _edge(axes, places[start], places[end], end in graph, broken)
    for node, place in places.items():
        if node in graph:
            _box(axes, place, graph.nodes[node])
        else:
            axes.plot([place[0] - WIDTH / 2, place[0] + WIDTH / 2], [place[1]] * 2, **LINE)
    axes.set_xlim(-COLUMN / 2, (len(columns) - 0.5) * COLUMN)
    axes.set_ylim(height * ROW, -1.5 * ROW)
    axes.axis("off")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)


def _routed(
    graph: Any, orders: list[list[str]]
) -> tuple[list[list[str]], dict[tuple[str, str], bool]]:
    """Layers with a place for each node whose edges pass over them, and edges from layer to layer.

    The value of an edge says whether it is broken.
    """
    layer = {n: x for x, nodes in enumerate(orders) for n in nodes}
    segments: dict[tuple[str, str], bool] = {}
    for start, end, data in graph.edges(data=True):
        before = start
        for x in range(layer[start] + 1, layer[end]):
            through = f"{start} over {x}"
            if through not in orders[x]:
                orders[x].append(through)
            segments[before, through] = False
            before = through
        segments[before, end] = bool(data.get("broken"))
    return orders, segments


def _ordered(orders: list[list[str]], segments: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Each layer sorted by the mean place of its neighbours (the barycentre heuristic).

    Of several passes the order with the fewest crossings is kept.
    """
    near: dict[str, list[str]] = {n: [] for order in orders for n in order}
    for start, end in segments:
        near[start].append(end)
        near[end].append(start)
    place = {n: y / max(len(o) - 1, 1) for o in orders for y, n in enumerate(o)}
    best, fewest = orders, _crossings(orders, segments)
    for sweep in range(SWEEPS):
        orders = [list(order) for order in orders]
        for order in orders if sweep % 2 == 0 else reversed(orders):
            order.sort(key=lambda n: sum(place[m] for m in near[n]) / max(len(near[n]), 1))
            place |= {n: y / max(len(order) - 1, 1) for y, n in enumerate(order)}
        crossings = _crossings(orders, segments)
        if crossings < fewest:
            best, fewest = orders, crossings
    return best


def _crossings(orders: Sequence[Sequence[str]], segments: Iterable[tuple[str, str]]) -> int:
    place = {n: (x, y) for x, order in enumerate(orders) for y, n in enumerate(order)}
    lines = [(place[a][0], place[a][1], place[b][1]) for a, b in segments]
    return sum(
        x == other and (a - c) * (b - d) < 0
        for (x, a, b), (other, c, d) in itertools.combinations(lines, 2)
    )


def _edge(
    axes: Any, start: tuple[float, float], end: tuple[float, float], arrow: bool, broken: bool
) -> None:
    """From the right side of one place to the left side of another; broken: red and dashed."""
    axes.annotate(
        "",
        xy=(end[0] - WIDTH / 2, end[1]),
        xytext=(start[0] + WIDTH / 2, start[1]),
        arrowprops={
            "arrowstyle": "-|>" if arrow else "-",
            "color": "#c0392b" if broken else LINE["color"],
            "linestyle": "--" if broken else "-",
            "linewidth": 1.6 if broken else LINE["linewidth"],
            "shrinkA": 0,
            "shrinkB": 0,
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
    lines = [_shortened(line) for line in data["details"].split("\n") if line]
    top = y - 0.085 * len(lines)
    axes.text(x, top, data["label"], ha="center", va="center", size=9, weight="bold", zorder=3)
    for number, line in enumerate(lines, 1):
        below = top + 0.03 + 0.15 * number
        axes.text(x, below, line, ha="center", va="center", size=7, color="#444444", zorder=3)


def _shortened(text: str, length: int = 46) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
