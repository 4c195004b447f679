"""What a network must know of its inputs before it can be built."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from models.recommender.ranking.encoding import Encoding, Floats


class Table(NamedTuple):
    """One embedding table and the fields that look up in it."""

    name: str
    rows: int
    fields: tuple[str, ...]


class Shape:
    """Tables of C bags, and F dense numbers with the scale that training found.

    A plain class: Hydra hands a model's arguments on as they are, but turns data classes into
    configs.

    Args:
        log: which dense numbers are taken as sign(x)·log(1 + |x|) before scaling.
        base_rate: share of positive labels in training: where the answer starts.
    """

    def __init__(
        self,
        tables: Sequence[Table],
        dense: Sequence[str],
        log: Sequence[bool],
        center: Sequence[float],
        scale: Sequence[float],
        base_rate: float,
    ) -> None:
        self.tables = tuple(tables)
        self.dense = tuple(dense)
        self.log = tuple(log)
        self.center = tuple(center)
        self.scale = tuple(scale)
        self.base_rate = base_rate

    @property
    def bags(self) -> tuple[str, ...]:
        """[C] names, in the order of pooled vectors."""
        return tuple(f for table in self.tables for f in table.fields)

    @classmethod
    def of(cls, encoding: Encoding, dense: Floats, label: Floats) -> Shape:
        """Measure training rows: dense [N, F] with NaN where missing, label [N]."""
        fields = encoding.fields
        log = np.array([f.log for f in fields.dense], dtype=bool)
        values = dense.astype(np.float64)
        values = np.where(log, np.sign(values) * np.log1p(np.abs(values)), values)
        known = ~np.isnan(values)
        counts = np.maximum(known.sum(axis=0), 1)
        center = np.where(known, values, 0).sum(axis=0) / counts
        spread = np.sqrt((np.where(known, values - center, 0) ** 2).sum(axis=0) / counts)
        scale = np.where(spread > 1e-6, spread, 1.0)  # what never varied is left as it is
        return cls(
            tables=[
                Table(t.name, encoding.size(t), tuple(f.name for f in fields.sharing(t)))
                for t in fields.tables
            ],
            dense=[f.name for f in fields.dense],
            log=log.tolist(),
            center=center.tolist(),
            scale=scale.tolist(),
            base_rate=float(np.clip(label.mean() if len(label) else 0.5, 1e-4, 1 - 1e-4)),
        )
