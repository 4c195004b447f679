"""How far a point is from normal ones: densities in the space of the inputs or of a code."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from sklearn.cluster import MiniBatchKMeans
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn


class Distance(NamedTuple):
    """Of B points of Z coordinates."""

    value: Tensor  # [B] not negative, high = far from everything normal
    parts: Tensor  # [B, Z] each coordinate's share; not negative, of any sum
    nearest: Tensor  # [B, Z] where normal points would be


class Density(nn.Module):
    """Fitted on normal points [N, Z], then asked about others."""

    def fit(self, points: Tensor) -> None:
        raise NotImplementedError

    def forward(self, points: Tensor) -> Distance:
        raise NotImplementedError


class Neighbours(Density):
    """Mean distance to the nearest normal points (Angiulli & Pizzuti, PKDD 2002).

    Args:
        k: neighbours.
        references: points kept; of more, a random choice of them. Memory and time of a served
            event grow with it.
        condense: keep cluster centres (k-means) instead of a random choice.
        seed: of the choice.
    """

    points: Tensor
    norms: Tensor

    def __init__(
        self, k: int = 2, references: int = 20_000, condense: bool = False, seed: int = 0
    ) -> None:
        super().__init__()
        self.k = k
        self.references = references
        self.condense = condense
        self.seed = seed
        self.register_buffer("points", torch.zeros(0))
        self.register_buffer("norms", torch.zeros(0))

    def fit(self, points: Tensor) -> None:
        if len(points) > self.references:
            points = self._centres(points) if self.condense else self._chosen(points)
        self.points = points.clone()
        self.norms = points.square().sum(1)

    def forward(self, points: Tensor) -> Distance:
        # |p − r|² less |p|², which is the same for all r, in one matrix product.
        ranked = torch.addmm(self.norms, points, self.points.T, alpha=-2.0)
        k = min(self.k, len(self.points))
        rows = torch.topk(ranked, k, dim=1, largest=False).indices
        # Exactly, for the few that matter: the product loses the digits of small distances.
        chosen = self.points[rows]  # [B, k, Z]
        squares = torch.square(points[:, None] - chosen)
        distances = torch.sqrt(squares.sum(2))
        return Distance(distances.mean(1), squares.mean(1), chosen.mean(1))

    def _chosen(self, points: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        return points[torch.randperm(len(points), generator=generator)[: self.references]]

    def _centres(self, points: Tensor) -> Tensor:
        clusters = MiniBatchKMeans(self.references, random_state=self.seed, n_init=1)
        return torch.from_numpy(clusters.fit(points.numpy()).cluster_centers_).float()


class Mahalanobis(Density):
    """Distance from the mean in units of the covariance (Mahalanobis, 1936).

    Args:
        shrinkage: share of the mean variance that is added to every direction's own.
    """

    mean: Tensor
    whitening: Tensor

    def __init__(self, shrinkage: float = 0.05) -> None:
        super().__init__()
        self.shrinkage = shrinkage
        self.register_buffer("mean", torch.zeros(0))
        self.register_buffer("whitening", torch.zeros(0))

    def fit(self, points: Tensor) -> None:
        rows = points.double().numpy()
        covariance = np.atleast_2d(np.cov(rows.T))
        spread = float(np.trace(covariance)) / len(covariance)
        values, directions = np.linalg.eigh(covariance)
        values = np.maximum(values, 0) * (1 - self.shrinkage) + self.shrinkage * (spread or 1.0)
        self.mean = torch.from_numpy(rows.mean(0)).float()
        # Symmetric: a whitened coordinate stays the one that it was.
        self.whitening = torch.from_numpy(directions / np.sqrt(values) @ directions.T).float()

    def forward(self, points: Tensor) -> Distance:
        parts = torch.square((points - self.mean) @ self.whitening)
        return Distance(torch.sqrt(parts.sum(1)), parts, self.mean.expand_as(points))


class Mixture(Density):
    """Gaussian mixture: the root of twice the negative log-likelihood above the best one possible.

    Args:
        components: Gaussians, fewer where there are few points.
        seed: of where they start.
    """

    means: Tensor
    roots: Tensor
    offsets: Tensor

    def __init__(self, components: int = 8, seed: int = 0) -> None:
        super().__init__()
        self.components = components
        self.seed = seed
        for name in ("means", "roots", "offsets"):
            self.register_buffer(name, torch.zeros(0))

    def fit(self, points: Tensor) -> None:
        least = 10  # points a Gaussian
        count = max(1, min(self.components, len(points) // least))
        mixture = GaussianMixture(count, reg_covar=1e-3, random_state=self.seed)
        mixture.fit(points.double().numpy())
        roots = mixture.precisions_cholesky_  # [K, Z, Z]
        logs = np.log(np.diagonal(roots, axis1=1, axis2=2)).sum(1) + np.log(mixture.weights_)
        self.means = torch.from_numpy(mixture.means_).float()
        self.roots = torch.from_numpy(roots).float()
        self.offsets = torch.from_numpy(logs - logs.max()).float()

    def forward(self, points: Tensor) -> Distance:
        centred = points[:, None] - self.means  # [B, K, Z]
        parts = torch.square(torch.einsum("bkz,kzy->bky", centred, self.roots))
        likelihood = self.offsets - parts.sum(2) / 2
        weight = torch.softmax(likelihood, dim=1)
        # At most log K above the best component's peak: the bound keeps the root real.
        gap = math.log(len(self.means)) - torch.logsumexp(likelihood, dim=1)
        mixed = (weight[:, :, None] * parts).sum(1)
        return Distance(torch.sqrt(2 * torch.clamp(gap, min=0.0)), mixed, weight @ self.means)
