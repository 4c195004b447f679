"""The report as one HTML file that needs nothing else: no server, no network."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from feature_repo.monitoring.alerts import duration
from feature_repo.monitoring.plots import BASELINE, CURRENT, Distributions
from feature_repo.monitoring.report import Report

_TEMPLATE = Path(__file__).with_name("page.html.j2")
_REACH = 1.5  # decades on each side of the promise that a freshness bar shows


class Bar(NamedTuple):
    """An age beside the promise, on a logarithmic scale; the promise is in the middle.

    Args:
        width: percent of the whole bar.
    """

    store: str
    text: str
    width: float
    late: bool


def write_page(report: Report, path: Path) -> None:
    """Replace the page at `path`."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATE.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": _percent,
        "number": _number,
        "count": "{:,}".format,
        "name": _name,
    }
    with Distributions() as distributions:
        text = environment.get_template(_TEMPLATE.name).render(
            report=report,
            statuses=[report.status(v.name) for v in report.views],
            bars={v.name: _bars(*v.freshness[:2], v.freshness.slo_s) for v in report.views},
            draw=distributions.draw,
            duration=duration,
            colours={"baseline": BASELINE, "current": CURRENT},
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _bars(offline: float | None, online: float | None, slo: float) -> list[Bar]:
    return [_bar("offline", offline, slo), _bar("online", online, slo)]


def _bar(store: str, age: float | None, slo: float) -> Bar:
    if age is None:
        return Bar(store, "no rows", 100.0, True)
    decades = math.log10(max(age, 1.0) / slo)
    width = 50 + 50 * max(-_REACH, min(_REACH, decades)) / _REACH
    return Bar(store, duration(age), max(2.0, width), age > slo)


def _name(name: str) -> Markup:
    """A long name may be broken after its underscores."""
    return Markup("<wbr>").join(re.findall(r"[^_:]+[_:]*|[_:]+", name))


def _percent(share: float | None) -> str:
    if share is None:
        return "–"
    return f"{share:.2%}" if 0 < share < 0.01 else f"{share:.1%}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
