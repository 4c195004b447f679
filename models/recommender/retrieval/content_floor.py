"""Content-only nearest neighbours: what looks like what the user touched, without any learning."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from models.recommender.interactions import Interactions
from models.recommender.retrieval.content import ItemContent


class ContentNeighbours:
    """Cosine between an item's content and the weighted mean of a history's.

    Attributes are weighed by their rarity (TF-IDF); texts come in as their vectors. Each kind is a
    unit vector, so that both count alike.

    Args:
        parts: which kinds of content are compared.
        decay: weight of an item relative to the one after it; 1 weighs all alike, 0 looks at the
            last item alone.
    """

    def __init__(
        self, content: ItemContent, n_attributes: int, parts: tuple[str, ...], decay: float
    ) -> None:
        self.decay = decay
        vectors = []
        if "attributes" in parts and n_attributes:
            hot = torch.zeros(len(content), n_attributes + 1)
            hot.scatter_(1, content.attributes, 1.0)
            hot = hot[:, 1:]
            rarity = torch.log((1 + len(hot)) / (1 + hot.sum(0)))
            vectors.append(F.normalize(hot * rarity, dim=-1))
        if "text" in parts and content.text.shape[1]:
            vectors.append(F.normalize(content.text, dim=-1))
        if not vectors:
            raise ValueError(f"the items have none of {list(parts)}")
        self.vectors = F.normalize(torch.cat(vectors, dim=-1), dim=-1)  # [V + 1, F]

    def fit(self, data: Interactions, train: np.ndarray) -> None:
        """Nothing is learnt."""

    def score(self, history: Tensor) -> Tensor:
        """Left-padded history [B, T] → cosines [B, V + 1]."""
        ago = torch.arange(history.shape[1] - 1, -1, -1)
        weights = self.decay ** ago.float() * (history != 0)  # 0 ** 0 is 1: the last item's
        mean = (weights[:, None] @ self.vectors[history])[:, 0]  # [B, F]
        return F.normalize(mean, dim=-1) @ self.vectors.T
