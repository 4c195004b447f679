"""A comparison of runs as one HTML file that needs nothing else: no server, no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from models.comparison.plots import colours, curve, metric_bars, trade_off
from models.comparison.runs import FinishedRun, differing

_TEMPLATE = Path(__file__).with_name("page.html.j2")


class Cell(NamedTuple):
    """One figure of the table of metrics."""

    value: float | None
    best: bool


class Row(NamedTuple):
    """One run or floor."""

    name: str
    kind: str  # floor, peer or run
    cells: list[Cell]
    below: bool  # a run whose first metric does not beat every floor


class Picture(NamedTuple):
    """A figure of the page."""

    title: str
    source: str  # data URI


@dataclass(frozen=True)
class Layout:
    """What the page shows.

    Args:
        metrics: columns of the tables; the first decides the order of the rows.
        lower_is_better: those of them that should be small.
        neutral: those of which more is neither better nor worse; none is marked as best.
        drawn: metrics that get a picture of bars.
        curves: metrics that are drawn over epochs.
        trade_offs: pairs of metrics drawn against one another.
    """

    metrics: Sequence[str]
    lower_is_better: Sequence[str]
    neutral: Sequence[str]
    drawn: Sequence[str]
    curves: Sequence[str]
    trade_offs: Sequence[Sequence[str]]

    def sign(self, metric: str) -> int:
        """1 where more is better, −1 where less is."""
        return -1 if metric in self.lower_is_better else 1


def write_page(runs: Sequence[FinishedRun], layout: Layout, path: Path, title: str) -> None:
    """Replace the page at `path`; runs on other data get a section of their own."""
    groups: dict[str, list[FinishedRun]] = {}
    for run in runs:
        groups.setdefault(run.dataset, []).append(run)
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATE.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template(_TEMPLATE.name).render(
        title=title,
        when=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        count=len(runs),
        sections=[_section(name, group, layout) for name, group in groups.items()],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _section(name: str, runs: list[FinishedRun], layout: Layout) -> dict[str, Any]:
    metrics = [m for m in layout.metrics if any(m in run.model for run in runs)]
    metrics = metrics or sorted({m for run in runs for m in run.model})
    paint = colours(runs)
    ranked = _ranked(runs, metrics[0], layout)
    pictures = [
        *(Picture(m, p) for m in layout.drawn if (p := metric_bars(ranked, m, paint))),
        *(
            Picture(f"{up} over {across}", p)
            for across, up in layout.trade_offs
            if (p := trade_off(runs, across, up, paint))
        ),
        *(Picture(f"{m} by epoch", p) for m in layout.curves if (p := curve(runs, m, paint))),
    ]
    data = runs[0].data
    facts = [f"{data[k]:,} {k}" for k in ("rows", "users", "items") if isinstance(data.get(k), int)]
    return {
        "name": name,
        "facts": ", ".join(facts),
        "metrics": metrics,
        "rows": table(runs, metrics, layout),
        "runs": [run.name for run in runs],
        "settings": differing(runs),
        "pictures": pictures,
        "conditions": [_conditions(run) for run in runs],
    }


def table(runs: Sequence[FinishedRun], metrics: Sequence[str], layout: Layout) -> list[Row]:
    """Floors, peers, then runs, the best of the first metric on top; the best run's cell marked."""
    first = metrics[0]
    best = {}
    for metric in metrics:
        values = {run.model[metric] for run in runs if metric in run.model}
        if metric not in layout.neutral and len(values) > 1:  # among equals none is best
            best[metric] = max(values, key=lambda v: layout.sign(metric) * v)
    floors = {n: v for run in runs for n, v in run.floors.items()}
    peers = {n: v for run in runs for n, v in run.peers.items()}
    rows = [
        Row(name, kind, [Cell(values.get(m), False) for m in metrics], False)
        for kind, group in (("floor", floors), ("peer", peers))
        for name, values in group.items()
    ]

    for run in _ranked(runs, first, layout):
        cells = [Cell(run.model.get(m), m in best and run.model.get(m) == best[m]) for m in metrics]
        bars = [v[first] for v in run.floors.values() if first in v]
        own = run.model.get(first)
        sign = layout.sign(first)
        below = own is not None and any(sign * own <= sign * bar for bar in bars)
        rows.append(Row(run.name, "run", cells, below))
    return rows


def _ranked(runs: Sequence[FinishedRun], metric: str, layout: Layout) -> list[FinishedRun]:
    """The best on top; runs that lack the metric last."""

    def order(run: FinishedRun) -> float:
        return -layout.sign(metric) * run.model[metric] if metric in run.model else float("inf")

    return sorted(runs, key=order)


def _conditions(run: FinishedRun) -> dict[str, str]:
    kept = run.conditions
    minutes = kept.get("fit_seconds")
    validation = kept.get("validation") or {}
    return {
        "name": run.name,
        "folder": run.folder.name,
        "epochs": str(kept.get("epochs", "–")),
        "minutes": f"{minutes / 60:.1f}" if isinstance(minutes, int | float) else "–",
        "validation": ", ".join(f"{k} {v:.4f}" for k, v in validation.items()) or "–",
        "device": str(kept.get("device", "–")),
        "cores": str(kept.get("cores", "–")),
        "seed": str(kept.get("seed", "–")),
        "versions": ", ".join(f"{k} {v}" for k, v in (kept.get("versions") or {}).items()),
    }
