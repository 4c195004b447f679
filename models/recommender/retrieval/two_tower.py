"""The two-tower retriever: users and items meet as vectors, so that any item can be found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from models.recommender.card import Description
from models.recommender.history_model import HistoryModel
from models.recommender.retrieval.content import ItemContent
from models.recommender.retrieval.datamodule import OwnedRuns
from models.recommender.retrieval.frequency import Frequency
from models.recommender.retrieval.item_tower import ItemTower
from models.recommender.retrieval.profile_tower import ProfileTower
from models.recommender.retrieval.profiles import Profiles
from models.recommender.retrieval.sampled_loss import mixed_inclusion, sampled_softmax
from models.recommender.retrieval.user_towers import UserTower


class TwoTowerRecommender(HistoryModel):
    """Train both towers to tell every next item of every history from a batch's other items.

    The history is read through the item tower as well: an item that training never saw says as much
    in a history as it can be recommended. What is known of the user is added to it.

    Args:
        user_tower, item_tower, frequency, profile_tower: called with what only the data knows, make
            the parts (`_partial_: true` in the config).
        temperature: similarities are divided by it.
        uniform_negatives: items of the training drawn at random, beside those of the batch.
        frequency_correction: share of the logarithm of how likely a candidate was to be one that
            is subtracted. 1 learns how likely an item is, popularity included; 0 learns how much
            likelier than usual, which lifts what is rare or new.
        spare_touched: items of a run are no negatives within it.
        content, counts, n_attributes, n_items, profiles: of the data; see `RetrievalDataModule`.
            Without profiles there is no profile tower.
        optimizer, scheduler, weight_decay, evaluation_batch_size: see `HistoryModel`.
    """

    description: ClassVar[Description] = Description(
        what="A two-tower retriever: the score is the product of a vector of a user's history, and "
        "attributes where they are given, and one of each item's attributes, numbers, text and id",
        limits="Items without interactions in training are recommended by what is known of them "
        "alone; `scripts/index_items.py` takes new ones in without training",
    )
    drawn: Tensor  # graph ids of the training's items

    def __init__(
        self,
        user_tower: Callable[..., UserTower],
        item_tower: Callable[..., ItemTower],
        frequency: Callable[..., Frequency],
        optimizer: Callable[..., torch.optim.Optimizer],
        n_items: int,
        content: ItemContent,
        counts: Tensor,
        n_attributes: int,
        temperature: float = 0.07,
        uniform_negatives: int = 1024,
        frequency_correction: float = 1.0,
        correct_positive: bool = False,
        spare_touched: bool = True,
        scheduler: Callable[..., torch.optim.lr_scheduler.LRScheduler] | None = None,
        weight_decay: float = 0.0,
        evaluation_batch_size: int = 512,
        profile_tower: Callable[..., ProfileTower] | None = None,
        profiles: Profiles | None = None,
    ) -> None:
        super().__init__(optimizer, scheduler, weight_decay, evaluation_batch_size)
        if not 0 <= frequency_correction <= 1:
            raise ValueError(f"frequency_correction must lie in 0…1, not {frequency_correction}")
        if temperature <= 0:
            raise ValueError(f"temperature must be above 0, not {temperature}")
        self.n_items = n_items
        self.item_tower = item_tower(counts=counts, n_attributes=n_attributes, content=content)
        self.user_tower = user_tower(dim=self.item_tower.dim)
        self.profile_tower: ProfileTower | None = None
        self.profiles = profiles
        if profiles is not None:
            if profile_tower is None:
                raise ValueError(
                    "user_attributes are given, but model.profile_tower, which reads them, is null"
                )
            self.profile_tower = profile_tower(profiles=profiles, dim=self.item_tower.dim)
            for name, part in profiles.columns.items():
                self.register_buffer(f"profile_of_{name}", part, persistent=False)
        self.frequency = frequency(counts=counts)
        self.temperature = temperature
        self.uniform_negatives = uniform_negatives
        self.frequency_correction = frequency_correction
        self.correct_positive = correct_positive
        self.spare_touched = spare_touched
        # Of the data, not of the model: checkpoints leave it out.
        for name, part in content.parts().items():
            self.register_buffer(f"item_{name}", part, persistent=False)
        drawn = counts.clone()
        drawn[0] = 0
        self.register_buffer("drawn", drawn.nonzero().flatten(), persistent=False)
        self._table: Tensor | None = None

    @property
    def history_length(self) -> int:
        return self.user_tower.max_length

    def item_vectors(self, ids: Tensor) -> Tensor:
        """Graph ids [M] → vectors [M, D]; padding's is 0."""
        parts = {n: cast(Tensor, getattr(self, f"item_{n}"))[ids] for n in self.item_tower.parts}
        return cast(Tensor, self.item_tower(ids, parts) * (ids != 0)[:, None])

    def item_table(self, chunk: int = 65_536) -> Tensor:
        """Vectors of the whole catalog [V + 1, D]."""
        ids = torch.arange(self.n_items + 1, device=self.device)
        return torch.cat([self.item_vectors(part) for part in ids.split(chunk)])

    @property
    def knows_users(self) -> bool:
        return self.profiles is not None

    def profile(self, users: Tensor) -> dict[str, Tensor]:
        """What is known of users, by field, of codes [B]; 0: nothing."""
        fields = self.profiles.columns if self.profiles is not None else ()
        return {name: cast(Tensor, getattr(self, f"profile_of_{name}"))[users] for name in fields}

    def user_vectors(
        self, history: Tensor, table: Tensor, profile: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Left-padded history [B, T] → what to multiply item vectors with [B, D].

        Args:
            profile: what is known of the users, by field; None: nothing.
        """
        states = self.user_tower.last(table[history], history != 0)
        if profile and self.profile_tower is not None:
            states = states + self.profile_tower(profile)
        return self._scaled(states)

    def score(self, history: Tensor, users: Tensor | None = None) -> Tensor:
        """Left-padded history [B, T] → scores of all items [B, V + 1].

        Args:
            users: codes [B] whose they are; 0 or None: nothing is known of them.
        """
        table = self.catalog()
        profile = None if users is None else self.profile(users)
        return self.user_vectors(history, table, profile) @ table.T

    def catalog(self) -> Tensor:
        """`item_table`, kept outside training until the mode or the weights change."""
        if self.training:
            return self.item_table()
        if self._table is None:
            self._table = self.item_table()
        return self._table

    def train(self, mode: bool = True) -> TwoTowerRecommender:
        """Every change of the mode drops the item table: weights may have changed."""
        self._table = None
        return super().train(mode)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        self._table = None
        return super().load_state_dict(*args, **kwargs)

    def training_step(self, batch: Tensor | OwnedRuns, batch_index: int) -> Tensor:
        """One batch of right-padded runs [B, T + 1]: inputs are all but the last item."""
        run, users = batch if isinstance(batch, OwnedRuns) else (batch, None)
        inputs, targets = run[:, :-1], run[:, 1:]
        real = targets != 0
        places = torch.randint(len(self.drawn), (self.uniform_negatives,), device=run.device)
        uniform = self.drawn[places]
        used, place = torch.cat([run.flatten(), uniform]).unique(return_inverse=True)
        vectors = self.item_vectors(used)  # [K, D]: an item of the batch is embedded once
        place = place[: run.numel()].view_as(run)
        states = self.user_tower(vectors[place[:, :-1]], inputs != 0)  # [B, T, D]
        if users is not None and self.profile_tower is not None:
            states = states + self.profile_tower(self.profile(users))[:, None]
        states = states[real]  # [P, D]
        own = targets[real]
        self.frequency.observe(own.unique())
        candidates = torch.cat([own, uniform]).unique()  # [C]
        loss = sampled_softmax(
            self._scaled(states),
            vectors[torch.searchsorted(used, candidates)],
            torch.searchsorted(candidates, own),
            self._inclusion(candidates, len(own)),
            self._touched(run, candidates)[real.nonzero()[:, 0]] if self.spare_touched else None,
            self.correct_positive,
        )
        self.log(
            "train_loss", loss, prog_bar=True, on_step=True, on_epoch=True, batch_size=len(run)
        )
        return loss

    def _scaled(self, states: Tensor) -> Tensor:
        if self.item_tower.normalize:
            states = F.normalize(states, dim=-1)
        return states / self.temperature

    def _inclusion(self, candidates: Tensor, draws: int) -> Tensor:
        in_batch = self.frequency.inclusion(candidates, draws)
        inclusion = mixed_inclusion(in_batch, self.uniform_negatives, len(self.drawn))
        return inclusion**self.frequency_correction

    @staticmethod
    def _touched(run: Tensor, candidates: Tensor) -> Tensor:
        """[B, C] bool: which candidates a run holds."""
        place = torch.searchsorted(candidates, run).clamp(max=len(candidates) - 1)
        there = candidates[place] == run
        column = torch.where(there, place, len(candidates))  # the last column is thrown away
        touched = torch.zeros(len(run), len(candidates) + 1, dtype=torch.bool, device=run.device)
        return touched.scatter_(1, column, True)[:, :-1]

    def validation_step(self, *_: Any) -> None:
        self._table = None  # of weights that averaging replaces for this step
        super().validation_step()
        self._table = None
