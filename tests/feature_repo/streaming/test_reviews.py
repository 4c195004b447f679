"""Streamed reviews: what is pushed is what batch makes of the same reviews, each counted once."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from feature_repo.computation import view_files
from feature_repo.governance import erasures
from feature_repo.metadata import connect
from feature_repo.streaming.reviews import ReviewStream
from feature_repo.view import CREATED, TIME
from feature_repo.views import ITEM_REVIEW_SENTIMENT
from scripts.entrypoint import CONFIGS
from tests.feature_repo.streaming import review_market as market
from tests.feature_repo.streaming.market import midnight, settings


class Words:
    """ "good" is 0.5, "bad" −0.5; counts what it is asked."""

    outages = (ConnectionError,)

    def __init__(self) -> None:
        self.asked = 0
        self.away = False

    def refresh(self) -> str:
        return "v1"

    def judge(
        self, texts: Sequence[str | None]
    ) -> tuple[Sequence[tuple[float | None, str | None]], str]:
        if self.away:
            raise ConnectionError("no model")
        self.asked += len(texts)
        return [
            (0.5 * (("good" in t) - ("bad" in t)), None) if t else (None, "there is no text")
            for t in texts
        ], "v1"


def stream(root: Path, judge: Words) -> ReviewStream:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose("stream", [*settings(root), "task=sentiment"])
    handler = dataclasses.replace(instantiate(cfg.task.handler), judge=judge)
    assert isinstance(handler, ReviewStream)
    handler.open()
    return handler


@pytest.fixture
def root(tmp_path: Path) -> Path:
    market.write_warehouse(tmp_path, market.reviews(200, range(-100, 0), seed=1))
    market.materialize(tmp_path)
    return tmp_path


def expect_what_batch_says(root: Path) -> None:
    """Batch, having seen what has landed, agrees with what is online and with the last pushes."""
    pushed: dict[str, list[Any]] = market.online(root)
    files = [f for _, f in view_files(ITEM_REVIEW_SENTIMENT, root / "data" / "features")]
    rows = pl.concat(
        [pl.read_parquet(f, hive_partitioning=False) for f in files if "push-" in f.name]
    )
    newest = rows.sort(TIME, CREATED).unique("item_id", keep="last").sort("item_id")
    market.materialize(root)
    for name, values in market.online(root).items():
        assert pushed[name] == pytest.approx(values, nan_ok=True), name
        if name in market.NAMES:
            by_item = dict(zip(pushed["item_id"], values, strict=True))
            expected = [by_item[item] for item in newest["item_id"]]
            assert newest[name].to_list() == pytest.approx(expected), name


def test_pushed_rows_are_what_batch_computes(root: Path) -> None:
    judge = Words()
    handler = stream(root, judge)
    streamed = market.reviews(60, (-3, -1, 0, 0), seed=2, first=1000)
    # One today for each item, so that batch has nothing newer to say than the last push.
    today = midnight()
    streamed += [
        {**row, "message_id": f"t{item}", "review_id": f"t{item}", "item_id": item,
         "timestamp": today}
        for item, row in zip(market.ITEMS, streamed, strict=False)
    ]  # fmt: skip
    before = market.online(root)
    for cut in range(0, len(streamed), 7):
        handler.handle(streamed[cut : cut + 7])
    assert market.online(root) != before
    handler.close()
    said = market.landed(root, "review_sentiment")
    assert len(said) == len(market.landed(root, "reviews")) == len(streamed)
    without = said.filter(pl.col("sentiment").is_null())
    assert len(without) == sum(not r["text"] for r in streamed) > 0
    assert set(without["reason"]) == {"there is no text"}
    assert said.filter(pl.col("sentiment").is_not_null())["reason"].null_count() == len(said) - len(
        without
    )
    expect_what_batch_says(root)


def test_a_message_that_comes_again_changes_nothing(root: Path) -> None:
    """Also to a job that took over from one killed between journal and push."""
    judge = Words()
    handler = stream(root, judge)
    streamed = market.reviews(20, (0,), seed=3, first=1000)
    real, handler._push = handler._push, None  # type: ignore[method-assign,assignment]
    with pytest.raises(TypeError):
        handler.handle(streamed)
    handler._push = real  # type: ignore[method-assign]
    other = stream(root, judge)
    other.handle(streamed)
    once = market.online(root)
    other.handle(streamed[::-1])
    other.handle([{**streamed[0], "message_id": "again"}])
    assert market.online(root) == once
    assert judge.asked == len(streamed) + 1, "a judged message is not judged again"
    other.close()
    handler.close()
    assert sorted(market.landed(root, "reviews")["review_id"]) == [r["review_id"] for r in streamed]
    expect_what_batch_says(root)


def test_while_the_model_is_away_nothing_is_entered(root: Path) -> None:
    judge = Words()
    handler = stream(root, judge)
    streamed = market.reviews(3, (0,), seed=4, first=1000)
    judge.away = True
    with pytest.raises(handler.outages):
        handler.handle(streamed)
    before = market.online(root)
    judge.away = False
    handler.handle(streamed)
    assert market.online(root) != before


def test_an_erased_users_reviews_do_not_come_back(root: Path) -> None:
    erasures.begin(connect(root / "data" / "features"), "u0", "test", "asked")
    handler = stream(root, Words())
    streamed = market.reviews(3, (-1,), seed=5, first=1000)
    handler.handle([{**r, "user_id": "u0"} for r in streamed])
    handler.handle([{**streamed[0], "user_id": "u1", "message_id": "m", "review_id": "r"}])
    handler.close()
    assert market.landed(root, "reviews")["user_id"].to_list() == ["u1"]
