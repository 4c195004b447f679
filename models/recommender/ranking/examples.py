"""Coded rows in flat tensors, and batches gathered from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl
import torch
from torch import Tensor

from models.recommender.ranking.encoding import Encoding
from models.recommender.ranking.fields import Field
from models.recommender.ranking.sparse import KeyedJaggedTensor


class Batch(NamedTuple):
    """B rows as a network takes them."""

    dense: Tensor  # [B, F] float32, NaN where missing
    bags: KeyedJaggedTensor  # C keys of B bags each
    label: Tensor  # [B] float32, 0 or 1


class Bags(NamedTuple):
    """One field's bags of N rows; without `offsets`, each row has exactly one id."""

    values: Tensor  # [M] int64
    offsets: Tensor | None  # [N + 1] int64

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Ids and lengths of some rows' bags."""
        if self.offsets is None:
            return self.values[rows], torch.ones_like(rows)
        starts = self.offsets[rows]
        lengths = self.offsets[rows + 1] - starts
        first = torch.repeat_interleave(starts - (lengths.cumsum(0) - lengths), lengths)
        return self.values[torch.arange(len(first), device=rows.device) + first], lengths


@dataclass(frozen=True)
class Examples:
    """N coded rows."""

    names: tuple[str, ...]  # of the C bags, in the order of the tables
    dense: Tensor  # [N, F]
    bags: tuple[Bags, ...]
    label: Tensor  # [N]

    @classmethod
    def of(cls, encoding: Encoding, rows: pl.DataFrame) -> Examples:
        """Code a frame with a column for each field, and `label`."""
        fields = encoding.fields
        dense = [_numbers(encoding, f, rows[f.name]) for f in fields.dense]
        stacked = np.stack(dense, axis=1) if dense else np.zeros((len(rows), 0), np.float32)
        return cls(
            names=tuple(f.name for f in fields.bags),
            dense=torch.from_numpy(stacked),
            bags=tuple(_bags(encoding, f, rows[f.name]) for f in fields.bags),
            label=torch.from_numpy(rows["label"].cast(pl.Float32).to_numpy().copy()),
        )

    def __len__(self) -> int:
        return len(self.label)

    def to(self, device: torch.device) -> Examples:
        bags = tuple(
            Bags(b.values.to(device), None if b.offsets is None else b.offsets.to(device))
            for b in self.bags
        )
        return Examples(self.names, self.dense.to(device), bags, self.label.to(device))

    def take(self, rows: Tensor) -> Batch:
        """Some rows [B] as a batch."""
        found = [b.take(rows) for b in self.bags]
        values = torch.cat([v for v, _ in found])
        lengths = torch.cat([n for _, n in found])
        bags = KeyedJaggedTensor(keys=list(self.names), values=values, lengths=lengths)
        return Batch(self.dense[rows], bags, self.label[rows])

    def only(self, rows: Tensor) -> Examples:
        """Some rows as examples of their own."""
        bags = []
        for bag in self.bags:
            values, lengths = bag.take(rows)
            one = bag.offsets is None
            bags.append(Bags(values, None if one else _offsets(lengths)))
        return Examples(self.names, self.dense[rows], tuple(bags), self.label[rows])


def _offsets(lengths: Tensor) -> Tensor:
    return torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])


def _bags(encoding: Encoding, field: Field, column: pl.Series) -> Bags:
    if field.kind != "multi_hot":
        return Bags(torch.from_numpy(_ids(encoding, field, column)), None)
    lists = column.to_frame("v").select(
        pl.when(pl.col("v").is_null())
        .then(pl.lit([None], dtype=column.dtype))
        .otherwise(pl.col("v").list.tail(field.most))
        .alias("v")
    )
    lengths = lists["v"].list.len().cast(pl.Int64).to_numpy()
    flat = lists["v"].explode(empty_as_null=False, keep_nulls=True)
    values = torch.from_numpy(_ids(encoding, field, flat))
    return Bags(values, _offsets(torch.from_numpy(lengths.copy())))


def _numbers(encoding: Encoding, field: Field, column: pl.Series) -> np.ndarray:
    """As `encoding.numbers` has it, without a look at each value."""
    numbers = column.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    beyond = np.flatnonzero(np.abs(numbers) > np.finfo(np.float32).max)  # NaN compares as false
    if len(beyond):
        encoding.numbers(field, [float(numbers[beyond[0]])])  # raises, naming field and value
    return numbers.astype(np.float32)


def _ids(encoding: Encoding, field: Field, column: pl.Series) -> np.ndarray:
    """Each different value is coded once."""
    different = column.unique()
    codes = pl.DataFrame({"v": different, "id": encoding.ids(field, different.to_list())})
    found = column.to_frame("v").join(
        codes, on="v", how="left", nulls_equal=True, maintain_order="left"
    )
    return found["id"].to_numpy().copy()


def concatenated(parts: Sequence[Examples]) -> Examples:
    """Several examples of the same fields, one after another."""
    bags = []
    for column in zip(*(p.bags for p in parts), strict=True):
        values = torch.cat([b.values for b in column])
        lengths = [b.offsets.diff() for b in column if b.offsets is not None]
        bags.append(Bags(values, _offsets(torch.cat(lengths)) if lengths else None))
    return Examples(
        parts[0].names,
        torch.cat([p.dense for p in parts]),
        tuple(bags),
        torch.cat([p.label for p in parts]),
    )
