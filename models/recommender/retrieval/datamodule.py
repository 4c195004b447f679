"""Interactions together with what is known of the items."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.recommender.datamodule import InteractionsDataModule
from models.recommender.interactions import DataError
from models.recommender.retrieval.content import ItemContent
from models.recommender.retrieval.content_encoder import ContentEncoder
from models.recommender.retrieval.item_source import ItemSource


class RetrievalDataModule(InteractionsDataModule):
    """What `InteractionsDataModule` gives, and each item's content.

    Args:
        items: where the items are read.
        others: as `InteractionsDataModule` takes them.

    Raises:
        DataError: as the base, or no item is described.
    """

    def __init__(self, items: ItemSource, **others: Any) -> None:
        super().__init__(**others)
        self.items = items
        self.encoder: ContentEncoder
        self.content: ItemContent

    def prepare(self) -> None:
        """Read, split and describe once; later calls do nothing."""
        if self._ready:
            return
        super().prepare()
        trained = self.counts().numpy()[1:] > 0
        self.encoder, self.content = self.items.load(self.interactions.item_ids, trained)

    def counts(self) -> Tensor:
        """Training interactions of each graph id [V + 1]."""
        items = torch.from_numpy(np.asarray(self.interactions.item[self.train]))
        return torch.bincount(items, minlength=self.n_items + 1)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint says of the interactions, and of the items' attribute codes."""
        codes = hashlib.sha256(json.dumps(dict(self.encoder.codes)).encode()).hexdigest()
        return super().state_dict() | {"codes": codes}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Raises `DataError` where a checkpoint is of other interactions or attribute values."""
        super().load_state_dict(state_dict)
        if state_dict["codes"] != self.state_dict()["codes"]:
            raise DataError(
                f"{self.name}: the items have other attribute values now than when the model was "
                "trained, so that its codes no longer mean the same; give the item table of the "
                "training, or train anew"
            )

    def model_arguments(self) -> dict[str, Any]:
        """What a model can know only from the data."""
        known = {"content": self.content, "counts": self.counts()}
        return super().model_arguments() | known | {"n_attributes": len(self.encoder.codes)}
