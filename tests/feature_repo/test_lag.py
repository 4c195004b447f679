"""A view that nobody computes any more is named, however fresh the others are."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from feature_repo.computation import WHOLE, computations
from feature_repo.lag import Behind, behind
from feature_repo.metadata import connect
from feature_repo.sources import Partition

DAYS = {n: date(2026, 1, n) for n in range(1, 10)}


class Raw:
    """A raw table that has rows on some days of January."""

    def __init__(self, *days: int) -> None:
        self.days = days

    def partitions(self) -> dict[date, Partition]:
        return {DAYS[n]: Partition(1, "x") for n in self.days}


TABLES: dict[str, Any] = {
    "events": Raw(1, 2, 5, 9),
    "interactions": Raw(1, 2, 5, 9),
    "reviews": Raw(1, 2),
    "items": Raw(),
}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Computed up to the 7th: all that there is."""
    settings = {"registry": {"path": f"sqlite:///{tmp_path / 'registry.db'}"}}
    (tmp_path / "feature_store.yaml").write_text(json.dumps(settings))
    computed = {"user_statistics": 7, "item_statistics": 7, "user_history": 5,
                "item_review_sentiment": 2}  # fmt: skip
    with connect(tmp_path).begin() as connection:
        for view, day in [*((v, DAYS[n]) for v, n in computed.items()), ("item_content", WHOLE)]:
            connection.execute(
                computations.insert().values(
                    view=view, day=day, fingerprint="x", code_hash="x", rows=1, rejected=0,
                    computed_at=datetime.now(UTC),
                )
            )  # fmt: skip
    return tmp_path


VIEWS = ("user_history", "user_statistics", "item_statistics", "item_content",
         "item_review_sentiment", "purchase_context")  # fmt: skip


def test_a_view_is_behind_only_if_its_own_raw_data_go_further(store: Path) -> None:
    assert behind(store, VIEWS, TABLES, DAYS[7]) == []
    # On the 6th to the 8th nothing happened: only what looks back changes.
    late = [
        Behind("user_statistics", DAYS[7], DAYS[8]),
        Behind("item_statistics", DAYS[7], DAYS[8]),
    ]
    assert behind(store, VIEWS, TABLES, DAYS[8]) == late
    assert behind(store, ["item_statistics"], TABLES, DAYS[8]) == late[1:]
    assert behind(store, VIEWS, {"items": Raw()}, DAYS[8]) == [], "no raw data, nothing due"


def test_one_stale_view_among_fresh_ones_is_named(store: Path) -> None:
    with connect(store).begin() as connection:
        mine = computations.c.view == "item_statistics"
        connection.execute(computations.update().where(mine).values(day=DAYS[4]))
    [late] = behind(store, VIEWS, TABLES, DAYS[7])
    assert str(late) == "item_statistics (computed up to 2026-01-04, due up to 2026-01-07)"


@pytest.mark.parametrize("view", ["item_content", "user_history"])
def test_a_view_that_was_never_computed_is_named(store: Path, view: str) -> None:
    with connect(store).begin() as connection:
        connection.execute(computations.delete().where(computations.c.view == view))
    [late] = behind(store, VIEWS, TABLES, DAYS[7])
    assert str(late) == f"{view} (never computed)"
