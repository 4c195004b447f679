"""A factorization machine as a floor: a short training of its own, stopped by validation."""

from __future__ import annotations

import copy
import logging

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from models.recommender.ranking.examples import Examples
from models.recommender.ranking.metrics import measured
from models.recommender.ranking.nets.factorization_machine import FactorizationMachine as Net
from models.recommender.ranking.shape import Shape

log = logging.getLogger(__name__)


class FactorizationMachine:
    """Trained by Adam until validation's log-loss stops falling.

    Args:
        factors: width of the factors.
        decay: of embeddings and factors, decoupled (AdamW).
        patience: epochs without a better log-loss.
    """

    def __init__(
        self,
        factors: int = 16,
        lr: float = 3e-3,
        decay: float = 0.1,
        epochs: int = 20,
        patience: int = 2,
        batch_size: int = 1024,
        seed: int = 0,
    ) -> None:
        self.factors = factors
        self.lr = lr
        self.decay = decay
        self.epochs = epochs
        self.patience = patience
        self.batch_size = batch_size
        self.seed = seed

    def fit(self, shape: Shape, train: Examples, validation: Examples) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.net = Net(shape, dim=self.factors + 1)
            optimizer = torch.optim.AdamW(self.net.parameters(), self.lr, weight_decay=self.decay)
            best, state, waited = float("inf"), copy.deepcopy(self.net.state_dict()), 0
            for _ in range(self.epochs):
                for rows in torch.randperm(len(train)).split(self.batch_size):
                    batch = train.take(rows)
                    logits = self.net(batch.dense, batch.bags)
                    loss = F.binary_cross_entropy_with_logits(logits, batch.label)
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                found = measured(validation.label.numpy(), self.probabilities(validation))
                if found["log_loss"] < best:
                    best, waited = found["log_loss"], 0
                    state = copy.deepcopy(self.net.state_dict())
                elif (waited := waited + 1) > self.patience:
                    break
            self.net.load_state_dict(state)

    @torch.no_grad()
    def probabilities(self, examples: Examples) -> np.ndarray:
        """[N]."""
        parts: list[Tensor] = []
        for rows in torch.arange(len(examples)).split(8192):
            batch = examples.take(rows)
            parts.append(self.net(batch.dense, batch.bags).sigmoid())
        return torch.cat(parts).numpy()
