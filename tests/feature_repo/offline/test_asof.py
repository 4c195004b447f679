"""The point-in-time join against a brute-force reference, on frames that try to break it."""

from __future__ import annotations

import dataclasses
import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_repo.offline.asof import batch_rows, point_in_time_join
from feature_repo.offline.table import TIME, FeatureTable, JoinError

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


# Few keys and moments: rows must meet, tie, and come late often.
keys_a = st.sampled_from(["x", "x", "ü", "", None])
keys_b = st.sampled_from([1, 1, 2, None])
hours = st.integers(0, 5)


@given(
    asked=st.lists(st.tuples(keys_a, keys_b, hours), min_size=5, max_size=25),
    rows=st.lists(
        st.tuples(keys_a, keys_b, hours, hours, st.integers(0, 999)), min_size=10, max_size=60
    ),
    ttl=st.sampled_from([None, 1, 3, 100]),
    known_only=st.booleans(),
    memory_limit_mb=st.sampled_from([1024.0, 0.002, 0.0005]),
    cuts=st.lists(st.integers(0, 40), max_size=3),
)
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_it_equals_the_definition(
    tmp_path_factory: pytest.TempPathFactory,
    asked: list[tuple[Any, ...]],
    rows: list[tuple[Any, ...]],
    ttl: int | None,
    known_only: bool,
    memory_limit_mb: float,
    cuts: list[int],
) -> None:
    folder = tmp_path_factory.mktemp("asof")
    ends = [0, *sorted(cuts), len(rows)]
    for n, (start, end) in enumerate(itertools.pairwise(ends)):
        one = features(folder / f"day={n}" / "part-0.parquet", rows[start:end])
    table = dataclasses.replace(one, path=folder, ttl=timedelta(hours=ttl) if ttl else None)
    frame = entities(asked)
    joined = point_in_time_join(
        frame, "event_timestamp", [table], known_only=known_only, memory_limit_mb=memory_limit_mb
    )
    assert joined.drop("value").equals(frame), "every row stays, in order"
    assert joined["value"].to_list() == brute(asked, rows, ttl, known_only)


@pytest.mark.parametrize("known_only", [False, True])
def test_many_batches_give_the_same_as_one(tmp_path: Path, known_only: bool) -> None:
    rows = [(f"k{n % 101}", n % 3, n % 500 / 10, n * 7 % 500 / 10, n) for n in range(5000)]
    asked = [(f"k{n % 120}", n % 3, n % 60) for n in range(2000)]
    table = features(tmp_path / "view.parquet", rows)
    assert batch_rows(table, 0.02) < 200
    one, many = (
        point_in_time_join(
            entities(asked), "event_timestamp", [table], known_only=known_only, memory_limit_mb=mb
        )
        for mb in (1024, 0.08)
    )
    assert many.equals(one)
    assert one["value"].null_count() < len(one)


@pytest.mark.parametrize("known_only", [False, True])
def test_keys_and_times_too_wide_to_share_a_number(tmp_path: Path, known_only: bool) -> None:
    """As with billions of keys: here some keys over a hundred thousand years."""
    far = 876_000_000  # hours, as integers below: no Python date is that late
    rows = [(f"k{n % 31}", n % 3, n % 50, n * 7 % 50, n) for n in range(900)]
    asked = [(f"k{n % 40}", n % 3, n % 60) for n in range(500)]
    table = features(tmp_path / "view.parquet", rows)
    late = entities([("k0", 0, 0)]).with_columns(
        event_timestamp=pl.lit(far * 3_600_000_000).cast(TIME)
    )
    frame = pl.concat([entities(asked), late])
    codes = frame.select("a", "b").unique().height
    assert codes * far * 3_600_000_000 > 2**63
    joined = point_in_time_join(frame, "event_timestamp", [table], known_only=known_only)
    assert joined["value"].to_list()[:-1] == brute(asked, rows, None, known_only)


@pytest.mark.parametrize("known_only", [False, True])
def test_moments_that_crowd_and_one_far_away(tmp_path: Path, known_only: bool) -> None:
    """Nearly all moments share a slot; they must be told apart none the less."""
    rows = [("x", n % 3, n / 1000, n * 7 % 900 / 1000, n) for n in range(900)]
    asked = [("x", n % 4, n * 13 % 950 / 1000) for n in range(500)] + [("x", 1, 80_000)]
    joined = point_in_time_join(
        entities(asked), "event_timestamp", [features(tmp_path / "v.parquet", rows)],
        known_only=known_only,
    )  # fmt: skip
    assert joined["value"].to_list() == brute(asked, rows, None, known_only)


@pytest.mark.parametrize(
    ("dtype", "spread"),
    [(pl.Int64, 1), (pl.Int64, 10**9), (pl.Int32, 10**7), (pl.UInt16, 1000), (pl.UInt64, 10**9)],
)
def test_integer_keys_near_and_far(tmp_path: Path, dtype: Any, spread: int) -> None:
    numbers = [n * spread for n in (1, 2, 3, 5, 60)]
    if dtype == pl.Int64:
        numbers[0] = -numbers[0]
    table = features(
        tmp_path / "view.parquet", [("x", n, 1, 1, n) for n in numbers], keys={"b": "b"}
    )
    ours = pl.Series("b", [*numbers, None, numbers[-1] - 1]).cast(dtype, strict=False)
    frame = entities([("x", 1, 5)] * len(ours)).with_columns(b=ours)
    joined = point_in_time_join(frame, "event_timestamp", [table])
    assert joined["value"].to_list() == [*numbers, None, None]


