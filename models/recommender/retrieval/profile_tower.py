"""What is known of a user as a vector that is added to what the user's history says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from models.recommender.ranking.encoding import FIRST, MISSING, PADDING
from models.recommender.retrieval.profiles import Profiles


class ProfileTower(nn.Module):
    """Numbers and categories of users → vectors; 0 for a user of whom nothing is known.

    So the answer to such a user is that of the history alone, and training makes sure that it is a
    good one: a share of the users counts as unknown in every step, as ids of items do.

    Args:
        profiles: of the data: its fields, and the numbers' mean and spread.
        hidden: width of the perceptron over all fields.
        left_out: share of the users whose attributes are left out of a training step.
    """

    number_mean: Tensor  # [F]
    number_spread: Tensor

    def __init__(
        self,
        profiles: Profiles,
        dim: int,
        hidden: int,
        dropout: float = 0.0,
        left_out: float = 0.5,
        init_std: float = 0.02,
    ) -> None:
        super().__init__()
        if not 0 <= left_out <= 1:
            raise ValueError(f"left_out must lie in 0…1, not {left_out}")
        self.left_out = left_out
        encoding = profiles.encoding
        self.dense = tuple(f.name for f in encoding.fields.dense)
        self.categorical = tuple(f.name for f in encoding.fields.categorical)
        if self.dense:
            numbers = torch.stack([profiles.columns[n] for n in self.dense], dim=1)
            mean = numbers.nanmean(0).nan_to_num(0.0)
            spread = (numbers - mean).square().nanmean(0).sqrt().nan_to_num(0.0)
            self.register_buffer("number_mean", mean)
            # What never varied is left as it is.
            self.register_buffer("number_spread", torch.where(spread > 1e-6, spread, 1.0))
            self.numbers = nn.Linear(2 * len(self.dense), dim)
        # A module's own names, such as `type`, may be columns too: hence the prefix.
        self.tables = nn.ModuleDict(
            {
                f"of_{f.name}": nn.Embedding(encoding.size(f), dim, padding_idx=PADDING)
                for f in encoding.fields.categorical
            }
        )
        for field in encoding.fields.categorical:
            table = cast(nn.Embedding, self.tables[f"of_{field.name}"])
            nn.init.normal_(table.weight, std=init_std)
            with torch.no_grad():  # a value that training never saw says nothing
                table.weight[: FIRST + field.buckets].zero_()
        parts = bool(self.dense) + len(self.categorical)
        self.mix = nn.Sequential(
            nn.Linear(dim * parts, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, dim)
        )

    def forward(self, profile: Mapping[str, Tensor]) -> Tensor:
        """Numbers [B], ids [B] and bags [B, L] by field → vectors [B, D]."""
        told, known = [], []
        if self.dense:
            numbers = torch.stack([profile[n] for n in self.dense], dim=1)
            there = ~numbers.isnan()
            scaled = (numbers.nan_to_num(0.0) - self.number_mean) / self.number_spread
            scaled = torch.where(there, scaled.clamp(-5, 5), torch.zeros_like(scaled))
            told.append(self.numbers(torch.cat([scaled, there.to(scaled.dtype)], dim=-1)))
            known.append(there.any(1))
        for name in self.categorical:
            ids = profile[name]
            bag = ids if ids.ndim == 2 else ids[:, None]  # [B, L]
            real = (bag != PADDING)[..., None]  # [B, L, 1]
            total = (self.tables[f"of_{name}"](bag) * real).sum(1)
            told.append(total / real.sum(1).clamp(min=1).sqrt())
            known.append((bag > MISSING).any(1))
        use = torch.stack(known, dim=1).any(1)  # [B]
        if self.training and self.left_out:
            use = use & (torch.rand(use.shape, device=use.device) >= self.left_out)
        vectors = sum(told, self.mix(torch.cat(told, dim=-1)))
        return cast(Tensor, vectors * use[:, None].to(vectors.dtype))
