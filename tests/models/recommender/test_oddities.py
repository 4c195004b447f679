"""The sentences on odd data, each with its count."""

from datetime import UTC, datetime

import polars as pl

from models.recommender.interactions import Interactions
from models.recommender.oddities import oddities
from models.recommender.splits import LeaveOneOut


def told(rows: list[tuple[str, str, int]]) -> list[str]:
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "second"], orient="row").select(
        "user_id",
        "item_id",
        pl.lit(datetime(2026, 1, 1, tzinfo=UTC)).dt.cast_time_unit("us").alias("timestamp")
        + pl.duration(seconds="second"),
    )
    data = Interactions.from_frame(frame)
    parts = LeaveOneOut().split(data)
    known = parts.train | parts.validation
    return list(oddities(data, parts.train, known, parts.test, asked=int(parts.test.sum()) - 1))


def test_orderly_data_is_told_nothing_but_what_is_not_asked() -> None:
    (line,) = told([("a", "xyz"[n], n) for n in range(3)] + [("b", "zxy"[n], n) for n in range(3)])
    assert line.startswith("1 of 2 test interactions are not asked for")


def test_each_rule_that_applies_is_counted() -> None:
    rows = [(u, i, n) for u in "ab" for n, i in enumerate("xyz")]
    rows += [("lonely", "x", 5), ("a", "new", 9), ("b", "y", 1), ("b", "x", 1)]
    lines = "\n".join(told(rows))
    assert "2 interactions have the time of their user's one before" in lines
    assert "1 interactions repeat another's user, item and time" in lines
    assert "1 users have nothing held out" in lines
    assert "1 items occur in the test alone (such as new)" in lines
