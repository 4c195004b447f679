"""A detector of single events: prepare, train with Lightning, calibrate, become a graph."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from models.anomaly.attribution import share_out
from models.anomaly.continuing import State, arrays, put_back
from models.anomaly.detector import Scores
from models.anomaly.event_model import Assessor, EventModel, RandomBatches
from models.anomaly.preparation import Preparation, Prepared
from models.anomaly.scoring import score_with
from models.anomaly.surprise import Surprise
from models.anomaly.telemetry import ANOMALOUS, Telemetry, TelemetryError

log = logging.getLogger(__name__)


class TabularDetector:
    """Judge each event by itself.

    Args:
        preparation: how fields are scaled.
        model: makes the network of `fields` and `context` columns.
        trainer: makes a Lightning trainer; called once a fit.
        surprise: makes the calibration.
        held_out: share of the normal rows that calibrates instead of training.
        batch_size: rows of a training step.
        epoch_steps: training steps between two validations.
        anomaly_share: share of known anomalies in a batch, for models that learn from them.
        least_rows: fewer normal rows are refused.
        least_anomalies: fewer rows labelled anomalous are refused, for models that need them.
        seed: of held-out rows, initial weights and batches.
    """

    window = 1

    def __init__(
        self,
        preparation: Callable[[], Preparation],
        model: Callable[..., EventModel],
        trainer: Callable[..., pl.Trainer],
        surprise: Callable[[], Surprise] = Surprise,
        held_out: float = 0.15,
        batch_size: int = 256,
        epoch_steps: int = 250,
        anomaly_share: float = 0.0,
        least_rows: int = 20,
        least_anomalies: int = 0,
        seed: int = 0,
    ) -> None:
        self.preparation = preparation()
        self.surprise = surprise()
        self._model = model
        self._trainer = trainer
        self.held_out = held_out
        self.batch_size = batch_size
        self.epoch_steps = epoch_steps
        self.anomaly_share = anomaly_share
        self.least_rows = least_rows
        self.least_anomalies = least_anomalies
        self.seed = seed
        self.model: EventModel | None = None
        self.validation: dict[str, float] = {}  # the last validation's metrics by name

    def fit(self, telemetry: Telemetry) -> None:
        """Learn from rows that are not labelled anomalous; from those too where the model can.

        Raises:
            TelemetryError: too few normal rows, or a field without values.
        """
        normal = telemetry.take(telemetry.label != ANOMALOUS)
        if len(normal) < self.least_rows:
            raise TelemetryError(
                f"{len(normal)} rows that are not labelled anomalous; at least {self.least_rows} "
                "are needed to train and calibrate"
            )
        if len(telemetry) - len(normal) < self.least_anomalies:
            raise TelemetryError(
                f"{len(telemetry) - len(normal)} rows labelled anomalous; this detector learns "
                f"from at least {self.least_anomalies} (does data.split.labels hide them?)"
            )
        self.preparation.fit(normal)
        self._learn(telemetry, None)

    def _learn(self, telemetry: Telemetry, known: EventModel | None) -> None:
        """Train `known` on, or a new model, and calibrate; the preparation is ready."""
        prepared = self._prepare(telemetry)
        label = torch.from_numpy(telemetry.label.astype(np.int64))
        rows = torch.from_numpy(np.flatnonzero(telemetry.label != ANOMALOUS))
        shuffled = rows[torch.randperm(len(rows), generator=self._generator())]
        aside = max(1, int(len(rows) * self.held_out))
        held, learnt = shuffled[:aside].sort().values, shuffled[aside:].sort().values
        anomalous = torch.from_numpy(np.flatnonzero(telemetry.label == ANOMALOUS))

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.model = known or self._new()
            self._train(self.model, prepared, label, torch.cat([learnt, anomalous]), held)
        model = self.model.cpu().eval()
        with torch.inference_mode():
            # Calibrated on rows that it does not know; what it then serves with knows them all.
            model.settle(_rows(prepared, learnt))
            model.balance(_rows(prepared, held))
            raw = [model.assess(_rows(prepared, part)).raw for part in held.split(4096)]
            self.surprise.fit(torch.cat(raw).numpy())
            model.settle(_rows(prepared, rows))

    def _new(self) -> EventModel:
        return self._model(fields=self.preparation.width, context=self.preparation.context_width)

    def state(self) -> State:
        """See `models.anomaly.continuing`."""
        return arrays(self.graph())

    def restore(self, state: State) -> None:
        """Be what gave this state; raises `ValueError` where it was another kind."""
        for name, part in (("preparation", self.preparation), ("surprise", self.surprise)):
            put_back(part, _of(state, name))
        self.model = self._new()
        put_back(self.model, _of(state, "model"))

    def update(self, telemetry: Telemetry, memory: float) -> None:
        """Move the normaliser, train on, calibrate anew; what is settled is so on these rows.

        Raises:
            TelemetryError: before `fit` or `restore`, or too few normal rows.
        """
        normal = telemetry.take(telemetry.label != ANOMALOUS)
        if self.model is None or len(normal) < self.least_rows:
            raise TelemetryError(
                f"{len(normal)} normal rows and {'no' if self.model is None else 'a'} fitted "
                f"detector; at least {self.least_rows} rows and a fitted one are needed to go on"
            )
        self.preparation.update(normal, memory)
        self._learn(telemetry, self.model.train())

    def score(self, telemetry: Telemetry) -> Scores:
        """Raises `TelemetryError` before `fit`, and for other fields than those learnt."""
        if self.model is None:
            raise TelemetryError("the detector has not been fitted")
        if len(telemetry.fields) != self.preparation.width:
            raise TelemetryError(
                f"{len(telemetry.fields)} fields {list(telemetry.fields)[:10]}, but the detector "
                f"learnt {self.preparation.width}"
            )
        return score_with(self.graph(), telemetry, self.window)

    def graph(self) -> nn.Module:
        if self.model is None:
            raise TelemetryError("the detector has not been fitted")
        return EventGraph(self.preparation, self.model, self.surprise).eval()

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)

    def _prepare(self, telemetry: Telemetry) -> Prepared:
        values, time = torch.from_numpy(telemetry.values), torch.from_numpy(telemetry.time)
        with torch.inference_mode():
            prepared: Prepared = self.preparation(values, time)
        # Tensors made in inference mode cannot be trained on.
        return Prepared(*(part.clone() for part in prepared))

    def _train(
        self, model: EventModel, prepared: Prepared, label: Tensor, rows: Tensor, held: Tensor
    ) -> None:
        learnt, unseen = ((prepared.x[r], prepared.context[r], label[r]) for r in (rows, held))
        weights = None
        anomalous = learnt[2] == ANOMALOUS
        if self.anomaly_share and anomalous.any():
            share = self.anomaly_share
            weights = torch.where(
                anomalous, share / anomalous.sum(), (1 - share) / (~anomalous).sum()
            )
        batches = RandomBatches(learnt, self.batch_size, self.epoch_steps, self.seed, weights)
        trainer = self._trainer()
        trainer.fit(
            model,
            DataLoader(batches, batch_size=None),
            DataLoader(RandomBatches(unseen, 4096, 1, self.seed), batch_size=None),
        )
        self.validation = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if name.startswith("val_")
        }


class EventGraph(nn.Module):
    """See `models.anomaly.detector`."""

    def __init__(self, preparation: Preparation, model: Assessor, surprise: Surprise) -> None:
        super().__init__()
        self.preparation = preparation
        self.model = model
        self.surprise = surprise

    def forward(self, values: Tensor, time: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        prepared = self.preparation(values[:, -1], time)
        raw, parts, expected = self.model.assess(prepared)
        score = self.surprise(raw)
        contributions = share_out(score, parts, prepared.present)
        return score, contributions, self.preparation.restore(expected)


def _rows(prepared: Prepared, rows: Tensor) -> Prepared:
    return Prepared(*(part[rows] for part in prepared))


def _of(state: State, part: str) -> State:
    return {n.removeprefix(f"{part}."): v for n, v in state.items() if n.startswith(f"{part}.")}
