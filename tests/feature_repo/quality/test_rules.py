"""Rules on write: what is rejected, and what its reason says."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.quality.admission import admit
from feature_repo.quality.comparisons import RuleError, columns, expression
from feature_repo.quality.rules import check, quarantine
from feature_repo.quality.schema import schema
from feature_repo.view import View
from feature_repo.views import (
    ITEM_CONTENT,
    TELEMETRY_WINDOWS,
    USER_COUNTERS,
    USER_HISTORY,
    USER_STATISTICS,
    VIEWS,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def counters(**columns: list[object]) -> pl.DataFrame:
    rows = max((len(v) for v in columns.values()), default=1)
    base: dict[str, list[object]] = {
        "user_id": [f"u{n}" for n in range(rows)],
        "views": [3] * rows,
        "adds": [1] * rows,
        "orders": [1] * rows,
        "spend": [9.5] * rows,
        "event_timestamp": [NOW] * rows,
        "created_timestamp": [NOW] * rows,
    }
    moment = pl.Datetime("us", "UTC")
    return pl.DataFrame({**base, **columns}, strict=False).with_columns(
        pl.col("event_timestamp", "created_timestamp").cast(moment)
    )


def reasons(view: View, frame: pl.DataFrame) -> list[str]:
    return list(check(view, frame)[1]["reason"])


def test_good_rows_pass_unchanged() -> None:
    frame = counters(views=[1, 2, 3])
    good, bad = check(USER_COUNTERS, frame)
    assert good.equals(frame)
    assert bad.is_empty()
    assert {"reason", "broken"} <= set(bad.columns)


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("user_id", None, "user_id = null breaks user_id is not null"),
        ("views", None, "views = null breaks views is not null"),
        ("views", -3, "views = -3 breaks views >= 0"),
        ("spend", math.nan, "spend = NaN breaks spend finite"),
        ("spend", math.inf, "spend = inf breaks spend finite"),
        ("spend", -math.inf, "spend = -inf breaks spend finite; spend = -inf breaks spend >= 0"),
        ("event_timestamp", None, "event_timestamp = null breaks event_timestamp is not null"),
    ],
)
def test_a_reason_names_column_value_and_rule(column: str, value: object, reason: str) -> None:
    frame = counters(**{column: [counters()[column][0], value]})
    good, bad = check(USER_COUNTERS, frame)
    assert list(bad["reason"]) == [reason]
    assert len(good) == 1


def test_a_row_that_breaks_several_rules_names_them_all() -> None:
    (bad,) = check(USER_COUNTERS, counters(views=[-1], spend=[math.nan]))[1].iter_rows(named=True)
    assert bad["reason"] == "views = -1 breaks views >= 0; spend = NaN breaks spend finite"
    assert bad["broken"] == ["views >= 0", "spend finite"]


def test_highest_and_allowed() -> None:
    price = replace(ITEM_CONTENT.features[-1], highest=100.0)
    category = replace(ITEM_CONTENT.features[2], allowed=("shoes", "hats"))
    view = replace(ITEM_CONTENT, features=(category, price))
    frame = pl.DataFrame(
        {
            "item_id": ["a", "b", "c"],
            "category": ["shoes", "cars", "hats"],
            "price": [1.0, 2.0, 101.0],
            "event_timestamp": [NOW] * 3,
        }
    ).with_columns(pl.col("event_timestamp").cast(pl.Datetime("us", "UTC")))
    assert reasons(view, frame) == [
        "category = cars breaks category one of shoes, hats",
        "price = 101.0 breaks price <= 100",
    ]


def statistics(**values: float) -> pl.DataFrame:
    row = {f.name: values.get(f.name, 0) for f in USER_STATISTICS.features}
    frame = pl.DataFrame([{"user_id": "u1", **row, "event_timestamp": NOW}])
    return frame.with_columns(
        pl.col("event_timestamp").cast(pl.Datetime("us", "UTC")),
        pl.col("^spend.*$").cast(pl.Float64),
    )


def test_a_rule_across_columns() -> None:
    assert reasons(USER_STATISTICS, statistics(views_1d=9, views_7d=3, views_30d=9)) == [
        "views_1d = 9, views_7d = 3, views_30d = 9 breaks views_1d <= views_7d <= views_30d"
    ]
    assert reasons(
        USER_STATISTICS, statistics(active_days_1d=2, active_days_7d=2, active_days_30d=2)
    ) == ["active_days_1d = 2 breaks active_days_1d <= 1"]


def test_what_is_no_number_breaks_one_rule_and_no_comparison() -> None:
    frame = statistics(spend_1d=1, spend_7d=math.nan, spend_30d=2)
    assert reasons(USER_STATISTICS, frame) == ["spend_7d = NaN breaks spend_7d finite"]


def test_sums_that_differ_by_rounding_keep_the_rule() -> None:
    total = sum([0.1] * 10)  # not 1.0
    frame = statistics(spend_1d=1.0, spend_7d=total, spend_30d=total)
    assert total != 1.0
    assert reasons(USER_STATISTICS, frame) == []


def test_lists() -> None:
    frame = pl.DataFrame(
        {
            "user_id": ["a", "b", "c", "d"],
            "item_ids": [["x"], ["x", None], ["x", "y"], []],
            "length": [5, 2, 1, 1],
            "event_timestamp": [NOW] * 4,
        }
    ).with_columns(pl.col("event_timestamp").cast(pl.Datetime("us", "UTC")))
    assert reasons(USER_HISTORY, frame) == [
        "item_ids = [x] breaks item_ids no null inside",
        "item_ids = [x, y], length = 1 breaks 1 <= len(item_ids) <= length",
        "item_ids = [], length = 1 breaks 1 <= len(item_ids) <= length",
    ]


def test_a_long_value_is_shortened() -> None:
    frame = pl.DataFrame(
        {
            "item_id": [None],
            "title": ["t"],
            "description": ["d"],
            "category": ["c"],
            "brand": ["b" * 500],
            "price": [1.0],
            "event_timestamp": [NOW],
        },
        schema_overrides={"item_id": pl.String},
    ).with_columns(pl.col("event_timestamp").cast(pl.Datetime("us", "UTC")))
    view = replace(
        ITEM_CONTENT,
        features=tuple(
            replace(f, allowed=("b",)) if f.name == "brand" else f for f in ITEM_CONTENT.features
        ),
    )
    assert max(len(r) for r in reasons(view, frame)) < 200


@pytest.mark.parametrize("view", VIEWS, ids=lambda v: v.full_name)
def test_every_shipped_rule_can_be_read(view: View) -> None:
    schema(view)
    names = {f.name for f in view.features}
    for rule in view.rules:
        assert set(columns(rule)) <= names


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("view <= adds", r"no feature 'view'; nearest: views"),
        ("views", "is no comparison"),
        ("views <= ", "is no comparison"),
        ("views ~ adds", "is no comparison"),
    ],
)
def test_a_wrong_rule_is_named(rule: str, message: str) -> None:
    with pytest.raises(RuleError, match=message):
        expression(rule, {"views", "adds"})


def test_a_frame_of_another_type_is_named() -> None:
    frame = counters().with_columns(pl.col("views").cast(pl.String))
    with pytest.raises(RuleError, match=r"user_counters.*'views'.*Int64.*String"):
        check(USER_COUNTERS, frame)
    with pytest.raises(RuleError, match=r"user_counters.*spend"):
        check(USER_COUNTERS, counters().drop("spend"))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.none(), st.integers(-2, 5)),
            st.one_of(st.none(), st.floats(width=32)),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_check_parts_the_rows_as_a_loop_would(rows: list[tuple[int | None, float | None]]) -> None:
    frame = counters(views=[v for v, _ in rows], spend=[s for _, s in rows]).with_columns(
        pl.col("views").cast(pl.Int64), pl.col("spend").cast(pl.Float64)
    )
    good, bad = check(USER_COUNTERS, frame)
    fine = [
        f"u{n}"
        for n, (v, s) in enumerate(rows)
        if v is not None and v >= 0 and s is not None and math.isfinite(s) and s >= 0
    ]
    assert list(good["user_id"]) == fine
    assert len(good) + len(bad) == len(rows)
    assert not bad["reason"].is_null().any()
    assert (bad["broken"].list.len() > 0).all()


def test_quarantine_keeps_rows_of_one_moment_apart(tmp_path: Path) -> None:
    _, bad = check(USER_COUNTERS, counters(views=[-1]))
    paths = {quarantine(tmp_path, USER_COUNTERS, bad, NOW) for _ in range(3)}
    assert len(paths) == 3
    assert all(p.parent == tmp_path / "quarantine" / "user_counters" for p in paths)
    assert pl.read_parquet(next(iter(paths)))["reason"].item() == "views = -1 breaks views >= 0"


def test_pushed_rows_pass_the_same_rules(tmp_path: Path) -> None:
    rows = counters(views=["4", "-1", "many"]).drop("created_timestamp")
    later = NOW + timedelta(hours=1)
    admitted = admit(tmp_path, USER_COUNTERS, rows, later)
    assert list(admitted.good["views"]) == [4]
    assert admitted.good["created_timestamp"].item() == later
    assert list(admitted.bad["reason"]) == [
        "views = -1 breaks views >= 0",
        "views = many is no Int64",
    ]
    assert admitted.path is not None
    kept = pl.read_parquet(admitted.path)
    assert kept.equals(admitted.bad)
    assert list(kept["broken"].explode()) == ["views >= 0", "views is Int64"]


def test_a_fraction_is_not_made_whole_silently(tmp_path: Path) -> None:
    admitted = admit(tmp_path, USER_COUNTERS, counters(views=[2.0, 2.5]), NOW)
    assert list(admitted.good["views"]) == [2]
    assert list(admitted.bad["reason"]) == ["views = 2.5 is no Int64"]


def test_good_pushes_leave_no_quarantine(tmp_path: Path) -> None:
    admitted = admit(tmp_path, USER_COUNTERS, counters(), NOW)
    assert admitted.path is None
    assert not (tmp_path / "quarantine").exists()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (counters().with_columns(viewz=1), r"no column 'viewz'; nearest: views"),
        (counters().drop("spend"), r"user_counters lack spend"),
        (
            counters().with_columns(pl.col("event_timestamp").dt.replace_time_zone(None)),
            "must be a time with a zone",
        ),
        (
            counters().with_columns(pl.col("event_timestamp").dt.cast_time_unit("ns")),
            "nanoseconds",
        ),
        (counters().with_columns(views=[[1]]), "views is List.*it must be Int64"),
        (counters().with_columns(event_timestamp=pl.lit("today")), "must be a time with a zone"),
    ],
    ids=["unknown", "missing", "naive", "nanoseconds", "list", "text"],
)
def test_a_wrong_push_is_named(tmp_path: Path, rows: pl.DataFrame, message: str) -> None:
    with pytest.raises(RuleError, match=message):
        admit(tmp_path, USER_COUNTERS, rows, NOW)
    assert not (tmp_path / "quarantine").exists()


def test_views_with_a_mean_and_a_maximum_relate_them() -> None:
    assert "cpu_mean_15m <= cpu_max_15m <= cpu_max_60m" in TELEMETRY_WINDOWS.rules
