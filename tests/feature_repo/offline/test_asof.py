"""The point-in-time join against a brute-force reference, on frames that try to break it."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_repo.offline.asof import TIME, FeatureTable, JoinError, point_in_time_join

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def features(path: Path, rows: list[tuple[Any, ...]], **changes: Any) -> FeatureTable:
    """Rows of (a, b, hours, created hours, value); written as one file."""
    schema = {"a": pl.String, "b": pl.Int64, "ts": TIME, "made": TIME, "value": pl.Int64}
    frame = pl.DataFrame(
        [(a, b, at(t), at(c), v) for a, b, t, c, v in rows], schema=schema, orient="row"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(path)
    settings_: dict[str, Any] = {
        "name": "view", "path": path, "keys": {"a": "a", "b": "b"}, "features": {"value": "value"},
        "timestamp": "ts", "created": "made",
    }  # fmt: skip
    return FeatureTable(**{**settings_, **changes})


def entities(rows: list[tuple[Any, ...]]) -> pl.DataFrame:
    schema = {"a": pl.String, "b": pl.Int64, "event_timestamp": TIME}
    return pl.DataFrame([(a, b, at(t)) for a, b, t in rows], schema=schema, orient="row")


def brute(
    asked: list[tuple[Any, ...]],
    rows: list[tuple[Any, ...]],
    ttl: float | None,
    known_only: bool,
) -> list[int | None]:
    """The definition, row by row."""
    answers = []
    for a, b, t in asked:
        best = [
            (ft, fc, n, v)
            for n, (fa, fb, ft, fc, v) in enumerate(rows)
            if a is not None and b is not None and (fa, fb) == (a, b) and ft <= t
            and (not known_only or fc <= t)
        ]  # fmt: skip
        found = max(best, default=None)
        stale = found is not None and ttl is not None and found[0] < t - ttl
        answers.append(None if found is None or stale else found[3])
    return answers


keys_a = st.sampled_from(["x", "y", "z", "ü", "", None])
keys_b = st.sampled_from([1, 2, None])
hours = st.integers(0, 12)


@given(
    asked=st.lists(st.tuples(keys_a, keys_b, hours), max_size=25),
    rows=st.lists(st.tuples(keys_a, keys_b, hours, hours, st.integers(0, 999)), max_size=40),
    ttl=st.sampled_from([None, 1, 3, 100]),
    known_only=st.booleans(),
    memory_limit_mb=st.sampled_from([1024.0, 0.002, 0.0005]),
)
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_it_equals_the_definition(
    tmp_path_factory: pytest.TempPathFactory,
    asked: list[tuple[Any, ...]],
    rows: list[tuple[Any, ...]],
    ttl: int | None,
    known_only: bool,
    memory_limit_mb: float,
) -> None:
    # Rows that tie in time and creation have no order; give them one value.
    seen: dict[tuple[Any, ...], int] = {}
    rows = [(a, b, t, c, seen.setdefault((a, b, t, c), v)) for a, b, t, c, v in rows]
    path = tmp_path_factory.mktemp("asof") / "view.parquet"
    table = features(path, rows, ttl=timedelta(hours=ttl) if ttl else None)
    frame = entities(asked)
    joined = point_in_time_join(
        frame, "event_timestamp", [table], known_only=known_only, memory_limit_mb=memory_limit_mb
    )
    assert joined.drop("value").equals(frame), "every row stays, in order"
    assert joined["value"].to_list() == brute(asked, rows, ttl, known_only)


def test_many_parts_give_the_same_as_one(tmp_path: Path) -> None:
    rows = [(f"k{n % 101}", n % 3, n % 500 / 10, n % 500 / 10, n) for n in range(5000)]
    asked = [(f"k{n % 120}", n % 3, n % 60) for n in range(2000)]
    table = features(tmp_path / "view.parquet", rows)
    assert table.parts(0.05) > 5
    whole = point_in_time_join(entities(asked), "event_timestamp", [table])
    cut = point_in_time_join(entities(asked), "event_timestamp", [table], memory_limit_mb=0.05)
    assert cut.equals(whole)
    assert whole["value"].null_count() < len(whole)


def test_several_views_with_their_own_keys_and_aliases(tmp_path: Path) -> None:
    pairs = features(tmp_path / "pairs.parquet", [("x", 1, 1, 1, 10)], name="pairs")
    single = features(
        tmp_path / "single.parquet", [("x", 9, 2, 2, 20), ("w", 9, 2, 2, 30)], name="single",
        keys={"a": "other"}, features={"value": "single__value"},
    )  # fmt: skip
    frame = entities([("x", 1, 5), ("x", 1, 5), ("q", 1, 5)]).with_columns(
        other=pl.Series(["w", "x", None])
    )
    joined = point_in_time_join(frame, "event_timestamp", [pairs, single])
    assert joined["value"].to_list() == [10, 10, None]
    assert joined["single__value"].to_list() == [30, 20, None]


@pytest.mark.parametrize("unit", ["ns", "us", "ms"])
@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
def test_times_of_any_unit_and_zone_are_the_same_moment(
    tmp_path: Path, unit: Any, zone: str | None
) -> None:
    table = features(tmp_path / "view.parquet", [("x", 1, 1, 1, 10), ("x", 1, 3, 3, 30)])
    frame = entities([("x", 1, 2), ("x", 1, 3)])
    moment = pl.col("event_timestamp").dt.cast_time_unit(unit)
    moment = moment.dt.convert_time_zone(zone) if zone else moment.dt.replace_time_zone(None)
    joined = point_in_time_join(frame.with_columns(moment), "event_timestamp", [table])
    assert joined["value"].to_list() == [10, 30]
    assert joined.schema["event_timestamp"].time_zone == zone, "the frame stays as it was given"


def test_files_of_a_folder_are_one_table(tmp_path: Path) -> None:
    features(tmp_path / "view" / "date=1" / "part-0.parquet", [("x", 1, 1, 1, 10)])
    features(tmp_path / "view" / "date=2" / "part-0.parquet", [("x", 1, 30, 30, 20)])
    one = features(tmp_path / "view" / "date=3" / "part-0.parquet", [])
    table = dataclasses.replace(one, path=tmp_path / "view")
    joined = point_in_time_join(entities([("x", 1, 5), ("x", 1, 40)]), "event_timestamp", [table])
    assert joined["value"].to_list() == [10, 20]


def table_of(tmp_path: Path) -> FeatureTable:
    return features(tmp_path / "view.parquet", [("x", 1, 1, 1, 10)])


@pytest.mark.parametrize(
    ("frame", "changes", "message"),
    [
        (entities([("x", 1, 1)]).drop("a"), {}, "view view needs the key a, which the entity"),
        (
            entities([("x", 1, 1)]).with_columns(b=pl.lit("1")),
            {},
            "key b of the entity frame is String, but b of view view is Int64",
        ),
        (
            entities([("x", 1, 1), ("y", 1, 2)]).with_columns(
                event_timestamp=pl.Series([START, None], dtype=TIME)
            ),
            {},
            r"is null in 1 of 2 rows \(rows \[1\]",
        ),
        (
            entities([("x", 1, 1)]).with_columns(event_timestamp=pl.lit("yesterday")),
            {},
            "event_timestamp of the entity frame is String; it must be a time",
        ),
        (entities([]).drop("event_timestamp"), {}, "no column event_timestamp"),
        (
            entities([("x", 1, 1)]),
            {"features": {"valu": "valu"}},
            "has no column valu; it has a, b",
        ),
        (entities([("x", 1, 1)]), {"path": Path("/nowhere")}, "no Parquet file at /nowhere"),
        (
            entities([("x", 1, 1)]).with_columns(value=pl.lit(1)),
            {},
            "feature value of view view is there already",
        ),
    ],
)
def test_what_cannot_be_joined_is_named(
    tmp_path: Path, frame: pl.DataFrame, changes: dict[str, Any], message: str
) -> None:
    table = dataclasses.replace(table_of(tmp_path), **changes)
    with pytest.raises(JoinError, match=message):
        point_in_time_join(frame, "event_timestamp", [table])


def test_a_half_written_file_is_named(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    table.path.write_bytes(table.path.read_bytes()[:-50])
    with pytest.raises(JoinError, match=r"view view: .*view\.parquet cannot be read"):
        point_in_time_join(entities([("x", 1, 1)]), "event_timestamp", [table])
