"""The prior of one side's vectors, itself sampled: mean, precision and the map of attributes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class Prior:
    """Vectors f ~ N(μ + x W, Λ⁻¹), with μ and Λ Normal-Wishart and W normal with precision λ Λ.

    Args:
        n, width: how many vectors and how long.
        features: x [n, F], dense, or None.
        map_precision: λ.
    """

    def __init__(
        self,
        n: int,
        width: int,
        features: np.ndarray | None,
        map_precision: float,
        rng: np.random.Generator,
    ) -> None:
        self.n = n
        self.width = width
        self.rng = rng
        self.map_precision = map_precision
        self.features = None if features is None else torch.from_numpy(features).double()
        self.shift = torch.zeros(n, width, dtype=torch.float64)  # x W
        self.map = torch.zeros(0, width, dtype=torch.float64)  # W [F, D]
        if self.features is not None:
            gram = self.features.T @ self.features
            gram.diagonal().add_(map_precision)
            self.root = torch.linalg.cholesky(gram)
            self.map = torch.zeros(len(gram), width, dtype=torch.float64)

    def draw(self, factors: Tensor) -> tuple[Tensor, Tensor]:
        """Given vectors [n, D]: the next prior means [n, D] and precision Λ [D, D]."""
        rest = factors - self.shift
        middle = rest.mean(0)
        scatter = (rest - middle).T @ (rest - middle)
        strength = 2.0  # of the prior mean 0, in vectors
        inverse = torch.eye(self.width, dtype=torch.float64) + scatter
        inverse += strength * self.n / (strength + self.n) * torch.outer(middle, middle)
        inverse += self.map_precision * self.map.T @ self.map
        degrees = self.width + self.n + len(self.map)
        precision = self._wishart(degrees, inverse)
        deviation = torch.linalg.inv(torch.linalg.cholesky(precision)).T  # Λ⁻¹ = D Dᵀ
        total = strength + self.n
        mean = self.n * middle / total + self._normal(1)[0] @ deviation.T / total**0.5
        if self.features is not None:
            seen = factors - mean + self._normal(self.n) @ deviation.T
            blurred = self.map_precision**0.5 * self._normal(len(self.map)) @ deviation.T
            self.map = torch.cholesky_solve(self.features.T @ seen + blurred, self.root)
            self.shift = self.features @ self.map
        return mean + self.shift, precision

    def _normal(self, rows: int) -> Tensor:
        return torch.from_numpy(self.rng.standard_normal((rows, self.width)))

    def _wishart(self, degrees: int, inverse_scale: Tensor) -> Tensor:
        """One draw by Bartlett's decomposition."""
        root = torch.linalg.cholesky(torch.linalg.inv(inverse_scale))
        triangle = np.tril(self.rng.standard_normal((self.width, self.width)), -1)
        chi = self.rng.chisquare(degrees - np.arange(self.width))
        triangle[np.diag_indices(self.width)] = np.sqrt(chi)
        half: Tensor = root @ torch.from_numpy(triangle)
        return half @ half.T
