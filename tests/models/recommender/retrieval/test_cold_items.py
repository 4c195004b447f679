"""Items held back are never trained on."""

import numpy as np
import polars as pl
import pytest

from models.recommender.evaluation import RankingTask
from models.recommender.interactions import DataError, Interactions
from models.recommender.retrieval.cold_items import ColdItems


def data() -> Interactions:
    rng = np.random.default_rng(0)
    return Interactions.from_frame(
        pl.DataFrame(
            {
                "user_id": [f"u{n % 50}" for n in range(2000)],
                "item_id": [f"i{n}" for n in rng.integers(40, size=2000)],
                "timestamp": pl.Series(np.arange(2000) * 1_000_000).cast(pl.Datetime("us", "UTC")),
            }
        )
    )


def test_every_item_is_in_one_part_only() -> None:
    interactions = data()
    split = ColdItems(share=0.25, validation_share=0.1, seed=3).split(interactions)
    parts = [set(interactions.item[m]) for m in (split.train, split.validation, split.test)]
    assert [len(p) for p in parts] == [26, 4, 10]
    assert sum(map(len, parts)) == len(set.union(*parts))
    assert (split.train | split.validation | split.test).all()


def test_histories_hold_what_came_before_of_the_training_items() -> None:
    interactions = data()
    split = ColdItems(share=0.25, validation_share=0.1).split(interactions)
    task = RankingTask.build(interactions, split.train, split.test)
    trained = set(interactions.item[split.train])
    shown = set(task.histories.take(np.arange(len(task))).pad().flatten().tolist()) - {0}
    assert shown <= trained
    assert not set(task.targets.tolist()) & trained


@pytest.mark.parametrize(("share", "validation"), [(0.001, 0.1), (0.6, 0.5)])
def test_shares_that_leave_nothing_are_refused(share: float, validation: float) -> None:
    with pytest.raises(DataError, match="of 40 items are"):
        ColdItems(share, validation).split(data())
