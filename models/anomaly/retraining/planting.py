"""Anomalies planted into normal windows, so that detectors can be compared where nobody judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class Kind(Protocol):
    """Newest events [N, F] with the same rows shuffled and each field's spread [F] → [N, F]."""

    def __call__(
        self, events: Floats, others: Floats, spread: Floats, rng: np.random.Generator
    ) -> Floats: ...


def spike(
    events: Floats,
    others: Floats,
    spread: Floats,
    rng: np.random.Generator,
    least: float = 3.0,
    most: float = 8.0,
) -> Floats:
    """One field jumps up or down by so many spreads."""
    rows, width = events.shape
    field = rng.integers(width, size=rows)
    size = rng.uniform(least, most, rows) * rng.choice((-1.0, 1.0), rows) * spread[field]
    changed = events.copy()
    changed[np.arange(rows), field] += size.astype(np.float32)
    return changed


def swap(
    events: Floats,
    others: Floats,
    spread: Floats,
    rng: np.random.Generator,
    share: float = 0.34,
) -> Floats:
    """Some fields have the values of another event: each is usual, together they are not."""
    rows, width = events.shape
    count = min(max(1, round(width * share)), width)
    taken = rng.random((rows, width)).argsort(axis=1) < count
    return np.where(taken, others, events)


@dataclass
class Planting:
    """Args:
    kinds: by name; each makes an equal share.
    most: planted at most, over all kinds.
    """

    kinds: Mapping[str, Kind]
    most: int = 1000
    seed: int = 0

    def __call__(self, windows: Floats) -> tuple[Floats, NDArray[np.int64], list[str]]:
        """Windows [N, T, F] → planted windows [P, T, F], the row each was made of, its kind."""
        rng = np.random.default_rng(self.seed)
        newest = windows[:, -1]
        low, high = np.nanpercentile(newest, [25, 75], axis=0)
        spread = (high - low) / 1.349
        # A field that is the same in most rows still has a scale of some sort.
        spread = np.where(spread > 0, spread, np.nanstd(newest, axis=0))
        spread = np.nan_to_num(np.where(spread > 0, spread, 1.0), nan=1.0).astype(np.float32)
        each = max(1, min(self.most, len(windows)) // len(self.kinds))
        planted, rows, names = [], [], []
        for name, kind in self.kinds.items():
            chosen = rng.choice(len(windows), size=each, replace=False)
            others = newest[rng.permutation(len(windows))[:each]]
            part = windows[chosen].copy()
            part[:, -1] = kind(newest[chosen], others, spread, rng)
            planted.append(part)
            rows.append(chosen)
            names += [name] * each
        return np.concatenate(planted), np.concatenate(rows), names
