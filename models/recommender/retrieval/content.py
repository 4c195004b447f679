"""What a tower reads of items: attribute codes, numbers and text vectors, a row an item."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class ItemContent:
    """M items as three tensors, any of which may have width 0.

    Args:
        attributes: [M, A] int64 codes from 1, padded with 0.
        numbers: [M, N] float32, NaN where a value is missing.
        text: [M, E] float32 vectors, zeros where an item has no text.
    """

    PARTS = ("attributes", "numbers", "text")

    def __init__(self, attributes: Tensor, numbers: Tensor, text: Tensor) -> None:
        if not len(attributes) == len(numbers) == len(text):
            raise ValueError(
                f"attributes of {len(attributes)}, numbers of {len(numbers)} and text of "
                f"{len(text)} items: one row an item is needed in each"
            )
        self.attributes = attributes
        self.numbers = numbers
        self.text = text

    def __len__(self) -> int:
        return len(self.attributes)

    def parts(self) -> Mapping[str, Tensor]:
        """Those of a width above 0, by name."""
        named = {name: getattr(self, name) for name in self.PARTS}
        return {name: part for name, part in named.items() if part.shape[1]}

    def empty(self) -> Tensor:
        """[M] bool: items of which nothing is known."""
        known = (self.attributes != 0).any(1) | self.text.any(1)
        return ~(known | (~self.numbers.isnan()).any(1))

    def padded(self) -> ItemContent:
        """With an empty row before all others, so that rows are graph ids."""

        def before(part: Tensor, value: float) -> Tensor:
            return torch.cat([part.new_full((1, part.shape[1]), value), part])

        return ItemContent(
            before(self.attributes, 0), before(self.numbers, torch.nan), before(self.text, 0)
        )
