"""What towers read, and what they must not depend on."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from models.recommender.retrieval.content import ItemContent
from models.recommender.retrieval.frequency import ExactCounts
from models.recommender.retrieval.item_tower import ItemTower
from models.recommender.retrieval.profiles import Profiles
from models.recommender.retrieval.two_tower import TwoTowerRecommender
from models.recommender.retrieval.user_towers import PooledTower, TransformerTower, UserTower
from models.recommender.transformer import GatedBlock

V, D = 20, 8
TOWERS = {
    "transformer": partial(
        TransformerTower,
        max_length=10,
        n_blocks=2,
        dropout=0.1,
        block=partial(GatedBlock, dim=D, heads=2, dropout=0.1),
    ),
    "pooled": partial(PooledTower, max_length=10, hidden=16, dropout=0.1),
}


def content() -> ItemContent:
    generator = torch.Generator().manual_seed(0)
    attributes = torch.randint(0, 6, (V, 3), generator=generator)
    numbers = torch.randn(V, 2, generator=generator)
    numbers[3, 1] = torch.nan
    return ItemContent(attributes, numbers, torch.randn(V, 5, generator=generator)).padded()


def model(
    counts: torch.Tensor | None = None,
    profiles: Profiles | None = None,
    profile_tower: Any = None,
    **tower: Any,
) -> TwoTowerRecommender:
    torch.manual_seed(0)
    if counts is None:
        counts = torch.ones(V + 1, dtype=torch.int64)
        counts[0] = 0
    return TwoTowerRecommender(
        user_tower=TOWERS["transformer"],
        item_tower=partial(
            ItemTower, **{"dim": D, "hidden": 16, "id_dropout": 0.5, "init_std": 0.5} | tower
        ),
        frequency=ExactCounts,
        optimizer=torch.optim.Adam,
        n_items=V,
        content=content(),
        counts=counts,
        n_attributes=5,
        uniform_negatives=4,
        profiles=profiles,
        profile_tower=profile_tower,
    )


@pytest.fixture(params=TOWERS)
def user_tower(request: pytest.FixtureRequest) -> UserTower:
    torch.manual_seed(0)
    return TOWERS[request.param](dim=D).eval()


def test_serving_and_training_give_the_same_state(user_tower: UserTower) -> None:
    items = torch.randn(1, 7, D)
    nothing = torch.zeros(1, 3, D)
    real = torch.tensor([[True] * 7 + [False] * 3])
    states = user_tower(torch.cat([items, nothing], dim=1), real)
    last = user_tower.last(torch.cat([nothing, items], dim=1), real.flip(1))
    torch.testing.assert_close(last, states[:, 6], atol=1e-5, rtol=1e-5)


def test_future_items_do_not_change_the_past(user_tower: UserTower) -> None:
    items, real = torch.randn(2, 9, D), torch.ones(2, 9, dtype=torch.bool)
    changed = items.clone()
    changed[:, 5:] = torch.randn(2, 4, D)
    torch.testing.assert_close(user_tower(items, real)[:, :5], user_tower(changed, real)[:, :5])


def test_no_history_gives_finite_states(user_tower: UserTower) -> None:
    nothing = torch.zeros(2, 4, D)
    assert torch.isfinite(user_tower.last(nothing, torch.zeros(2, 4, dtype=torch.bool))).all()


def test_an_unseen_item_does_not_depend_on_the_table_of_ids() -> None:
    counts = torch.ones(V + 1, dtype=torch.int64)
    counts[[0, 7]] = 0
    towers = model(counts).eval()
    history = torch.tensor([[1, 2, 3]])
    before = towers.score(history)
    with torch.no_grad():
        towers.item_tower.ids.weight[7] = 100.0
    towers.eval()
    torch.testing.assert_close(towers.score(history), before)
    with torch.no_grad():
        towers.item_tower.ids.weight[8] += torch.randn(D)
    towers.eval()
    after = towers.score(history)
    assert not torch.isclose(after[0, 8], before[0, 8])
    torch.testing.assert_close(after[0, 7], before[0, 7])


def test_the_id_is_left_out_of_its_share_of_training() -> None:
    torch.manual_seed(1)
    towers = model(id_dropout=0.3).train()
    ids = torch.full((4000,), 5)
    parts = {n: getattr(towers, f"item_{n}")[ids] for n in towers.item_tower.parts}
    vectors = towers.item_tower(ids, parts)
    alone = towers.item_tower.eval()(
        torch.zeros_like(ids[:1]), {n: p[:1] for n, p in parts.items()}
    )
    without = torch.isclose(vectors, alone, atol=1e-6).all(dim=1).float().mean().item()
    assert without == pytest.approx(0.3, abs=0.03)


def test_content_alone_never_reads_an_id() -> None:
    towers = model(id_dropout=1.0).train()
    ids = torch.tensor([3, 4, 5])
    vectors = towers.item_vectors(ids)
    with torch.no_grad():
        towers.item_tower.ids.weight.add_(1.0)
    torch.testing.assert_close(towers.item_vectors(ids), vectors)


def test_training_reaches_every_part_and_leaves_unseen_ids_alone() -> None:
    counts = torch.ones(V + 1, dtype=torch.int64)
    counts[[0, 7]] = 0
    towers = model(counts, id_dropout=0.0)
    towers.log = lambda *_, **__: None  # type: ignore[method-assign]  # there is no trainer
    run = torch.tensor([[1, 2, 3, 4], [5, 6, 8, 0]])
    towers.training_step(run, 0).backward()
    silent = [name for name, p in towers.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []
    grad = towers.item_tower.ids.weight.grad
    assert grad is not None
    assert not grad[[0, 7]].any()


def test_the_step_is_the_loss_over_its_own_candidates() -> None:
    """The batched step against a loop over positions, uniform negatives being the whole catalog."""
    towers = model(id_dropout=0.0).eval()
    towers.log = lambda *_, **__: None  # type: ignore[method-assign]
    towers.uniform_negatives = 2000  # all of the catalog, with inclusion 1
    run = torch.tensor([[1, 2, 3, 4], [5, 6, 8, 0]])
    found = towers.training_step(run, 0)
    losses = []
    for row in run.tolist():
        items = [i for i in row if i]
        for n in range(1, len(items)):
            scores = towers.score(torch.tensor([items[:n]]))[0]
            allowed = [i for i in range(1, V + 1) if i not in items or i == items[n]]
            losses.append(scores[allowed].logsumexp(0) - scores[items[n]])
    torch.testing.assert_close(found, torch.stack(losses).mean(), atol=1e-4, rtol=1e-4)


def test_an_item_of_which_nothing_is_known_gets_a_direction() -> None:
    tower = model().item_tower.eval()
    parts = {
        "attributes": torch.zeros(1, 3, dtype=torch.int64),
        "numbers": torch.full((1, 2), torch.nan),
        "text": torch.zeros(1, 5),
    }
    vector = tower(torch.tensor([0]), parts)
    assert torch.isfinite(vector).all()
    assert vector.norm().item() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"id_dropout": 1.5}, "id_dropout must lie in 0…1, not 1.5")],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        model(**settings)
