"""Implicit-feedback matrix factorization by alternating least squares.

Hu, Koren & Volinsky, ICDM 2008, as the `implicit` library fits it. Nothing of a user is kept: a
history's vector is solved for when it is asked, so that new users and new events count at once.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from implicit.cpu.als import AlternatingLeastSquares
from threadpoolctl import threadpool_limits
from torch import Tensor

from models.recommender.classics.bags import touched
from models.recommender.classics.matrix import user_items
from models.recommender.classics.model import Classic
from models.recommender.interactions import Interactions

# The library asks for what `fit` does.
warnings.filterwarnings("ignore", message="OpenBLAS is configured to use", category=RuntimeWarning)


class ImplicitALS(Classic):
    """Score = item vector · the vector that explains the history best.

    Args:
        library: the unfitted `implicit` model; its factors, regularization and alpha are used.
        steps: of conjugate gradients towards a history's vector. They are unrolled in the graph,
            since ONNX has no solver; as many as factors would be exact, far fewer suffice.
    """

    what = "Implicit-feedback matrix factorization (alternating least squares)"
    items: Tensor  # [V + 1, D] in the coordinates in which YᵀY + λ is the identity

    def __init__(self, library: AlternatingLeastSquares, steps: int = 12) -> None:
        super().__init__()
        self.library = library
        self.steps = steps
        self.register_buffer("items", torch.zeros(1, 1))

    def fit(self, data: Interactions, train: np.ndarray) -> None:
        with threadpool_limits(
            1, "blas"
        ):  # the library has threads of its own, which BLAS's hinder
            self.library.fit(user_items(data, train), show_progress=False)
        factors = torch.from_numpy(self.library.item_factors).double()
        eye = torch.eye(factors.shape[1], dtype=torch.float64)
        root = torch.linalg.cholesky(factors.T @ factors + self.library.regularization * eye)
        white = torch.linalg.solve_triangular(root, factors.T, upper=False).T.float()
        self.items = torch.cat([torch.zeros_like(white[:1]), white])

    def score(self, history: Tensor) -> Tensor:
        return self.vectors(history) @ self.items.T

    def vectors(self, history: Tensor) -> Tensor:
        """History [B, T] → x [B, D] of (YᵀY + λ + (α − 1) YᵤᵀYᵤ) x = α Yᵤᵀ 1, Yᵤ the history's.

        In the coordinates of `items` that is a perturbed identity, which few steps solve. In single
        precision two runtimes would part at the fourth digit: a long history is badly conditioned.
        """
        bag = touched(history, self.items.shape[0])  # [B, V + 1]
        once = (bag.gather(1, history) / self._times(history)).double()  # [B, T] twice counts once
        rows = self.items[history].double()  # [B, T, D]
        alpha = float(self.library.alpha)

        def system(x: Tensor) -> Tensor:
            inner = (rows * x[:, None]).sum(2) * once
            return x + (alpha - 1) * (rows * inner[:, :, None]).sum(1)

        residual = alpha * (rows * once[:, :, None]).sum(1)
        x = torch.zeros_like(residual)
        direction = residual
        power = (residual * residual).sum(1, keepdim=True)
        for _ in range(self.steps):
            moved = system(direction)
            step = power / (direction * moved).sum(1, keepdim=True).clamp(min=1e-20)
            x = x + step * direction
            residual = residual - step * moved
            left = (residual * residual).sum(1, keepdim=True)
            direction = residual + left / power.clamp(min=1e-20) * direction
            power = left
        return x.float()

    def _times(self, history: Tensor) -> Tensor:
        """[B, T]: how often each place's item occurs in its history."""
        row = torch.zeros(history.shape[0], self.items.shape[0], device=history.device)
        return row.scatter_add(1, history, torch.ones_like(history).float()).gather(1, history)
