"""Lists of all users at once: what they hold, and what a stopped run leaves."""

from __future__ import annotations

import logging
from pathlib import Path

import polars as pl
import pytest

from models.artifact import ArtifactError
from models.recommender.batch import BatchRecommender, Graph
from models.recommender.interactions import DataError
from tests.serving.conftest import make_artifact
from tests.serving.detectors import make_detector


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The next item is the best; reads at most 20 items, answers at most 10."""
    return make_artifact(tmp_path_factory.mktemp("tiny"))


def histories(count: int) -> pl.DataFrame:
    """User n touched the items before n mod 50; some also items that nobody knows."""
    rows = []
    for n in range(count):
        last = n % 50
        known = [f"i{(last - back) % 50:02d}" for back in range(n % 30, -1, -1)]
        rows.append({"user_id": f"u{n:03d}", "item_ids": [*known[:-1], "?", known[-1]]})
    return pl.DataFrame(rows)


def recommender(**changes: int) -> BatchRecommender:
    return BatchRecommender(**{"k": 5, "rows": 40, "batch": 7, "threads": 1, **changes})


def test_each_user_gets_the_models_list_without_what_was_seen(tiny: Path, tmp_path: Path) -> None:
    goal = tmp_path / "users.parquet"
    done = recommender().recommend(histories(120), tiny, goal)
    rows = {r["user_id"]: r for r in pl.read_parquet(goal).iter_rows(named=True)}
    assert (done["users"], done["now"], done["without"]) == (120, 120, 0)
    for n in range(120):
        row, last = rows[f"u{n:03d}"], n % 50
        assert row["item_ids"] == [f"i{(last + step) % 50:02d}" for step in range(1, 6)]
        assert row["scores"] == sorted(row["scores"], reverse=True)
    assert {r["model"] for r in rows.values()} == {"recommender 20260101-000000-000"}
    assert len({r["event_timestamp"] for r in rows.values()}) == 1
    assert not list(tmp_path.glob("*.parts")), "nothing is left behind"


def test_lists_shorter_than_asked_are_told(
    tiny: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        recommender(k=11).recommend(histories(2), tiny, tmp_path / "users.parquet")
    assert "lists have 10 items, not 11" in caplog.text


def test_users_of_unknown_items_have_no_row_and_short_lists_stay_short(
    tiny: Path, tmp_path: Path
) -> None:
    all_but_two = [f"i{n:02d}" for n in range(48)]
    frame = pl.DataFrame({"user_id": ["nobody", "keen"], "item_ids": [["?", "??"], all_but_two]})
    goal = tmp_path / "users.parquet"
    done = recommender().recommend(frame, tiny, goal)
    assert done["without"] == 1
    assert pl.read_parquet(goal)["item_ids"].to_list() == [["i48", "i49"]]
    only = recommender().recommend(frame.head(1), tiny, tmp_path / "none.parquet")
    assert only["without"] == 1
    assert pl.read_parquet(tmp_path / "none.parquet").schema["item_ids"] == pl.List(pl.String)


def test_a_stopped_run_goes_on_and_the_old_file_stays_until_it_ends(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    goal = tmp_path / "users.parquet"
    recommender(k=2).recommend(histories(10), tiny, goal)
    before = goal.read_bytes()
    lists, calls = Graph.lists, []

    def stops(graph: Graph, some: pl.DataFrame) -> pl.DataFrame:
        calls.append(len(some))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return lists(graph, some)

    monkeypatch.setattr(Graph, "lists", stops)
    with pytest.raises(KeyboardInterrupt):
        recommender().recommend(histories(120), tiny, goal)
    assert goal.read_bytes() == before
    monkeypatch.setattr(Graph, "lists", lists)
    done = recommender().recommend(histories(120), tiny, goal)
    assert (done["users"], done["now"]) == (120, 40), "two parts of three were there"
    assert len(pl.read_parquet(goal)) == 120
    assert len(pl.read_parquet(goal)["event_timestamp"].unique()) == 1


def test_parts_of_other_histories_are_not_taken(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    goal = tmp_path / "users.parquet"
    lists = Graph.lists
    frames = iter(range(2))

    def stops(graph: Graph, some: pl.DataFrame) -> pl.DataFrame:
        if next(frames) == 1:
            raise KeyboardInterrupt
        return lists(graph, some)

    monkeypatch.setattr(Graph, "lists", stops)
    with pytest.raises(KeyboardInterrupt):
        recommender().recommend(histories(80), tiny, goal)
    monkeypatch.setattr(Graph, "lists", lists)
    changed = histories(80).with_columns(item_ids=pl.lit(["i20"]))
    assert recommender().recommend(changed, tiny, goal)["now"] == 80
    assert set(pl.read_parquet(goal)["item_ids"].list.first()) == {"i21"}


def test_what_cannot_make_lists_is_refused(tiny: Path, tmp_path: Path) -> None:
    goal = tmp_path / "users.parquet"
    with pytest.raises(ArtifactError, match="is for task 'anomaly'; lists come from"):
        recommender().recommend(histories(2), make_detector(tmp_path), goal)
    with pytest.raises(DataError, match="no user has a history"):
        recommender().recommend(histories(2).clear(), tiny, goal)
