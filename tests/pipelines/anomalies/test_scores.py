"""The scores table: landed, landed again, merged, read beside the journal; a full disk."""

from __future__ import annotations

import asyncio
import json
import resource
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from pipelines.anomalies.brokers.redis import RedisBroker
from pipelines.anomalies.journal import Record, Verdict, pack, read, unpack
from pipelines.anomalies.landing import LandedTable
from pipelines.anomalies.landing_rows import score_rows, telemetry_rows
from pipelines.anomalies.scores import SCHEMA, read_scores
from pipelines.anomalies.store import connect
from tests.pipelines.anomalies.parts import detector, telemetry
from tests.pipelines.anomalies.processors import PARTITIONS, found, processor, running, until
from tests.scripts.streams import RedisServer

MIDNIGHT = datetime(2026, 1, 31, tzinfo=UTC)


def record(first: int, count: int = 10, source: str = "s") -> Record:
    time_us = (round(MIDNIGHT.timestamp()) + np.arange(first, first + count)) * 1_000_000
    score = np.arange(count, dtype=np.float32)
    score[0] = np.nan
    return Record(
        ("a", "b"), "1", [Verdict(3, "s", 2.0, True)], [source] * count, time_us, score,
        np.full(count, 5.0), score > 5, np.zeros(count, np.int8), np.arange(count, dtype=np.uint64),
        np.arange(2 * count, dtype=np.float32).reshape(count, 2),
    )  # fmt: skip


def batch(first: int, count: int = 10, source: str = "s") -> pa.RecordBatch:
    return record(first, count, source).batch()


def test_a_record_comes_back_as_it_was_for_other_fields_too() -> None:
    wanted = record(0)
    got = read(unpack(pack(wanted.batch())), ("b", "c"))
    for name in ("time_us", "score", "threshold", "anomalous", "kind", "identity"):
        np.testing.assert_array_equal(getattr(got, name), getattr(wanted, name))
    assert (got.source, got.verdicts, got.version) == (wanted.source, wanted.verdicts, "1")
    np.testing.assert_array_equal(got.values[:, 0], wanted.values[:, 1])
    assert np.isnan(got.values[:, 1]).all()


def test_landing_again_after_a_crash_changes_nothing_and_small_files_are_merged(
    tmp_path: Path,
) -> None:
    table = LandedTable(tmp_path, most_files=3, small_mb=1)
    for n in range(10):
        table.land(1, n + 1, n + 1, score_rows([batch(-50 + 10 * n)]))
        if n < 9:
            table.merge(1)
    table.land(2, 1, 1, score_rows([batch(0, source="t")]))
    # The commits 10 and 11 land together, as 10 was not told to the store before the crash.
    table.land(1, 10, 11, score_rows([batch(40), batch(50)]))
    assert not list(tmp_path.rglob("p001-*10-*10.parquet")), "what the new file holds too is gone"
    table.merge(1)
    found = read_scores(tmp_path)
    assert found.schema == SCHEMA
    assert len(found) == 120
    files = list(tmp_path.rglob("*.parquet"))
    assert sum(len(pl.read_parquet(f)) for f in files) == 120, "each row is in one file"
    assert found["score"].null_count() == 12
    for day in ("2026-01-30", "2026-01-31"):
        assert len(list((tmp_path / f"date={day}").glob("p001-*.parquet"))) <= 3
    since, until_ = MIDNIGHT - timedelta(seconds=5), MIDNIGHT + timedelta(seconds=5)
    some = read_scores(tmp_path, since=since, until=until_, source="s")
    assert some["timestamp"].to_list() == [since + timedelta(seconds=n) for n in range(10)]


def test_what_was_scored_lands_beside_the_scores_with_the_fields_of_each_version(
    tmp_path: Path,
) -> None:
    table = LandedTable(tmp_path, most_files=1, small_mb=1)
    whole = record(0)
    gappy = record(10)._replace(fields=("b", "c"))
    gappy.values[3, 1] = np.nan
    nothing = record(0)
    nothing = nothing._replace(**{
        name: getattr(nothing, name)[:0]
        for name in ("source", "time_us", "score", "threshold", "anomalous", "kind", "identity",
                     "values")
    })  # fmt: skip
    table.land(1, 1, 1, telemetry_rows([nothing.batch()]))
    assert not list(tmp_path.iterdir()), "a verdict alone brings no telemetry"
    table.land(1, 1, 2, telemetry_rows([whole.batch(), nothing.batch()]))
    table.land(1, 3, 3, telemetry_rows([unpack(pack(gappy.batch()))]))
    table.merge(1)
    (file,) = tmp_path.rglob("*.parquet")
    rows = pl.read_parquet(file, hive_partitioning=False)
    assert rows.schema == {
        "source": pl.String, "timestamp": pl.Datetime("us", "UTC"),
        "a": pl.Float64, "b": pl.Float64, "c": pl.Float64,
    }  # fmt: skip
    assert rows["timestamp"].to_list() == [MIDNIGHT + timedelta(seconds=n) for n in range(20)]
    assert rows["a"].to_list() == [*range(0, 20, 2), *[None] * 10]
    assert rows["b"].to_list() == [*range(1, 20, 2), *range(0, 20, 2)]
    assert rows["c"].to_list() == [*[None] * 10, 1, 3, 5, None, *range(9, 20, 2)]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    (tmp_path / "redis").mkdir()
    made = RedisServer(tmp_path / "redis")
    yield made
    made.kill()


@pytest.mark.services
async def test_a_full_disk_is_waited_out_and_nothing_is_lost(
    tmp_path: Path, server: RedisServer
) -> None:
    """No file may grow beyond what the store has now: its next page does not fit."""
    detector(tmp_path / "artifacts")
    events = telemetry(2000, 10)
    settings = (10**6, 10**4, 10**5, 5)

    def broker() -> RedisBroker:
        return RedisBroker(server.url, "telemetry", PARTITIONS, "found", *settings)

    sender = broker()
    made = processor(broker(), tmp_path, land_s=0.2)
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    failures = made.metrics.failures.labels("store")._value
    async with running(made):
        await until(lambda: len(made.workload.held) == PARTITIONS, "the partitions")
        size = max((tmp_path / f"store.db{n}").stat().st_size for n in ("", "-wal"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, usual[1]))
        try:
            await sender.send(
                [json.dumps(events[n : n + 50]).encode() for n in range(0, len(events), 50)]
            )
            await until(lambda: failures.get() > 2, "the full disk")
            assert made.metrics.blocked._value.get() == 1
            await asyncio.sleep(0.3)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, usual)
        await until(lambda: made._handled == 2000, "all events")
    await sender.close()
    scores = read_scores(tmp_path / "scores", connect(f"sqlite:///{tmp_path}/store.db"))
    assert len(scores) == 2000
    assert len(found(tmp_path)) == scores["anomalous"].sum()
