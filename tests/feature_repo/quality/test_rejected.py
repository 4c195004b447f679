"""What lies in quarantine, counted and shown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from feature_repo.quality.rejected import newest, rejected, summary
from feature_repo.quality.rules import quarantine
from feature_repo.store import StoreError
from feature_repo.views import USER_COUNTERS

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)


def bad(*rules: list[str]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "user_id": [f"u{n}" for n in range(len(rules))],
            "reason": ["; ".join(r) for r in rules],
            "broken": list(rules),
        },
        schema_overrides={"broken": pl.List(pl.String)},
    )


def test_nothing(tmp_path: Path) -> None:
    assert rejected(tmp_path, USER_COUNTERS, NOW) == (0, 0, None)
    assert summary(tmp_path, USER_COUNTERS).is_empty()
    assert newest(tmp_path, USER_COUNTERS, 5).is_empty()


def test_counts_and_rules(tmp_path: Path) -> None:
    old, young = NOW - timedelta(days=3), NOW - timedelta(hours=1)
    quarantine(tmp_path, USER_COUNTERS, bad(["views >= 0"], ["views >= 0", "spend finite"]), old)
    quarantine(tmp_path, USER_COUNTERS, bad(["views >= 0"]), young)
    assert rejected(tmp_path, USER_COUNTERS, NOW) == (3, 1, young)
    rules = summary(tmp_path, USER_COUNTERS)
    assert rules.rows() == [("views >= 0", 3, old, young), ("spend finite", 1, old, old)]
    last = newest(tmp_path, USER_COUNTERS, 2)
    assert list(last["rejected_at"]) == [young, old]


def test_files_of_another_hand_are_counted_too(tmp_path: Path) -> None:
    folder = tmp_path / "quarantine" / "user_counters"
    folder.mkdir(parents=True)
    bad(["x"]).drop("broken").write_parquet(folder / "by_hand.parquet")
    assert rejected(tmp_path, USER_COUNTERS, datetime.now(UTC)).recent == 1
    assert list(summary(tmp_path, USER_COUNTERS)["rule"]) == ["x"]


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    path = quarantine(tmp_path, USER_COUNTERS, bad(["x"]), NOW)
    path.write_bytes(b"PAR1")
    for look in (summary, lambda s, v: rejected(s, v, NOW)):
        with pytest.raises(StoreError, match=path.name):
            look(tmp_path, USER_COUNTERS)
