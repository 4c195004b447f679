"""The report: what is in the range is shown, what is missing is said, and it stands alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import sqlalchemy as sa

from pipelines.anomalies.report.findings import EmptyReportError, Findings, gather, moment
from pipelines.anomalies.report.page import figures, write_page
from pipelines.anomalies.store import connect
from tests.pipelines.anomalies.judged import found, judge

START = datetime(2026, 1, 5, tzinfo=UTC)
START_US = round(START.timestamp() * 1e6)
MINUTE = 60_000_000
ODD = "<i>b"  # a source's name is anything


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    engine = connect(f"sqlite:///{tmp_path}/store.db")
    yield engine
    engine.dispose()


def reader(**given: Any) -> pl.DataFrame:
    """A day of two sources, an event a minute; `a` is odd from 10:00 to 10:20."""
    rng = np.random.default_rng(0)
    minutes = np.arange(1440)
    parts = []
    for source in ("a", ODD):
        score = rng.exponential(0.43, 1440)
        if source == "a":
            score[600:620] += 5
        parts.append(
            pl.DataFrame(
                {
                    "source": [source] * 1440,
                    "timestamp": [START + timedelta(minutes=int(m)) for m in minutes],
                    "score": score,
                    "threshold": np.full(1440, 3.5) + 0.2 * np.sin(minutes / 200),
                    "anomalous": score > 3.7,
                }
            )
        )
    scores = pl.concat(parts)
    if given.get("since"):
        scores = scores.filter(pl.col("timestamp") >= given["since"])
    if given.get("until"):
        scores = scores.filter(pl.col("timestamp") < given["until"])
    return scores


@pytest.fixture
def filled(engine: sa.Engine, tmp_path: Path) -> tuple[sa.Engine, Path]:
    for i in range(20):
        at = START_US + (600 + i) * MINUTE
        more = {"score": 5.0 + i / 5, "severity": "critical" if i > 9 else "major"}
        more |= {"detected_at": at + 1000 * (30 + 5 * i)}
        anomaly = found(engine, "a", at, **more)
        if i < 8:
            judge(engine, anomaly, "confirmed" if i < 6 else "dismissed")
    failed = {"status": "to_review", "score": None, "threshold": None, "reason": "no model"}
    found(engine, "c", START_US + 900 * MINUTE, **failed)
    truth = tmp_path / "incidents"
    truth.mkdir()
    pl.DataFrame(
        {
            "source": ["a", ODD],
            "kind": ["spike", "drift"],
            "start": [START + timedelta(minutes=600), START + timedelta(minutes=100)],
            "end": [START + timedelta(minutes=615), START + timedelta(minutes=140)],
        }
    ).write_parquet(truth / "day.parquet")
    return engine, truth


@pytest.fixture
def findings(filled: tuple[sa.Engine, Path]) -> Findings:
    return gather(filled[0], reader, truth=filled[1])


def test_the_figures(findings: Findings) -> None:
    shown = figures(findings)
    assert shown["events scored"] == "2,880"
    assert shown["anomalies"] == "20"
    assert shown["to review"] == "1"
    assert shown["judged"] == "8"
    assert shown["precision"] == "75 %"
    assert shown["p99 of the delay"].endswith("ms")


def test_planted_incidents_are_caught_or_not(findings: Findings) -> None:
    caught = findings.caught()
    assert caught is not None
    assert caught.rows() == [("drift", 1, 0), ("spike", 1, 1)]
    assert findings.outside() == 5


def test_the_page_stands_alone_and_shows_all(findings: Findings, tmp_path: Path) -> None:
    page = tmp_path / "out" / "anomalies.html"
    write_page(findings, page, sources=6, points=200, gravest=5)
    text = page.read_text()
    assert not re.findall(r'(?:src|href)="(?!data:)', text)
    assert text.count("data:image/svg+xml") == 5  # two sources, fields, rates, delay
    assert "1 events could not be scored and wait for review: no model" in text
    assert "&lt;i&gt;b" in text
    assert "<i>b" not in text
    assert text.count('class="badge"') == 5
    assert "expected 40" in text
    assert "planted incident" in text


def test_sources_where_nothing_happened_are_not_drawn(
    filled: tuple[sa.Engine, Path], tmp_path: Path
) -> None:
    findings = gather(filled[0], reader)  # nobody planted anything: `b` and `c` have no anomaly
    assert findings.eventful == ["a"]
    write_page(findings, tmp_path / "page.html", sources=6, points=200, gravest=5)
    text = (tmp_path / "page.html").read_text()
    assert re.findall(r"<figcaption>([^ <]+)</figcaption>", text) == ["a"]
    assert "2 sources without any are not drawn" in text


def test_a_range_holds(filled: tuple[sa.Engine, Path]) -> None:
    since, until = moment("2026-01-05T10:05"), moment("2026-01-05T11:07:00+01:00")
    part = gather(filled[0], reader, since, until)
    assert len(part.scores) == 4
    assert len(part.found) == 2
    assert part.truth is None
    assert part.caught() is None


def test_replayed_events_have_no_delay(engine: sa.Engine, tmp_path: Path) -> None:
    found(engine, "a", START_US, detected_at=START_US + 48 * 3600 * 1_000_000)
    findings = gather(engine, reader)
    assert "p99 of the delay" not in figures(findings)
    write_page(findings, tmp_path / "page.html", sources=2, points=100, gravest=5)
    assert "sent long after their own time" in (tmp_path / "page.html").read_text()


def test_nothing_found_is_a_page_too(engine: sa.Engine, tmp_path: Path) -> None:
    write_page(gather(engine, reader), tmp_path / "page.html", sources=2, points=100, gravest=5)
    text = (tmp_path / "page.html").read_text()
    assert "No anomaly was found." in text


def test_scores_that_are_gone_are_said(filled: tuple[sa.Engine, Path], tmp_path: Path) -> None:
    findings = gather(filled[0], lambda **_: reader().clear())
    write_page(findings, tmp_path / "page.html", sources=2, points=100, gravest=5)
    assert "No scores are kept of this range" in (tmp_path / "page.html").read_text()


def test_an_empty_range_says_so(engine: sa.Engine) -> None:
    with pytest.raises(EmptyReportError, match=r"from 2030-01-01 .* give another since="):
        gather(engine, reader, since=moment("2030-01-01"))
