"""Batches of token ids of nearly one length: little padding, never to a fixed maximum."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.sentiment.tokenization import PAD_ID

Batch = tuple[Tensor, Tensor, Tensor | None]


class LengthBuckets:
    """Iterates over batches (ids [B, T] 0-padded, labels [B], teacher's logits [B, C] or None).

    Args:
        ids: token ids of each text.
        taught: [N, C] a teacher's logits.
        shuffle: new random batches each epoch; without, in order of length.
        pool: batches sorted by length together.
    """

    def __init__(
        self,
        ids: Sequence[Sequence[int]],
        labels: NDArray[np.int64],
        batch_size: int,
        shuffle: bool,
        seed: int,
        pool: int = 50,
        taught: NDArray[np.float32] | None = None,
    ) -> None:
        self.ids = [torch.tensor(i or [PAD_ID], dtype=torch.int64) for i in ids]
        self.lengths = np.array([len(i) for i in self.ids])
        self.labels = torch.from_numpy(labels)
        self.taught = None if taught is None else torch.from_numpy(taught)
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.rng = np.random.default_rng(seed)
        self.pool = pool

    def __len__(self) -> int:
        return -(-len(self.ids) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for rows in self.batches():
            ids = torch.nn.utils.rnn.pad_sequence([self.ids[r] for r in rows], batch_first=True)
            taught = None if self.taught is None else self.taught[rows]
            yield ids, self.labels[rows], taught

    def batches(self) -> list[NDArray[np.int64]]:
        """Row numbers of each batch, in the order in which they come."""
        if not self.shuffle:
            order = np.argsort(self.lengths, kind="stable")
            return self._cut(order)
        order = self.rng.permutation(len(self.ids))
        found = []
        for start in range(0, len(order), self.pool * self.batch_size):
            part = order[start : start + self.pool * self.batch_size]
            found += self._cut(part[np.argsort(self.lengths[part], kind="stable")])
        return [found[i] for i in self.rng.permutation(len(found))]

    def _cut(self, order: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        return [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]
