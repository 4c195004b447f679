"""The item tower: one vector from an item's attributes, numbers, text and, where it has one, id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.recommender.retrieval.content import ItemContent


class ItemTower(nn.Module):
    """Content → a vector; the id adds what content does not tell.

    The id's embedding is a residual upon the content's vector, and is left out of a random share
    of the items in every step: content must do alone, since that is all there is of an item that
    training did not see. The idea is DropoutNet's (Volkovs, Yu & Poutanen, NeurIPS 2017).

    Args:
        counts: [V + 1] training interactions; an item with none has no id embedding, ever.
        n_attributes: attribute codes that there are, beside the padding.
        content: of the catalog: its widths, and the numbers' mean and spread over trained items.
        hidden: width of the perceptron over all parts.
        id_dropout: share of the items whose id is left out of a training step; 1 learns from
            content alone.
        normalize: unit vectors, so that nothing wins by length.
    """

    trained: Tensor  # [V + 1] bool: items that training knew
    number_mean: Tensor  # [N]
    number_spread: Tensor
    text_mean: Tensor  # [E]
    text_spread: Tensor

    def __init__(
        self,
        counts: Tensor,
        n_attributes: int,
        content: ItemContent,
        dim: int,
        hidden: int,
        id_dropout: float,
        dropout: float = 0.0,
        normalize: bool = True,
        init_std: float = 0.02,
    ) -> None:
        super().__init__()
        if not 0 <= id_dropout <= 1:
            raise ValueError(f"id_dropout must lie in 0…1, not {id_dropout}")
        self.dim = dim
        self.id_dropout = id_dropout
        self.normalize = normalize
        self.parts = tuple(content.parts())
        self.ids = nn.Embedding(len(counts), dim, padding_idx=0)
        nn.init.normal_(self.ids.weight, std=init_std)
        self.register_buffer("trained", (counts > 0) & (torch.arange(len(counts)) > 0))
        widths = {name: part.shape[1] for name, part in content.parts().items()}
        if "attributes" in widths:
            self.attributes = nn.Embedding(n_attributes + 1, dim, padding_idx=0)
        if "numbers" in widths:
            known = content.numbers[counts > 0]
            mean = known.nanmean(0).nan_to_num(0.0)
            spread = (known - mean).square().nanmean(0).sqrt().nan_to_num(0.0)
            self.register_buffer("number_mean", mean)
            self.register_buffer("number_spread", spread.clamp(min=1e-6))
            self.numbers = nn.Linear(2 * widths["numbers"], dim)
        if "text" in widths:
            texts = content.text[(counts > 0) & content.text.any(1)]
            self.register_buffer("text_mean", texts.mean(0).nan_to_num(0.0))
            spread = (texts - texts.mean(0)).square().mean(0).sqrt().nan_to_num(0.0)
            self.register_buffer("text_spread", spread.clamp(min=1e-3))
            self.text = nn.Linear(widths["text"], dim)
        inputs = dim * max(len(widths), 1)
        self.mix = nn.Sequential(
            nn.Linear(inputs, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, dim)
        )
        # An item of which nothing at all is known still gets a direction, not a division by zero.
        self.base = nn.Parameter(torch.randn(dim) * init_std)

    def forward(self, ids: Tensor, parts: Mapping[str, Tensor]) -> Tensor:
        """ids [M] (0: none) and the parts' rows [M, …] → vectors [M, D]."""
        use = self.trained[ids]  # [M]
        if self.training and self.id_dropout:
            use = use & (torch.rand(ids.shape, device=ids.device) >= self.id_dropout)
        vectors = self.content(ids, parts) + self.ids(ids) * use[:, None].to(self.base.dtype)
        return F.normalize(vectors, dim=-1) if self.normalize else vectors

    def content(self, ids: Tensor, parts: Mapping[str, Tensor]) -> Tensor:
        """What the parts say, without the id [M, D]."""
        told = [self._read(name, parts[name]) for name in self.parts]
        if not told:
            told = [self.base.expand(len(ids), -1)]
        mixed = self.mix(torch.cat(told, dim=-1))
        return cast(Tensor, sum(told, mixed) + self.base)

    def _read(self, name: str, part: Tensor) -> Tensor:
        if name == "attributes":
            real = (part != 0).to(self.base.dtype)[..., None]  # [M, A, 1]
            # Over the root of their number: many attributes say more, but not that much more.
            total: Tensor = (self.attributes(part) * real).sum(1)
            return total / real.sum(1).clamp(min=1).sqrt()
        if name == "numbers":
            there = ~part.isnan()
            scaled = (part.nan_to_num(0.0) - self.number_mean) / self.number_spread
            scaled = torch.where(there, scaled.clamp(-5, 5), torch.zeros_like(scaled))
            return cast(Tensor, self.numbers(torch.cat([scaled, there.to(scaled.dtype)], dim=-1)))
        # A sentence encoder's vectors share much: what tells items apart is made to count.
        there = part.any(1, keepdim=True)
        return cast(Tensor, self.text((part - self.text_mean) / self.text_spread * there))
