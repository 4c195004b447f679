"""Freshness and completeness, of tables made for the purpose and of a real store."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from feature_repo.monitoring.completeness import empty_days
from feature_repo.monitoring.freshness import freshness_of
from feature_repo.monitoring.rows import Window, rows_of
from feature_repo.monitoring.sample import sample_online
from feature_repo.store import StoreError, open_store
from feature_repo.view import View
from feature_repo.views import ITEM_CONTENT, TELEMETRY_WINDOWS, USER_HISTORY

END = datetime(2026, 1, 1, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


def offline(
    store: Path,
    view: View,
    moments: list[datetime],
    created: datetime = END,
    name: str = "part-0.parquet",
) -> None:
    """One row a moment, each for another key, in the partition of its day."""
    for n, moment in enumerate(moments):
        day = f"day={moment:%Y-%m-%d}" if view.partitioned else "."
        path = view.folder(store) / day / (name if view.partitioned else f"part-{n}.parquet")
        path.parent.mkdir(parents=True, exist_ok=True)
        pl.DataFrame(
            {
                view.key: [f"k{n}"],
                view.features[0].name: [None],
                "event_timestamp": [moment],
                "created_timestamp": [created],
            }
        ).with_columns(
            pl.col("event_timestamp", "created_timestamp").cast(pl.Datetime("us", "UTC"))
        ).write_parquet(path)


def test_ages_against_the_promise(tmp_path: Path) -> None:
    offline(tmp_path, USER_HISTORY, [END - 5 * DAY, END - 30 * HOUR], created=END + HOUR)
    fresh = freshness_of(USER_HISTORY, tmp_path, END, END + 3 * HOUR, online=END - 31 * HOUR)
    assert fresh.offline_s == 30 * 3600
    assert fresh.online_s == 31 * 3600
    assert fresh.created_s == 2 * 3600
    assert fresh.slo_s == 48 * 3600
    assert not fresh.late
    later = freshness_of(USER_HISTORY, tmp_path, END + DAY, END, online=END)
    assert later.offline_s == 54 * 3600
    assert later.late


@pytest.mark.parametrize("online", [None, END - 3 * DAY])
def test_a_stale_online_store_breaks_the_promise(tmp_path: Path, online: datetime | None) -> None:
    offline(tmp_path, USER_HISTORY, [END - HOUR])
    assert freshness_of(USER_HISTORY, tmp_path, END, END, online).late


def test_a_row_of_the_future_is_no_fresh_row(tmp_path: Path) -> None:
    offline(tmp_path, USER_HISTORY, [END - 3 * DAY, END + DAY])
    fresh = freshness_of(USER_HISTORY, tmp_path, END, END, online=END)
    assert fresh.offline_s == 3 * 86400
    assert fresh.ahead == 1
    assert fresh.late


def test_no_rows_at_all(tmp_path: Path) -> None:
    fresh = freshness_of(USER_HISTORY, tmp_path, END, END, online=None)
    assert (fresh.offline_s, fresh.online_s, fresh.created_s) == (None, None, None)
    assert fresh.late


def test_days_without_rows(tmp_path: Path) -> None:
    offline(tmp_path, USER_HISTORY, [END - n * DAY for n in (9, 8, 5, 2)])
    expected = [(END - n * DAY).date() for n in (7, 6, 4, 3, 1)]
    assert empty_days(USER_HISTORY, tmp_path, END) == tuple(expected)
    noon = END + timedelta(hours=12)
    assert empty_days(USER_HISTORY, tmp_path, noon) == tuple(expected)  # today may still fill
    assert date(2026, 1, 1) in empty_days(USER_HISTORY, tmp_path, END + DAY)


def test_views_without_days_have_no_empty_ones(tmp_path: Path) -> None:
    offline(tmp_path, ITEM_CONTENT, [END - 9 * DAY])
    assert empty_days(ITEM_CONTENT, tmp_path, END) == ()
    assert empty_days(USER_HISTORY, tmp_path, END) == ()


def test_rows_of_a_window(tmp_path: Path) -> None:
    offline(tmp_path, USER_HISTORY, [END - n * DAY for n in range(10)])
    rows = rows_of(USER_HISTORY, tmp_path, Window(END - 3 * DAY, END), 100)
    assert sorted(rows["event_timestamp"]) == [END - 2 * DAY, END - DAY, END]
    assert "length" in rows.columns
    assert rows["length"].null_count() == 3
    few = rows_of(USER_HISTORY, tmp_path, Window(END - 30 * DAY, END), 4)
    assert 1 < len(few) <= 4
    none = rows_of(USER_HISTORY, tmp_path, Window(END - 90 * DAY, END - 60 * DAY), 100)
    assert none.is_empty()
    assert "item_ids" in none.columns


def test_a_catalog_is_looked_at_as_of_a_moment(tmp_path: Path) -> None:
    offline(tmp_path, ITEM_CONTENT, [END - 90 * DAY, END - DAY])
    before = rows_of(ITEM_CONTENT, tmp_path, Window(END - 30 * DAY, END - 7 * DAY), 100)
    after = rows_of(ITEM_CONTENT, tmp_path, Window(END - 7 * DAY, END), 100)
    assert sorted(before["item_id"]) == ["k0"]
    assert sorted(after["item_id"]) == ["k0", "k1"]


def test_a_half_written_file_is_named(tmp_path: Path) -> None:
    offline(tmp_path, USER_HISTORY, [END - DAY])
    file = next(USER_HISTORY.folder(tmp_path).rglob("*.parquet"))
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(StoreError, match=r"user_history: offline rows cannot be read"):
        rows_of(USER_HISTORY, tmp_path, Window(END - 3 * DAY, END), 100)
    with pytest.raises(StoreError, match="user_history"):
        freshness_of(USER_HISTORY, tmp_path, END, END, END)


def test_the_online_store_has_what_was_published(marketplace: Path) -> None:
    folder = marketplace / "data" / "features"
    sample = sample_online(open_store(folder), USER_HISTORY, folder, 50)
    assert sample.keys == 50
    assert sample.missing == 0
    rows = pl.scan_parquet(USER_HISTORY.folder(folder) / "**" / "*.parquet")
    newest = rows.select(pl.col("event_timestamp").max()).collect().item()
    assert sample.newest == newest


def test_what_lies_beyond_its_ttl_is_counted_as_stale_and_not_as_missing(marketplace: Path) -> None:
    folder = marketplace / "data" / "features"
    sample = sample_online(open_store(folder), TELEMETRY_WINDOWS, folder, 50)
    assert sample.keys == sample.stale == 4
    assert sample.missing == 0


def test_keys_that_are_missing_online_are_named(copied: Callable[[], Path]) -> None:
    folder = copied() / "data" / "features"
    with sqlite3.connect(folder / "online.db") as database:
        tables = [
            name
            for (name,) in database.execute("select name from sqlite_master where type='table'")
            if name.endswith("user_history")
        ]
        database.execute(f"delete from {tables[0]} where rowid % 3 = 0")
    sample = sample_online(open_store(folder), USER_HISTORY, folder, 60)
    assert 0 < sample.missing < 60
    assert all(key.startswith("u") for key in sample.examples)


def test_an_online_store_that_is_down_is_a_finding(copied: Callable[[], Path]) -> None:
    folder = copied() / "data" / "features"
    config = folder / "feature_store.yaml"
    text = config.read_text()
    config.write_text(
        text.replace("SqliteOnlineStore", "RedisOnlineStore").replace(
            f"path: {folder / 'online.db'}", "connection_string: 127.0.0.1:1"
        )
    )
    sample = sample_online(open_store(folder), USER_HISTORY, folder, 10)
    assert (sample.keys, sample.newest) == (0, None)
    assert "Connection" in sample.error


def test_an_unknown_version_of_a_view_has_no_keys(marketplace: Path) -> None:
    folder = marketplace / "data" / "features"
    assert sample_online(None, replace(USER_HISTORY, version=7), folder, 5).keys == 0
