"""Distances beside what scikit-learn says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import NearestNeighbors

from models.anomaly.density import Density, Mahalanobis, Mixture, Neighbours

rng = np.random.default_rng(0)
TRAIN = (rng.normal(size=(400, 3)) * [1, 2, 0.5]).astype(np.float32)
ASKED = (rng.normal(size=(50, 3)) * 3).astype(np.float32)


def ask(density: Density) -> tuple[np.ndarray, np.ndarray]:
    density.fit(torch.from_numpy(TRAIN))
    answer = density(torch.from_numpy(ASKED))
    return answer.value.numpy(), answer.parts.numpy()


def test_neighbours_are_the_nearest() -> None:
    right = NearestNeighbors(n_neighbors=3).fit(TRAIN).kneighbors(ASKED)[0].mean(1)
    assert ask(Neighbours(k=3))[0] == pytest.approx(right, rel=1e-4)


@pytest.mark.parametrize("condense", [True, False])
def test_fewer_references_are_still_near(condense: bool) -> None:
    every, few = Neighbours(k=1), Neighbours(k=1, references=100, condense=condense)
    whole, kept = ask(every)[0], ask(few)[0]
    assert few.points.shape == (100, 3)
    assert np.corrcoef(whole, kept)[0, 1] > 0.9


def test_mahalanobis_knows_the_scale_of_each_direction() -> None:
    values, parts = ask(Mahalanobis(shrinkage=0))
    deviation = ASKED - TRAIN.mean(0)
    right = np.einsum("bi,ij,bj->b", deviation, np.linalg.inv(np.cov(TRAIN.T)), deviation)
    assert values**2 == pytest.approx(right, rel=1e-3)
    assert parts.sum(1) == pytest.approx(right, rel=1e-3)


def test_the_mixture_ranks_by_likelihood() -> None:
    values, _ = ask(Mixture(components=3))
    peer = GaussianMixture(3, reg_covar=1e-3, random_state=0).fit(TRAIN.astype(np.float64))
    assert (np.argsort(values) == np.argsort(-peer.score_samples(ASKED))).mean() > 0.95
