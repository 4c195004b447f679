"""`metrics.json`: what was measured, beside what it must beat, and under which conditions."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from models.cores import cores

Metrics = dict[str, float]

_PACKAGES = ("torch", "pytorch-lightning", "numpy", "polars", "onnxruntime")


@dataclass
class Report:
    """The contract of `metrics.json`: model, floors and peers carry the same metric names."""

    model: Metrics
    floors: dict[str, Metrics] = field(default_factory=dict)
    peers: dict[str, Metrics] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    conditions: dict[str, Any] = field(default_factory=dict)
    artifact: str | None = None

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    def print(self, console: Console | None = None) -> None:
        """One table: a row for each metric, a column for each floor, each peer and the model."""
        console = console or Console()
        columns = [*self.floors.items(), *self.peers.items(), ("model", self.model)]
        table = Table(title=f"{self.data.get('name', '')}: test, floors and peers beside the model")
        table.add_column("metric")
        for name, _ in columns:
            table.add_column(name, justify="right", style="bold" if name == "model" else None)
        for metric in self.model:
            cells = [f"{v[metric]:.4f}" if metric in v else "–" for _, v in columns]
            table.add_row(metric, *cells)
        console.print(table)


def conditions(**more: Any) -> dict[str, Any]:
    """Versions, cores and machine, so that a figure can be judged and repeated."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": cores(),
        "versions": versions,
        **more,
    }
