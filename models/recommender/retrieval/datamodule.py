"""Interactions together with what is known of the items and, if it is given, of the users."""

from __future__ import annotations

import hashlib
import json
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from models.recommender.attributes import AttributeTable
from models.recommender.batches import RunBatches
from models.recommender.datamodule import InteractionsDataModule
from models.recommender.histories import Histories
from models.recommender.interactions import DataError
from models.recommender.retrieval.content import ItemContent
from models.recommender.retrieval.content_encoder import ContentEncoder
from models.recommender.retrieval.profiles import Profiles


class OwnedRuns(NamedTuple):
    """A training batch of which the users are known."""

    runs: Tensor  # [B, T + 1] right-padded graph ids
    users: Tensor  # [B] codes from 1


class OwnedRunBatches(RunBatches):
    """`RunBatches` that say whose the runs are.

    Args:
        ends: [U] where each user's history ends in the runs' flat tensor.
    """

    def __init__(self, runs: Histories, ends: Tensor, **settings: Any) -> None:
        super().__init__(runs, **settings)
        # A run begins within its user's history; right: histories without an item end there too.
        self.users = torch.searchsorted(ends.contiguous(), runs.start, right=True) + 1

    def batch(self, rows: Tensor) -> OwnedRuns:
        return OwnedRuns(super().batch(rows), self.users[rows])


class RetrievalDataModule(InteractionsDataModule):
    """What `InteractionsDataModule` gives, each item's content, and each user's profile.

    Args:
        items: where the items are read.
        users: where the users are read; None: nothing is known of them.
        others: as `InteractionsDataModule` takes them.

    Raises:
        DataError: as the base, or no item is described.
    """

    def __init__(
        self, items: AttributeTable, users: AttributeTable | None = None, **others: Any
    ) -> None:
        super().__init__(**others)
        self.items = items
        self.users = users
        self.profiles: Profiles | None = None
        self.encoder: ContentEncoder
        self.content: ItemContent

    def prepare(self) -> None:
        """Read, split and describe once; later calls do nothing."""
        if self._ready:
            return
        super().prepare()
        trained = self.counts().numpy()[1:] > 0
        data = self.interactions
        self.encoder, self.content = self.items.load(data.item_ids, trained)
        if self.users is not None:
            self.profiles = self.users.profiles(data.user_ids, (self.histories.lengths > 0).numpy())

    def _batches(self, runs: Histories, **settings: Any) -> RunBatches:
        if self.profiles is None:
            return super()._batches(runs, **settings)
        return OwnedRunBatches(runs, self.histories.end.to(runs.start.device), **settings)

    def counts(self) -> Tensor:
        """Training interactions of each graph id [V + 1]."""
        items = torch.from_numpy(np.asarray(self.interactions.item[self.train]))
        return torch.bincount(items, minlength=self.n_items + 1)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint says of the interactions, and of attribute codes."""
        codes = hashlib.sha256(json.dumps(dict(self.encoder.codes)).encode()).hexdigest()
        users = {} if self.profiles is None else {"user_codes": self.profiles.sha256()}
        return super().state_dict() | {"codes": codes} | users

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Raises `DataError` where a checkpoint is of other interactions or attribute values."""
        super().load_state_dict(state_dict)
        for key, whose in (("codes", "item"), ("user_codes", "user")):
            if state_dict.get(key) != self.state_dict().get(key):
                raise DataError(
                    f"{self.name}: the {whose}s have other attribute values now than when the "
                    "model was trained, so that its codes no longer mean the same; give the "
                    f"{whose} table of the training, or train anew"
                )

    def model_arguments(self) -> dict[str, Any]:
        """What a model can know only from the data."""
        known = {"content": self.content, "counts": self.counts(), "profiles": self.profiles}
        return super().model_arguments() | known | {"n_attributes": len(self.encoder.codes)}
