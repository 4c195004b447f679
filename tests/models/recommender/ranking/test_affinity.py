"""What belongs together is learnt from the order of items, whatever the labels say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from models import artifact
from models.recommender.ranking.encoding import FIRST, Encoding
from models.recommender.ranking.fields import FieldError
from models.recommender.ranking.nets.affinity import (
    EARLIER,
    Affinity,
    newest,
    newest_of_padded,
)
from models.recommender.ranking.nets.dlrm import DLRM
from models.recommender.ranking.shape import Shape, Table
from models.recommender.ranking.sparse import KeyedJaggedTensor
from models.session import session
from models.training import train
from tests.models.recommender.ranking.snapshots import rows, snapshot
from tests.models.recommender.ranking.test_training import config

WITH = [
    "+model/recommender/affinity@model.net.affinity=next_item",
    "model.net.affinity.history=item_ids",
    "model.net.affinity.most=5",
]


def followed(n: int = 3000, seed: int = 0) -> pl.DataFrame:
    """The item after the newest one is likelier, and likelier liked, than any other one."""
    rng = np.random.default_rng(seed)
    history = rng.integers(0, 20, (n, 4))
    follows = rng.random(n) < 0.5
    item = np.where(follows, (history[:, -1] + 1) % 20, rng.integers(0, 20, n))
    liked = rng.random(n) < np.where(follows, 0.7, 0.3)
    moments = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=m) for m in range(n)]
    return rows(n, seed).with_columns(
        pl.Series("item_ids", [[f"i{i}" for i in h] for h in history]),
        pl.Series("item_id", [f"i{i}" for i in item]),
        pl.Series("label", liked.astype(np.int64)),
        pl.Series("event_timestamp", moments),
    )


@pytest.mark.parametrize("experiment", ["dlrm", "dcnv2"])
def test_a_net_with_it_knows_what_follows(tmp_path: Path, experiment: str) -> None:
    data = snapshot(tmp_path / "snapshot", followed())
    settings = [f"experiment=recommender/{experiment}", "datamodule.batch_size=128",
                "model.affinity_lr=0.02", "model.affinity_weight=1"]  # fmt: skip
    output = tmp_path / "with"
    metrics = train(config(data, output, *settings, *WITH))
    plain = train(config(data, tmp_path / "without", *settings, "export=none"))
    assert metrics["auroc"] > 0.64, "0.70 is what the planted chances allow"
    assert metrics["auroc"] > plain["auroc"] + 0.05

    made = artifact.load(artifact.latest(output / "artifacts", "ranker"))
    encoding = Encoding.from_json(made.read_asset("fields.json"))

    def scores(history: list[str] | None) -> np.ndarray:
        raw: dict[str, list[Any]] = {"item_id": ["i5", "i12"], "item_ids": [history, history]}
        given = {
            f.name: encoding.column(f, raw.get(f.name, [None, None])) for f in encoding.fields.all
        }
        answer: np.ndarray = session(made.model).run(["scores"], given)[0]
        return answer

    five, twelve = scores(["i9", "i4"])
    assert five > twelve + 0.1
    five, twelve = scores(["i9", "i11"])
    assert twelve > five + 0.1
    assert np.isfinite(scores(None)).all()
    assert np.isfinite(scores([])).all()


def test_the_newest_of_bags_are_those_of_padded_tables() -> None:
    values, lengths = torch.tensor([5, 6, 7, 8]), torch.tensor([3, 0, 1])
    padded = torch.tensor([[5, 6, 7], [0, 0, 0], [8, 0, 0]])
    wanted = [[7, 6], [0, 0], [8, 0]]
    assert newest(values, lengths, 2).tolist() == wanted
    assert newest_of_padded(padded, 2).tolist() == wanted
    assert newest(values, lengths, 4).tolist() == [[7, 6, 5, 0], [0] * 4, [8, 0, 0, 0]]
    assert newest_of_padded(padded, 4).tolist() == newest(values, lengths, 4).tolist()
    nothing = torch.zeros(0, dtype=torch.long)
    assert newest(nothing, torch.tensor([0, 0]), 2).tolist() == [[0, 0]] * 2


def shape(*tables: Table) -> Shape:
    return Shape(tables, ["price"], [False], [0.0], [1.0], 0.2)


SHARED = shape(Table("item_id", 12, ("item_id", "seen")), Table("brand", 4, ("brand",)))


def test_it_says_nothing_of_nothing() -> None:
    affinity = Affinity(SHARED, "seen", "item_id", most=3, dim=4, negatives=8)
    history = torch.tensor([[0, 0, 0], [1, 0, 0], [FIRST, 0, 0]])  # none, missing, an item
    found = affinity(history, torch.tensor([4, 4, 4]))
    assert found.shape == (3, 1)
    assert found[:2].tolist() == [[0.0], [0.0]]
    assert found[2].item() != 0
    assert affinity.of_bags(bags([[], [1]], [4, 5])).tolist() == [[0.0], [0.0]]
    assert affinity.loss.item() == 0


def bags(history: list[list[int]], item: list[int]) -> KeyedJaggedTensor:
    values = [*(i for each in history for i in each), *item]
    lengths = [*(len(each) for each in history), *(1 for _ in item)]
    return KeyedJaggedTensor(
        keys=["seen", "item_id"], values=torch.tensor(values), lengths=torch.tensor(lengths)
    )


def test_bags_and_padded_ids_are_answered_alike() -> None:
    affinity = Affinity(SHARED, "seen", "item_id", most=3, dim=4, negatives=8).eval()
    history = [[5, 6, 7, 8], [], [1], [3, 1, 4]]  # longer than is read, none, missing, in between
    ids = torch.tensor([[8, 7, 6], [0, 0, 0], [1, 0, 0], [4, 1, 3]])
    item = [2, 5, 6, 1]
    found = affinity.of_bags(bags(history, item))
    assert torch.equal(found, affinity(ids, torch.tensor(item)))


def test_weights_from_before_the_tables_could_be_sharded_are_read() -> None:
    make = partial(Affinity, history="seen", item="item_id", most=3, dim=4, negatives=8)
    net, fresh = (DLRM(SHARED, 4, [8], [8], affinity=make) for _ in range(2))
    now = {new: old for old, new in EARLIER.items()}
    state = {
        "affinity." + now[key] if (key := name.removeprefix("affinity.")) in now else name: value
        for name, value in net.state_dict().items()
    }
    assert {"affinity.before.weight", "affinity.after.weight"} < set(state)
    fresh.load_state_dict(state)
    for name, value in net.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], value)


def test_the_history_is_a_bag_only_if_asked() -> None:
    make = partial(Affinity, history="seen", item="item_id", most=3, dim=4, negatives=8)
    net = DLRM(SHARED, 4, [8], [8], affinity=make)
    assert net.bags == ("item_id", "brand")
    assert DLRM(SHARED, 4, [8], [8], affinity=partial(make, pooled=True)).bags == SHARED.bags


@pytest.mark.parametrize(
    ("history", "words"),
    [
        ("sen", "'sen' is no field with ids; there are brand, item_id, seen"),
        ("price", "'price' is no field with ids"),
        ("brand", r"tables of their own; data\.fields\.brand\.table=item_id"),
    ],
)
def test_fields_that_it_cannot_read(history: str, words: str) -> None:
    with pytest.raises(FieldError, match=words):
        Affinity(SHARED, history, "item_id", most=3, dim=4, negatives=8)
