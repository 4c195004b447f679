"""Events to labelled impressions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from pipelines.impressions import Impressions, ImpressionsError

START = datetime(2026, 1, 1, tzinfo=UTC)
EVENTS = [  # id, event, user, session, item, seconds
    ("m1", "Product Viewed", "u1", "s1", "a", 0),
    ("m2", "Product Viewed", "u1", "s1", "b", 10),
    ("m3", "Product Viewed", "u1", "s1", "a", 20),
    ("m4", "Product Added", "u1", "s1", "a", 30),  # answers m3, the last showing
    ("m5", "Product Added", "u2", "s2", "b", 30),  # another user's
    ("m6", "Product Viewed", "u2", "s2", "c", 40),
    ("m7", "Order Completed", "u2", "s2", "c", 140),  # too late for 60 seconds
    ("m7", "Order Completed", "u2", "s2", "c", 140),  # delivered twice
    ("m8", "Product Viewed", "u3", None, "d", 150),  # no session is a session, too
    ("m9", "Order Completed", "u3", None, "d", 160),
    ("m10", "Product Viewed", "u1", "s3", "a", 200),  # its answer may still be missing
    ("m11", "Product Viewed", None, "s4", "a", 210),  # nobody
    ("m12", "Product Clicked", "u1", "s3", "a", 230),
]


def warehouse(folder: Path, events: list[tuple[object, ...]] = EVENTS) -> Path:  # type: ignore[assignment]
    names = ["message_id", "event", "user_id", "session_id", "item_id", "second"]
    frame = pl.DataFrame(events, schema=names, orient="row")
    moment = (pl.lit(START) + pl.duration(seconds="second")).cast(pl.Datetime("us", "UTC"))
    path = folder / "events" / "date=2026-01-01"
    path.mkdir(parents=True)
    frame.with_columns(moment.alias("timestamp"), pl.lit(9.5).alias("price")).write_parquet(
        path / "part-0.parquet"
    )
    return folder


def impressions(folder: Path, **more: object) -> Impressions:
    settings = {"shown": "Product Viewed", "positive": ["Product Added", "Order Completed"],
                "within_s": 60}  # fmt: skip
    return Impressions(folder, **{**settings, **more})  # type: ignore[arg-type]


def test_the_last_showing_is_answered_within_the_time(tmp_path: Path) -> None:
    rows = impressions(warehouse(tmp_path)).read()
    assert rows.select("impression_id", "label").rows() == [
        ("m1", 0), ("m2", 0), ("m3", 1), ("m6", 0), ("m8", 1),
    ]  # fmt: skip
    assert rows["offered_price"].to_list() == [9.5] * 5
    assert rows["shown_at"][2] == START + timedelta(seconds=20)
    assert (rows["shown_at"] - rows["event_timestamp"]).unique().to_list() == [
        timedelta(microseconds=1)
    ], "what is shown is not yet in the history"


def test_a_longer_time_takes_later_answers(tmp_path: Path) -> None:
    rows = impressions(warehouse(tmp_path), within_s=100).read()
    assert dict(rows.select("impression_id", "label").rows())["m6"] == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shown": "Product Shown"}, r"no event Product Shown .*there are \['Order Completed'"),
        ({"positive": ["Coupon Applied"]}, "no event Coupon Applied"),
    ],
)
def test_kinds_that_do_not_occur(tmp_path: Path, change: dict[str, object], words: str) -> None:
    with pytest.raises(ImpressionsError, match=words):
        impressions(warehouse(tmp_path), **change).read()


def test_a_showing_keeps_what_was_touched_before_it(tmp_path: Path) -> None:
    more = [
        ("m13", "Product Viewed", "u1", "s1", "b", 15),  # again, right after m2
        ("m14", "Product Viewed", "u1", "s1", "z", 20),
    ]  # at the moment of m3, after it
    folder = warehouse(tmp_path, [*EVENTS, *more])  # type: ignore[list-item]
    rows = impressions(folder, touched=["Product Viewed"], recent=2).read()
    found = dict(rows.select("impression_id", "recent_items").rows())
    assert found == {
        "m1": [], "m2": ["a"], "m13": ["a", "b"], "m3": ["a", "b"], "m14": ["a", "b"],
        "m6": [], "m8": [],
    }  # fmt: skip
    rows = impressions(folder, touched=["Product Viewed"], recent=3, collapse_repeats=False).read()
    found = dict(rows.select("impression_id", "recent_items").rows())
    assert found["m3"] == ["a", "b", "b"]
    assert "recent_items" not in impressions(folder).read().columns


def test_no_events(tmp_path: Path) -> None:
    with pytest.raises(ImpressionsError, match="fill the warehouse first"):
        impressions(tmp_path).read()
