"""The report as one HTML file that needs nothing else: no server, no network."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipelines.anomalies.precision import Precision
from pipelines.anomalies.report import plots
from pipelines.anomalies.report.findings import Findings
from pipelines.anomalies.store import TO_REVIEW

_TEMPLATE = Path(__file__).with_name("page.html.j2")
_REPLAYED_S = 3600.0  # a median delay beyond it: events were sent long after their own time
_REASONS = 3  # fields shown of one anomaly


def write_page(findings: Findings, path: Path, sources: int, points: int, gravest: int) -> None:
    """Replace the page at `path`.

    Args:
        sources: drawn over time at most, those with most anomalies.
        points: of each line at most.
        gravest: anomalies listed, the highest scores.
    """
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATE.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"time": _time, "number": _number}
    names = findings.eventful
    caught = findings.caught()
    text = environment.get_template(_TEMPLATE.name).render(
        f=findings,
        made=datetime.now(UTC),
        tiles=list(figures(findings).items()),
        notes=_notes(findings),
        colours=plots.COLOURS,
        timelines=[(n, plots.timeline(findings, n, points)) for n in names[:sources]],
        hidden=max(0, len(names) - sources),
        quiet=len(findings.sources) - len(names),
        pictures=_pictures(findings),
        gravest=[_explained(row) for row in _gravest(findings, gravest)],
        precision=_precision(findings),
        caught=None if caught is None else caught.to_dicts(),
        outside=findings.outside(),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def figures(findings: Findings) -> dict[str, str]:
    """The numbers at the top."""
    found, events = len(findings.found), len(findings.scores)
    [total] = findings.precision["all"] or [Precision({}, 0, 0, 0, None, None, None)]
    shown = {
        "events scored": f"{events:,}",
        "anomalies": f"{found:,}",
        "of all events": f"{100 * found / events:.3g} %" if events else "–",
        "to review": f"{int((findings.anomalies['status'] == TO_REVIEW).sum()):,}",
        "sources": f"{len(findings.sources):,}",
        "judged": f"{total.confirmed + total.dismissed:,}",
        "precision": "–" if total.precision is None else f"{100 * total.precision:.0f} %",
    }
    if len(findings.anomalies) and not _replayed(findings):
        p99 = float(np.percentile(plots.delay_seconds(findings), 99))
        shown["p99 of the delay"] = f"{1000 * p99:,.0f} ms" if p99 < 10 else f"{p99:,.0f} s"
    return shown


def _replayed(findings: Findings) -> bool:
    return float(np.median(plots.delay_seconds(findings))) > _REPLAYED_S


def _notes(findings: Findings) -> list[str]:
    notes = []
    if findings.scores.is_empty():
        notes.append("No scores are kept of this range; only what was found is shown.")
    failed = findings.anomalies.filter(pl.col("status") == TO_REVIEW)
    for reason, count in failed["reason"].value_counts(sort=True).head(3).iter_rows():
        notes.append(f"{count:,} events could not be scored and wait for review: {reason}")
    if len(findings.anomalies) and _replayed(findings):
        notes.append(
            "The events were sent long after their own time, so their delay says nothing here."
        )
    return notes


def _pictures(findings: Findings) -> dict[str, str | None]:
    found = len(findings.found)
    return {
        "contributions": plots.contributions(findings) if found else None,
        "rates": plots.rates(findings) if len(findings.scores) and findings.eventful else None,
        "delays": plots.delays(findings)
        if len(findings.anomalies) and not _replayed(findings)
        else None,
    }


def _gravest(findings: Findings, most: int) -> list[dict[str, Any]]:
    return findings.found.sort("score", descending=True).head(most).to_dicts()


def _explained(row: dict[str, Any]) -> dict[str, Any]:
    """The fields that moved most, as shares of the score."""
    fields = sorted(row["fields"], key=lambda f: -(f["contribution"] or 0.0))[:_REASONS]
    whole = sum(f["contribution"] or 0.0 for f in row["fields"]) or 1.0
    return row | {
        "reasons": [f | {"share": 100 * (f["contribution"] or 0) / whole} for f in fields]
    }


def _precision(findings: Findings) -> list[tuple[str, Precision]]:
    """All, by severity, by source where anybody judged, and by version where there are several."""
    rows = [("all", p) for p in findings.precision["all"]]
    for group in ("severity", "version", "source"):
        found = findings.precision[group]
        if group == "version" and len(found) < 2:
            continue
        if group == "source":
            found = [p for p in found if p.precision is not None]
        rows += [(f"{group} {p.group[group]}", p) for p in found]
    return rows


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def _number(value: float | None) -> str:
    return "missing" if value is None else f"{value:.4g}"