def test_files_may_differ_in_order_width_and_later_columns(tmp_path: Path) -> None:
    table = features(tmp_path / "view" / "day=1" / "part-0.parquet", [("x", 1, 1, 1, 10)])
    pushed = tmp_path / "view" / "day=1" / "push-7.parquet"
    late = pl.DataFrame(
        {"made": [at(2)], "value": [20], "ts": [at(2)], "b": [1], "a": ["x"], "new": ["n"]}
    ).cast({"value": pl.Int32, "b": pl.Int32, "ts": pl.Datetime("ms", "UTC")})
    late.write_parquet(pushed)
    (tmp_path / "view" / "day=1" / ".push-8.parquet").write_bytes(b"being written")
    table = dataclasses.replace(
        table, path=tmp_path / "view", features={"value": "value", "new": "new"}
    )
    frame = entities([("x", 1, 1), ("x", 1, 2)])
    joined = point_in_time_join(frame, "event_timestamp", [table])
    assert joined["value"].to_list() == [10, 20]
    assert joined["new"].to_list() == [None, "n"], "older files lack the column: null"


def test_empty_frames_and_tables(tmp_path: Path) -> None:
    empty = features(tmp_path / "empty.parquet", [])
    assert point_in_time_join(entities([("x", 1, 1)]), "event_timestamp", [empty])[
        "value"
    ].to_list() == [None]
    full = features(tmp_path / "full.parquet", [("x", 1, 1, 1, 10)])
    joined = point_in_time_join(entities([]), "event_timestamp", [full])
    assert joined.shape == (0, 4)
    assert joined.schema["value"] == pl.Int64
    nobody = point_in_time_join(entities([(None, 1, 5)]), "event_timestamp", [full])
    assert nobody["value"].to_list() == [None]


@pytest.mark.parametrize(("microseconds", "value"), [(0, 10), (1, None), (-1, 10)])
def test_a_value_exactly_as_old_as_its_ttl_still_counts(
    tmp_path: Path, microseconds: int, value: int | None
) -> None:
    table = features(tmp_path / "v.parquet", [("x", 1, 1, 1, 10)], ttl=timedelta(hours=2))
    frame = entities([("x", 1, 3)]).with_columns(
        pl.col("event_timestamp") + pl.duration(microseconds=microseconds)
    )
    assert point_in_time_join(frame, "event_timestamp", [table])["value"].to_list() == [value]


@pytest.mark.parametrize("memory_limit_mb", [1024.0, 0.0001])
@pytest.mark.parametrize("known_only", [False, True])
def test_of_one_moment_the_row_created_last_counts(
    tmp_path: Path, known_only: bool, memory_limit_mb: float
) -> None:
    made = [3, 5, 4, 5, 2]  # of the two created at 5 the later one in the table counts
    rows = [("x", 1, 1, c, n) for n, c in enumerate(made)]
    joined = point_in_time_join(
        entities([("x", 1, 4), ("x", 1, 9)]),
        "event_timestamp",
        [features(tmp_path / "v.parquet", rows)],
        known_only=known_only,
        memory_limit_mb=memory_limit_mb,
    )
    assert joined["value"].to_list() == [2 if known_only else 3, 3]


def test_without_creation_times_a_row_counts_as_known_from_its_own_time_on(tmp_path: Path) -> None:
    long_ago = -60 * 8_766  # hours, about 1966: before the epoch that times are counted from
    table = features(tmp_path / "v.parquet", [("x", 1, long_ago, 0, 10)], created=None)
    frame = entities([("x", 1, long_ago + 1), ("x", 1, long_ago - 1)])
    joined = point_in_time_join(frame, "event_timestamp", [table], known_only=True)
    assert joined["value"].to_list() == [10, None]


def test_a_row_of_the_same_moment_counts_and_one_after_it_does_not(tmp_path: Path) -> None:
    moment = features(tmp_path / "v.parquet", [("x", 1, 1, 1, 10)])
    frame = entities([("x", 1, 1), ("x", 1, 1)]).with_columns(
        pl.col("event_timestamp") + pl.Series([0, -1]).cast(pl.Duration("us"))
    )
    assert point_in_time_join(frame, "event_timestamp", [moment])["value"].to_list() == [10, None]


def test_a_file_replaced_while_it_is_read_is_named(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    assert len(table.files) == 1
    features(tmp_path / "other.parquet", [("x", 1, 1, 1, 11)]).path.replace(table.path)
    with pytest.raises(JoinError, match=r"view\.parquet was replaced while it was read; ask again"):
        point_in_time_join(entities([("x", 1, 1)]), "event_timestamp", [table])


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
