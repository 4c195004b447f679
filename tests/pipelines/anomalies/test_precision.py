"""Precision by verdicts: the last word counts, few verdicts give a wide interval."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pgserver
import pytest
import sqlalchemy as sa

from pipelines.anomalies.precision import Precision, precision, wilson
from pipelines.anomalies.store import METADATA, connect
from tests.pipelines.anomalies.judged import HOUR, found, judge


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """A real server; its socket's path must be short."""
    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        server = pgserver.get_server(folder, cleanup_mode="delete")
        yield server.get_uri()
        server.cleanup()


@pytest.fixture(params=["sqlite", "postgres"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    url = f"sqlite:///{tmp_path}/store.db"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres").replace("postgresql:", "postgresql+psycopg:", 1)
    engine = connect(url)
    yield engine
    with engine.begin() as connection:
        for table in reversed(METADATA.sorted_tables):
            connection.execute(table.delete())
    engine.dispose()


@pytest.fixture
def judged(engine: sa.Engine) -> sa.Engine:
    """Two sources: `a` confirmed 2 of 3, `b` dismissed 1, one not judged and one to review."""
    for i, verdict in enumerate(("confirmed", "confirmed", "dismissed")):
        judge(engine, found(engine, "a", i * HOUR, severity="major"), verdict)
    judge(engine, found(engine, "b", 25 * HOUR), "dismissed")
    found(engine, "b", 26 * HOUR)
    failed = found(engine, "b", 27 * HOUR, status="to_review", score=None, threshold=None)
    judge(engine, failed, "confirmed")
    return engine


def figures(engine: sa.Engine, **given: Any) -> list[Precision]:
    with engine.connect() as connection:
        return precision(connection, **given)


def test_all_in_one_row(judged: sa.Engine) -> None:
    [row] = figures(judged)
    assert (row.confirmed, row.dismissed, row.unjudged) == (2, 2, 1)
    assert row.precision == 0.5
    assert row.low is not None
    assert row.high is not None
    assert 0.0 < row.low < 0.5 < row.high < 1.0


def test_by_source_most_alarms_first(judged: sa.Engine) -> None:
    rows = figures(judged, by=["source"])
    assert [(r.group["source"], r.confirmed, r.dismissed, r.unjudged) for r in rows] == [
        ("a", 2, 1, 0),
        ("b", 0, 1, 1),
    ]


def test_the_last_verdict_counts(judged: sa.Engine) -> None:
    again = found(judged, "c", 30 * HOUR)
    for verdict in ("confirmed", "dismissed", "confirmed", "dismissed"):
        judge(judged, again, verdict)
    [row] = figures(judged, since=30 * HOUR)
    assert (row.confirmed, row.dismissed) == (0, 1)


def test_bounds_hold_from_and_until(judged: sa.Engine) -> None:
    [row] = figures(judged, since=1 * HOUR, until=2 * HOUR)
    assert row.confirmed + row.dismissed == 1


def test_by_day_and_hour_and_several(judged: sa.Engine) -> None:
    days = figures(judged, by=["day"])
    assert [(r.group["day"], r.confirmed + r.dismissed + r.unjudged) for r in days] == [
        (0, 3),
        (24 * HOUR, 2),
    ]
    hours = figures(judged, by=["hour", "severity"])
    assert {(r.group["hour"], r.group["severity"]) for r in hours} == {
        (0, "major"),
        (1, "major"),
        (2, "major"),
        (1, "warning"),
        (2, "warning"),
    }


def test_what_nobody_judged_has_no_precision(engine: sa.Engine) -> None:
    assert figures(engine) == []
    found(engine, "a", 0)
    [row] = figures(engine)
    assert (row.precision, row.low, row.high, row.unjudged) == (None, None, None, 1)


def test_an_unknown_group_lists_the_known(engine: sa.Engine) -> None:
    with pytest.raises(ValueError, match=r"no group 'sources'; there are source, severity"):
        figures(engine, by=["sources"])


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"), [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634)]
)
def test_wilson_as_published(hits: int, trials: int, low: float, high: float) -> None:
    assert wilson(hits, trials)[1:] == pytest.approx((low, high), abs=1e-4)
