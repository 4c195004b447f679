"""Estimators of a policy's value, the mean reward of a request, from another policy's log.

An estimator knows two things of the sums of a log: its value when each cluster counts so many
times (`value`, for the bootstrap), and each cluster's influence on it (`influence`, for the normal
interval). All take the weights as they are; `Weights` clips them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from models.recommender.policy.sums import Array, Codes, Sums


class Estimator(Protocol):
    """The contract."""

    needs_reward_model: bool

    def value(self, sums: Sums, times: Array) -> Array:
        """[B, C] how often each cluster counts → [B] values."""
        ...

    def influence(self, sums: Sums) -> Array:
        """[C] linear terms, of mean 0; the value's variance is Σ influence² / C²."""
        ...


class IPS:
    """Inverse propensity scoring (Horvitz & Thompson, 1952): Σ w·r over requests.

    Unbiased where the log's policy could show all that the target would; its variance grows with
    the weights.
    """

    needs_reward_model = False

    def value(self, sums: Sums, times: Array) -> Array:
        return _ratio(times @ sums.earned.sum(1), times @ sums.requests)

    def influence(self, sums: Sums) -> Array:
        return _mean_influence(sums.earned.sum(1), sums.requests)


class SNIPS:
    """Self-normalised IPS (Swaminathan & Joachims, NeurIPS 2015): Σ w·r over Σ w.

    Biased a little, and steadier by much: it never leaves the range of the rewards, and adding a
    constant to all of them adds it to the value. Each place of a slate is normalised by itself.
    """

    needs_reward_model = False

    def value(self, sums: Sums, times: Array) -> Array:
        places = _ratio(times @ sums.earned, times @ sums.weight)  # [B, P]
        shares = _ratio(times @ sums.shown, (times @ sums.requests)[:, None])
        return np.asarray((places * shares).sum(1))

    def influence(self, sums: Sums) -> Array:
        weight, shown, requests = sums.weight.sum(0), sums.shown.sum(0), sums.requests.sum()
        place = _ratio(sums.earned.sum(0), weight)  # [P]
        share = shown / requests
        change = _ratio(share * (sums.earned - place * sums.weight), weight)
        change = change + place * (sums.shown - share * sums.requests[:, None]) / requests
        return np.asarray(len(sums.requests) * change.sum(1))


class DoublyRobust:
    """A reward model, corrected where it errs on what was shown (Dudík et al., ICML 2011).

    Right if either the propensities or the model are; with both nearly right, of lower variance
    than IPS.
    """

    needs_reward_model = True

    def value(self, sums: Sums, times: Array) -> Array:
        return _ratio(times @ sums.corrected.sum(1), times @ sums.requests)

    def influence(self, sums: Sums) -> Array:
        return _mean_influence(sums.corrected.sum(1), sums.requests)


def _mean_influence(totals: Array, requests: Array) -> Array:
    mean = totals.sum() / requests.sum()
    return np.asarray(len(requests) * (totals - mean * requests) / requests.sum())


def _ratio(above: Array, below: Array) -> Array:
    """0 where nothing was weighed: a policy that shows nothing of the log earns nothing of it."""
    return np.divide(above, below, out=np.zeros(np.broadcast(above, below).shape), where=below != 0)


@dataclass(frozen=True)
class Weights:
    """How much more likely the target was to show a row than the policy that showed it.

    Args:
        clip: largest weight; larger ones are cut to it, which trades variance for a bias towards
            too little. None leaves them.
        slate: "place" weighs each place by itself (the item-position model of Li et al., KDD
            2018); "cascade" multiplies the weights of the places before it, as
            reward-interaction IPS does (McInerney et al., KDD 2020), which is right where a
            reward depends on what stands above.
    """

    clip: float | None = None
    slate: str = "place"

    def __post_init__(self) -> None:
        if self.clip is not None and self.clip <= 0:
            raise ValueError(f"clip must be above 0 or null, not {self.clip}")
        if self.slate not in ("place", "cascade"):
            raise ValueError(f"slate must be 'place' or 'cascade', not {self.slate!r}")

    def of(self, target: Array, propensity: Array, request: Codes, place: Codes) -> Array:
        """[N] weights; rows in any order."""
        weight = target / propensity
        if self.slate == "cascade":
            order = np.lexsort((place, request))
            first = np.flatnonzero(np.diff(request[order], prepend=-1))
            weight[order] = _running_products(weight[order], first)
        return weight if self.clip is None else np.minimum(weight, self.clip)


def _running_products(values: Array, first: Codes) -> Array:
    """Products from each run's first value on; runs begin at the places `first`."""
    lengths = np.diff(first, append=len(values))
    product = values.copy()
    for step in range(1, int(lengths.max(initial=1))):  # as many as a slate has places
        places = first[lengths > step] + step
        product[places] *= product[places - 1]
    return product


def effective_sample_size(weight: Array) -> float:
    """(Σ w)² / Σ w² (Kish, 1965): as many rows of equal weight would say as much."""
    squares = float(np.square(weight).sum())
    return float(weight.sum()) ** 2 / squares if squares else 0.0
