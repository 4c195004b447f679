"""Streamed events and batch must come to the same values, whatever the order and the repeats."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from feature_repo.governance.erasure import Erasure
from feature_repo.views import USER_HISTORY
from tests.feature_repo.streaming import market

USERS = [f"u{n}" for n in range(12)]


@pytest.fixture(scope="module")
def before() -> list[market.Row]:
    """What the warehouse has when the stream begins: some days, today's morning included."""
    return market.events(400, 10, range(-5, 1), seed=1)


@pytest.fixture(scope="module")
def streamed() -> list[market.Row]:
    """Mostly of today; some of the days before, two users that nobody has seen."""
    recent = market.events(500, 12, (-1, 0, 0, 0), seed=2, first=10_000)
    return recent + market.events(40, 12, (-4, -3, -2), seed=3, first=20_000)


@pytest.fixture(scope="module")
def truth(
    before: list[market.Row],
    streamed: list[market.Row],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Batch over all events, each once."""
    root = tmp_path_factory.mktemp("truth")
    market.write_warehouse(root / "data" / "warehouse", before + streamed)
    market.materialize(root)
    return root


@pytest.fixture
def root(before: list[market.Row], tmp_path: Path) -> Path:
    market.write_warehouse(tmp_path / "data" / "warehouse", before)
    market.materialize(tmp_path)
    return tmp_path


def batches(rows: list[market.Row], seed: int) -> list[list[market.Row]]:
    """Shuffled, a quarter of them twice or more, in batches of any size."""
    draw = random.Random(seed)
    rows = rows + draw.choices(rows, k=len(rows) // 4)
    draw.shuffle(rows)
    cut, found = 0, []
    while cut < len(rows):
        size = draw.randint(1, 60)
        found.append(rows[cut : cut + size])
        cut += size
    return found


@pytest.mark.parametrize("seed", [1, 2])
def test_shuffled_and_repeated_events_give_what_batch_gives(
    root: Path, truth: Path, streamed: list[market.Row], seed: int
) -> None:
    handler = market.stream(root)
    for batch in batches(streamed, seed):
        handler.handle(batch)
    handler.close()
    market.expect_equal(root, truth, USERS)
    assert sorted(market.landed(root)) == sorted(r["message_id"] for r in streamed)


def test_batch_sees_the_streamed_events_and_agrees(
    root: Path, truth: Path, streamed: list[market.Row]
) -> None:
    handler = market.stream(root)
    for batch in batches(streamed, 3):
        handler.handle(batch)
    handler.close()
    report = market.materialize(root)
    assert report["user_history"]["days"] == 5, "the days to which events came, and those after"
    market.expect_equal(root, truth, USERS)


def test_batch_in_between_and_events_that_are_in_the_warehouse_already(
    root: Path, truth: Path, streamed: list[market.Row]
) -> None:
    """A materialization between two batches, another writer of the warehouse, a new process."""
    some, rest = streamed[:300], streamed[300:]
    handler = market.stream(root)
    for batch in batches(some, 4):
        handler.handle(batch)
    handler.close()
    market.write_warehouse(root / "data" / "warehouse", some[:100], "etl-0")
    market.materialize(root)
    handler = market.stream(root, "task.handler.give_up_s=0")
    for batch in batches(rest + some[:50], 5):
        handler.handle(batch)
    handler._recover()
    handler.close()
    market.expect_equal(root, truth, USERS)


def test_events_further_behind_than_the_journal_looks_wait_for_batch(tmp_path: Path) -> None:
    today = market.midnight()
    rows = [market.event(n, "ann", f"i{n}", today - timedelta(days=20 - n)) for n in range(5)]
    market.write_warehouse(tmp_path / "data" / "warehouse", rows)
    market.materialize(tmp_path)
    late = market.event(7, "ann", "late", today - timedelta(days=18, hours=-1))
    last = market.event(9, "ann", "last", today - timedelta(days=2))
    handler = market.stream(tmp_path, "task.handler.give_up_s=0")
    handler.handle([last])
    handler.handle([late])
    assert market.online(tmp_path, ["ann"])["item_ids"] == [["i0", "i1", "i2", "i3", "i4", "last"]]
    handler._landing.land()
    market.materialize(tmp_path)
    handler._refresh()
    handler._recover()
    expected = ["i0", "i1", "i2", "late", "i3", "i4", "last"]
    assert market.online(tmp_path, ["ann"])["item_ids"] == [expected]
    handler.handle([market.event(11, "ann", "next", today - timedelta(days=1))])
    handler.close()
    assert market.online(tmp_path, ["ann"])["item_ids"] == [[*expected, "next"]]
    assert market.newest(tmp_path, USER_HISTORY)["length"].to_list() == [8]


def test_a_pruned_journal_reads_back_what_it_needs(
    root: Path, truth: Path, streamed: list[market.Row]
) -> None:
    """Also when a message comes again that the journal has forgotten."""
    settings = ("keep_days=0", "most_files=2", "give_up_s=0")
    handler = market.stream(root, *(f"task.handler.{s}" for s in settings))
    for n, batch in enumerate(batches(streamed, 6)):
        handler.handle(batch)
        if n % 6 == 5:
            handler._landing.land()
            handler._flush()
            market.materialize(root)
            handler._refresh()
            handler._recover()
            size = handler._journal.size()
            handler._prune()
            assert handler._journal.size() < size
    handler.handle(streamed[:40])
    handler.close()
    market.expect_equal(root, truth, USERS)
    folder = root / "data" / "warehouse" / "events"
    assert max(len(list(day.glob("stream-*"))) for day in folder.iterdir()) <= 3
    market.materialize(root)
    market.expect_equal(root, truth, USERS)


@pytest.mark.parametrize("batched", [0, 2])
def test_a_time_never_goes_back_when_a_late_touch_makes_the_last_one_a_repeat(
    tmp_path: Path, batched: int
) -> None:
    """Else the older row, of a newer moment, would hide the newer one; batch's rows too."""
    now = market.midnight() - timedelta(hours=1)
    rows = [
        market.event(n, "zoe", item, now + timedelta(seconds=s))
        for n, item, s in [(1, "a", 1), (2, "b", 30), (3, "b", 20), (4, "c", 10)]
    ]
    other = market.event(9, "ann", "x", now)
    market.write_warehouse(tmp_path / "data" / "warehouse", [other, *rows[:batched]])
    market.materialize(tmp_path)
    handler = market.stream(tmp_path)
    for row in rows[batched:]:
        handler.handle([row])
    handler.close()
    assert market.online(tmp_path, ["zoe"])["item_ids"] == [["a", "c", "b"]]
    rows_ = market.newest(tmp_path, USER_HISTORY).filter(pl.col("user_id") == "zoe")
    assert rows_["item_ids"].to_list() == [["a", "c", "b"]]


def test_a_killed_push_is_finished_by_whoever_comes_next(
    root: Path, truth: Path, streamed: list[market.Row]
) -> None:
    """The journal has the events, their users were pushed nowhere, or online only."""
    handler = market.stream(root)
    named = sorted({r["user_id"] for r in streamed if r["user_id"]})
    handler._journal.add(streamed[:200], named)
    handler._update(named[:6])  # online, then the process is gone
    other = market.stream(root, "task.handler.give_up_s=0")
    other.handle(streamed)  # not acknowledged: all of it is delivered again
    other._recover()
    other.close()
    market.expect_equal(root, truth, USERS)


def test_erasing_forgets_a_user(root: Path) -> None:
    handler = market.stream(root)
    handler.handle([market.event(1, "zoe", "a", market.midnight())])
    assert handler._journal.erase("zoe") == 1
    handler.close()
    assert market.landed(root) == []


def test_an_erased_user_is_not_brought_back_by_a_replay(
    root: Path, streamed: list[market.Row]
) -> None:
    features = root / "data" / "features"
    handler = market.stream(root)
    handler.handle(streamed)
    handler.close()
    journal = f"sqlite:///{features / 'journal.db'}"
    erasure = Erasure(features, {"warehouse": root / "data" / "warehouse"}, ["user_id"],
                      {"journal": journal}, 3600)  # fmt: skip
    report = erasure("u3", "ticket 7", "ann")
    assert report.complete, report
    assert report.places["journal/stream_events"].found > 0
    assert report.places["journal/stream_users"].left == 0
    again = market.stream(root)
    again.handle(streamed)
    later = market.event(90_000, "u3", "i1", datetime.now(UTC) + timedelta(seconds=2))
    again.close()
    assert market.online(root, ["u3"])["item_ids"] == [None]
    assert not set(market.landed(root)) & {
        r["message_id"] for r in streamed if r["user_id"] == "u3"
    }
    back = market.stream(root)
    back.handle([later])
    back.close()
    assert market.online(root, ["u3"])["item_ids"] == [["i1"]], "what comes afterwards counts"
