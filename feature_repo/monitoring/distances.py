"""How far two distributions over the same bins are apart, and how far chance alone would put them.

Arrays hold counts; the last axis is the bins. [R, B] compares R pairs at once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


def psi(baseline: Counts, current: Counts, prior: float = 0.5) -> Floats:
    """Population stability index: Σ (q − p) ln(q / p), from 0, without an upper end.

    A bin that is empty on one side would make it infinite, so `prior` is added to every bin, on
    both sides (½: the Jeffreys prior of a multinomial). 0 computes the plain formula.
    """
    p, q = _shares(baseline + prior), _shares(current + prior)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p == q, 0.0, (q - p) * np.log(q / p))
    total: Floats = terms.sum(axis=-1)
    return total


def jensen_shannon(baseline: Counts, current: Counts) -> Floats:
    """Jensen-Shannon distance: the root of the divergence in bits, from 0 to 1.

    Empty bins need no care. Equal to `scipy.spatial.distance.jensenshannon(base=2)`. After
    D. M. Endres and J. E. Schindelin, A new metric for probability distributions, 2003.
    """
    p, q = _shares(baseline), _shares(current)
    middle = (p + q) / 2
    divergence = (_entropy_from(p, middle) + _entropy_from(q, middle)) / 2
    distance: Floats = np.sqrt(np.clip(divergence, 0.0, 1.0))
    return distance


class Noise(NamedTuple):
    """What two samples of one distribution stay below, with a probability of 1 − `alpha`."""

    psi: float
    js: float


def noise(baseline: Counts, current: Counts, alpha: float, draws: int, seed: int = 0) -> Noise:
    """The permutation null: all rows mixed, and dealt out again into samples of the same sizes.

    Dealing rows in bins is a draw from the multivariate hypergeometric distribution, so that no row
    is touched. Rows are taken to be independent: give counts of `effective` rows where they aren't.
    """
    pooled = baseline + current
    rng = np.random.default_rng(seed)
    dealt = rng.multivariate_hypergeometric(
        pooled, int(current.sum()), size=draws, method="marginals"
    )
    rest = pooled - dealt
    high = 1 - alpha
    return Noise(
        float(np.quantile(psi(rest, dealt), high)),
        float(np.quantile(jensen_shannon(rest, dealt), high)),
    )


def design_effect(places: Counts, blocks: Counts, bins: int) -> float:
    """How many rows are worth one independent row, at least 1.

    Measurements of one machine on one day resemble one another; a thousand of them say less than a
    thousand of as many machines. The mean design effect of the shares of bins, with a block as one
    observation: J. N. K. Rao and A. J. Scott, The analysis of categorical data from complex sample
    surveys, 1981. Likeness between blocks is not seen.

    Args:
        places: each row's bin.
        blocks: each row's block, from 0.
    """
    rows, number = len(places), int(blocks.max()) + 1 if len(blocks) else 0
    if number < 2 or number == rows:
        return 1.0
    table = np.bincount(blocks * bins + places, minlength=number * bins).reshape(number, bins)
    table = table[:, table.sum(axis=0) > 0]
    shares = table.sum(axis=0) / rows
    if len(shares) < 2:
        return 1.0
    off = table - table.sum(axis=1, keepdims=True) * shares
    spread = (off.astype(np.float64) ** 2).sum(axis=0) * number / (number - 1)
    return max(1.0, float((spread / (rows * shares)).sum() / (len(shares) - 1)))


def effective(counts: Counts, effect: float) -> Counts:
    """As many independent rows as `counts` are worth."""
    fewer: Counts = np.rint(counts / effect).astype(np.int64)
    return fewer


def _shares(counts: NDArray[np.number]) -> Floats:
    shares: Floats = counts / counts.sum(axis=-1, keepdims=True)
    return shares


def _entropy_from(p: Floats, middle: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, p * np.log2(p / middle), 0.0)
    total: Floats = terms.sum(axis=-1)
    return total
