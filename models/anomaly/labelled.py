"""Detectors that learn from labels: a few (Deep SAD) or many (a classifier)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from models.anomaly.autoencoder import layers
from models.anomaly.blend import Blend, shares
from models.anomaly.density import Density
from models.anomaly.event_model import Assessment, EventModel
from models.anomaly.preparation import Prepared
from models.anomaly.telemetry import ANOMALOUS, NORMAL


class LabelledModel(EventModel):
    """What the two share: a learnt score beside a distance, and attribution by occlusion.

    A field's part is what the learnt score loses when the field is put where the nearest normal
    events have it.

    Args:
        fields, context: columns of the input; see `models.anomaly.preparation.Prepared`.
        density: distance from normal events in the space of the inputs; it also says what was to
            be expected, and finds anomalies unlike those that were labelled.
        distance_weighs: whether the distance is blended into the score.
    """

    def __init__(
        self,
        fields: int,
        context: int,
        density: Callable[[], Density],
        optimizer: Callable[..., torch.optim.Optimizer],
        scheduler: Callable[..., Any] | None = None,
        distance_weighs: bool = True,
    ) -> None:
        super().__init__(optimizer, scheduler)
        self.fields = fields
        self.context = context
        self.density = density()
        self.distance_weighs = distance_weighs
        self.blend = Blend([1.0, 1.0] if distance_weighs else [1.0])

    def oddity(self, x: Tensor, context: Tensor) -> Tensor:
        """The learnt score: [..., F], [..., C] → [...], positive, high = anomalous."""
        raise NotImplementedError

    def settle(self, prepared: Prepared) -> None:
        self.density.fit(prepared.x)

    def balance(self, unseen: Prepared) -> None:
        self.blend.fit(self._scores(unseen, self.density(unseen.x).value))

    def assess(self, prepared: Prepared) -> Assessment:
        distance = self.density(prepared.x)
        raw = self.blend(self._scores(prepared, distance.value))
        lost = self._occluded(prepared, distance.nearest)
        parts = shares(distance.parts) * (0.5 if self.distance_weighs else 1e-3) + shares(lost)
        return Assessment(raw, parts, distance.nearest)

    def _scores(self, prepared: Prepared, distance: Tensor) -> list[Tensor]:
        learnt = self.oddity(prepared.x, prepared.context)
        return [learnt, distance] if self.distance_weighs else [learnt]

    def _occluded(self, prepared: Prepared, usual: Tensor) -> Tensor:
        """[B, F]"""
        one = torch.eye(self.fields, dtype=usual.dtype, device=usual.device)[:, None]  # [F, 1, F]
        replaced = prepared.x * (1 - one) + usual * one
        context = prepared.context.expand(self.fields, -1, -1)
        score = self.oddity(prepared.x, prepared.context)
        return torch.clamp(score - self.oddity(replaced, context), min=0.0).T


class DeepSad(LabelledModel):
    """Normal events are drawn to a centre, known anomalies pushed away (Ruff et al., ICLR 2020).

    Works without any label (Deep SVDD then), and better with a few. The encoder has no biases, so
    that it cannot draw everything to the centre.

    Args:
        hidden: units of each layer.
        code: width of the space that the centre is in.
        label_weight: η, how much a labelled event weighs against an unlabelled one.
    """

    centre: Tensor

    def __init__(
        self, *, hidden: int = 128, code: int = 32, label_weight: float = 1.0, **rest: Any
    ) -> None:
        super().__init__(**rest)
        self.encoder = nn.Sequential(
            nn.Linear(self.fields + self.context, hidden, bias=False),
            nn.LeakyReLU(),
            nn.Linear(hidden, hidden, bias=False),
            nn.LeakyReLU(),
            nn.Linear(hidden, code, bias=False),
        )
        self.label_weight = label_weight
        self.register_buffer("centre", torch.full((code,), torch.nan))

    def oddity(self, x: Tensor, context: Tensor) -> Tensor:
        return torch.sqrt(self._square(x, context) + 1e-9)

    def loss(self, x: Tensor, context: Tensor, label: Tensor) -> Tensor:
        if torch.isnan(self.centre).any():
            self.centre = self._first_centre(x, context)
        square = self._square(x, context)
        pulled = torch.where(label == NORMAL, self.label_weight, 1.0) * square
        pushed = self.label_weight / (square + 1e-6)
        return torch.where(label == ANOMALOUS, pushed, pulled).mean()

    def _square(self, x: Tensor, context: Tensor) -> Tensor:
        code: Tensor = self.encoder(torch.cat([x, context], dim=-1)) - self.centre
        return code.square().mean(-1)

    def _first_centre(self, x: Tensor, context: Tensor) -> Tensor:
        """The mean of the first batch, as in the paper; never 0, where weights of 0 would lead."""
        with torch.no_grad():
            mean = self.encoder(torch.cat([x, context], dim=-1)).mean(0)
        away = torch.where(mean < 0, -0.1, 0.1)
        return torch.where(mean.abs() < 0.1, away, mean)


class Classifier(LabelledModel):
    """Normal or anomalous by cross-entropy, for when labels abound.

    Args:
        hidden: units of each layer.
        dropout: share of units left out in training.
    """

    def __init__(self, *, hidden: int = 128, dropout: float = 0.1, **rest: Any) -> None:
        super().__init__(**rest)
        self.network = nn.Sequential(
            nn.Linear(self.fields + self.context, hidden),
            nn.SiLU(),
            nn.Dropout(dropout),
            layers([hidden, hidden, 1]),
        )

    def oddity(self, x: Tensor, context: Tensor) -> Tensor:
        # Softplus keeps the logit's order and is positive, as a blend needs.
        return torch.nn.functional.softplus(self._logit(x, context))

    def loss(self, x: Tensor, context: Tensor, label: Tensor) -> Tensor:
        truth = (label == ANOMALOUS).float()
        return torch.nn.functional.binary_cross_entropy_with_logits(self._logit(x, context), truth)

    def _logit(self, x: Tensor, context: Tensor) -> Tensor:
        logit: Tensor = self.network(torch.cat([x, context], dim=-1))
        return logit[..., 0]
