"""Labels: one row for each judged event, with what the stream saw, in the warehouse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
import sqlalchemy as sa

from pipelines.anomalies.labels import SCHEMA, labels, write
from pipelines.anomalies.store import connect
from tests.pipelines.anomalies.judged import HOUR, found, judge


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    engine = connect(f"sqlite:///{tmp_path}/store.db")
    yield engine
    engine.dispose()


def test_the_last_verdict_becomes_the_label(engine: sa.Engine) -> None:
    first = found(engine, "a", HOUR)
    judge(engine, first, "confirmed")
    judge(engine, first, "dismissed", reason="a backup", who="grace", at=7)
    found(engine, "a", 2 * HOUR)  # nobody judged it: no label
    [row] = labels(engine).to_dicts()
    assert row["verdict"] == "dismissed"
    assert (row["reason"], row["who"]) == ("a backup", "grace")
    assert row["fields"] == [{"name": "cpu", "value": 97.0}, {"name": "memory", "value": None}]
    assert row["timestamp"].timestamp() == 3600


def test_what_was_to_review_becomes_a_label_too(engine: sa.Engine) -> None:
    failed = found(engine, "a", HOUR, status="to_review", score=None, threshold=None)
    judge(engine, failed, "confirmed")
    [row] = labels(engine).to_dicts()
    assert (row["verdict"], row["score"]) == ("confirmed", None)


def test_bounds_hold_from_and_until(engine: sa.Engine) -> None:
    for i in range(4):
        judge(engine, found(engine, "a", i * HOUR), "confirmed")
    assert len(labels(engine, since=HOUR, until=3 * HOUR)) == 2


def test_the_table_is_replaced_day_by_day(engine: sa.Engine, tmp_path: Path) -> None:
    for i in (1, 2, 30):
        judge(engine, found(engine, "a", i * HOUR), "confirmed")
    folder = write(labels(engine), tmp_path)
    table = pl.read_parquet(folder / "date=*" / "*.parquet")
    assert len(table) == 3
    assert sorted(p.name for p in folder.iterdir()) == ["date=1970-01-01", "date=1970-01-02"]
    judge(engine, found(engine, "a", 3 * HOUR), "dismissed")
    write(labels(engine), tmp_path)
    table = pl.read_parquet(folder / "date=*" / "*.parquet", hive_partitioning=False)
    assert table["verdict"].value_counts().sort("count")["count"].to_list() == [1, 3]
    assert dict(table.schema) == SCHEMA
    write(labels(engine, until=24 * HOUR), tmp_path)
    assert len(pl.read_parquet(folder / "date=*" / "*.parquet")) == 3


def test_no_verdicts_give_an_empty_table(engine: sa.Engine, tmp_path: Path) -> None:
    frame = labels(engine)
    assert frame.is_empty()
    assert dict(frame.schema) == SCHEMA
    assert not list(write(frame, tmp_path).glob("**/*.parquet"))
