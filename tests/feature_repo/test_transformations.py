"""Each transformation against rows worked out by hand."""

from __future__ import annotations

from datetime import UTC, datetime

import ibis
import polars as pl
import pytest

from feature_repo.transformations.item_statistics import item_statistics
from feature_repo.transformations.user_history import user_history
from feature_repo.transformations.user_statistics import user_statistics


def at(day: int, hour: int = 12) -> datetime:
    return datetime(2025, 12, day, hour, tzinfo=UTC)


@pytest.fixture(scope="module")
def events() -> ibis.Table:
    rows = [
        ("ann", "lamp", "Product Viewed", 10.0, None, at(1)),
        ("ann", "lamp", "Product Added", 10.0, 2, at(1, 13)),
        ("ann", "lamp", "Order Completed", 10.0, 2, at(1, 14)),
        ("bob", "lamp", "Product Viewed", 10.0, None, at(1)),
        ("ann", None, "Experiment Viewed", None, None, at(3)),
        ("ann", "tent", "Product Viewed", 99.5, None, at(3)),
        ("ann", "tent", "Order Completed", 99.5, 1, at(3, 20)),
        (None, "tent", "Product Viewed", 99.5, None, at(3)),
    ]
    frame = pl.DataFrame(
        rows,
        schema={
            "user_id": pl.String,
            "item_id": pl.String,
            "event": pl.String,
            "price": pl.Float64,
            "quantity": pl.Int64,
            "timestamp": pl.Datetime("us", "UTC"),
        },
        orient="row",
    )
    return ibis.memtable(frame.to_arrow())


def rows(table: ibis.Table, *order: str) -> list[dict[str, object]]:
    return list(table.order_by(*order).to_pyarrow().to_pylist())


def test_user_statistics_are_totals_known_the_next_midnight(events: ibis.Table) -> None:
    found = rows(user_statistics(events), "user_id", "event_timestamp")
    named = [(r["user_id"], r["views"], r["adds"], r["orders"], r["spend"]) for r in found]
    assert named == [
        ("ann", 1, 1, 1, 20.0),
        ("ann", 2, 1, 2, 119.5),
        ("bob", 1, 0, 0, 0.0),
    ]
    assert [r["active_days"] for r in found] == [1, 2, 1]
    assert [r["event_timestamp"].day for r in found] == [2, 4, 2]  # type: ignore[attr-defined]
    assert all(r["event_timestamp"].hour == 0 for r in found)  # type: ignore[attr-defined]


def test_item_statistics_count_visitors_without_a_user_id(events: ibis.Table) -> None:
    found = rows(item_statistics(events), "item_id")
    assert [
        (r["item_id"], r["times_viewed"], r["times_ordered"], r["conversion"]) for r in found
    ] == [
        ("lamp", 2, 1, 0.5),
        ("tent", 2, 1, 0.5),
    ]


def interactions(rows_: list[tuple[str, str, datetime]]) -> ibis.Table:
    frame = pl.DataFrame(
        rows_,
        schema={
            "user_id": pl.String,
            "item_id": pl.String,
            "timestamp": pl.Datetime("us", "UTC"),
        },
        orient="row",
    ).with_row_index("position")
    return ibis.memtable(frame.with_columns(pl.col("position").cast(pl.Int64)).to_arrow())


def test_history_keeps_the_last_items_in_order_and_counts_all() -> None:
    table = interactions(
        [
            ("ann", "a", at(1, 8)),
            ("ann", "b", at(1, 9)),
            ("ann", "c", at(2, 7)),
            ("ann", "c", at(2, 7)),
            ("ann", "d", at(5, 1)),
            ("bob", "z", at(2, 2)),
        ]
    )
    found = rows(user_history(table, 3), "user_id", "event_timestamp")
    assert [(r["user_id"], r["item_ids"], r["length"]) for r in found] == [
        ("ann", ["a", "b"], 2),
        ("ann", ["b", "c", "c"], 4),
        ("ann", ["c", "c", "d"], 5),
        ("bob", ["z"], 1),
    ]
    assert found[0]["event_timestamp"] == at(1, 9)


def test_touches_of_one_moment_keep_the_order_in_which_they_came() -> None:
    table = interactions([("ann", item, at(1)) for item in "qwertyuiop"])
    (only,) = rows(user_history(table, 100), "user_id")
    assert only["item_ids"] == list("qwertyuiop")


def test_a_history_knows_nothing_of_the_future() -> None:
    """Every row equals the history computed from what had happened by its moment alone."""
    touches = [(f"u{n % 7}", f"i{n * 31 % 19}", at(1 + n // 20, n % 20)) for n in range(200)]
    touches.sort(key=lambda t: t[2])
    for row in rows(user_history(interactions(touches), 5), "user_id", "event_timestamp"):
        known = [
            t[1]
            for t in touches
            if t[0] == row["user_id"] and t[2] <= row["event_timestamp"]  # type: ignore[operator]
        ]
        assert row["item_ids"] == known[-5:]
        assert row["length"] == len(known)
