"""What every detector of single events does, on four correlated fields."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from sklearn.metrics import roc_auc_score

from models.anomaly.autoencoder import (
    DenoisingAutoencoder,
    MaskedAutoencoder,
    VariationalAutoencoder,
)
from models.anomaly.density import Mixture, Neighbours
from models.anomaly.detector import OUTPUTS
from models.anomaly.export import parity
from models.anomaly.labelled import Classifier, DeepSad
from models.anomaly.noise_level import NoiseLevel
from models.anomaly.preparation import Preparation
from models.anomaly.tabular import TabularDetector
from models.anomaly.telemetry import ANOMALOUS, NORMAL, UNKNOWN, Telemetry, TelemetryError
from models.export import ParityError, export_onnx

FIELDS = ["cpu", "memory", "latency", "requests"]
UNITS = np.array([5.0, 1.0, 20.0, 300.0])
HOMES = np.array([50.0, 60.0, 100.0, 2000.0])


def normal(rows: int, seed: int) -> np.ndarray:
    """Load moves all fields but memory together."""
    rng = np.random.default_rng(seed)
    load = rng.normal(size=(rows, 1))
    own = rng.normal(size=(rows, 4)) * [0.3, 1, 0.3, 0.3]
    return HOMES + UNITS * (load * [1, 0, 1, 1] + own)


def moved(rows: int, field: int, by: float, seed: int = 7) -> np.ndarray:
    values = normal(rows, seed)
    values[:, field] += by * UNITS[field]
    return values


def labelled(anomalies: int) -> Telemetry:
    values = np.concatenate([normal(600, 1), moved(anomalies, 2, 8.0, 3)])
    label = np.r_[np.full(600, UNKNOWN), np.full(anomalies, ANOMALOUS)]
    return Telemetry.of(values, FIELDS, label=label)


def detector(
    model: Callable[..., Any] | None = None, epochs: int = 1, **settings: Any
) -> TabularDetector:
    model = model or partial(MaskedAutoencoder, density=Neighbours, noise_level=NoiseLevel)
    return TabularDetector(
        preparation=settings.pop("preparation", Preparation),
        model=partial(model, optimizer=partial(torch.optim.AdamW, lr=5e-3), hidden=32),
        trainer=lambda: pl.Trainer(
            accelerator="cpu", max_epochs=epochs, logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False,
        ),
        epoch_steps=settings.pop("epoch_steps", 150),
        batch_size=128,
        **settings,
    )  # fmt: skip


MODELS: dict[str, Callable[[], TabularDetector]] = {
    "masked": detector,
    "masked, error alone": lambda: detector(MaskedAutoencoder),
    "denoising": lambda: detector(
        partial(DenoisingAutoencoder, density=Neighbours, noise=(0.1, 0.4))
    ),
    "vae": lambda: detector(
        partial(
            VariationalAutoencoder, density=Mixture, density_of_code=True, weights=(2.0, 1.0, 1.0)
        )
    ),
    "deep_sad": lambda: detector(partial(DeepSad, density=Neighbours), anomaly_share=0.2),
    "classifier": lambda: detector(
        partial(Classifier, density=Neighbours, distance_weighs=False), anomaly_share=0.5
    ),
}


@pytest.fixture(scope="module", params=list(MODELS))
def fitted(request: pytest.FixtureRequest) -> TabularDetector:
    """Five known anomalies of latency are there, for those that can use them."""
    made = MODELS[request.param]()
    made.fit(labelled(5))
    return made


def test_anomalies_score_higher(fitted: TabularDetector) -> None:
    values = np.concatenate([normal(300, 2), moved(100, 2, 8.0)])
    scores = fitted.score(Telemetry.of(values, FIELDS)).score
    assert roc_auc_score(np.r_[np.zeros(300), np.ones(100)], scores) > 0.97


def test_scores_are_surprises(fitted: TabularDetector) -> None:
    scores = fitted.score(Telemetry.of(normal(5000, 4), FIELDS)).score
    assert (scores > 1).mean() == pytest.approx(0.1, abs=0.06)


def test_contributions_sum_to_the_score_and_point_at_the_field(fitted: TabularDetector) -> None:
    answer = fitted.score(Telemetry.of(moved(50, 2, 8.0), FIELDS))
    assert (answer.contributions >= 0).all()
    assert answer.contributions.sum(1) == pytest.approx(answer.score, rel=1e-3)
    assert (answer.contributions.argmax(1) == 2).mean() > 0.9


def test_expected_is_in_the_units_of_the_field(fitted: TabularDetector) -> None:
    expected = fitted.score(Telemetry.of(moved(50, 2, 8.0), FIELDS)).expected
    off = np.abs(expected - HOMES) / UNITS
    # A code of two numbers cannot place each field; it still answers in their units.
    assert np.median(off) < 4


def test_a_missing_field_is_not_accused_and_hides_nothing(fitted: TabularDetector) -> None:
    values = moved(50, 2, 8.0)
    values[:, 1] = np.nan
    answer = fitted.score(Telemetry.of(values, FIELDS))
    assert np.isfinite(answer.score).all()
    assert answer.contributions[:, 1].max() < 1e-3 * answer.score.max()
    assert np.median(answer.score) > 1.5


@pytest.mark.parametrize("name", ["masked", "vae", "classifier"])  # all the parts there are
def test_graph_and_module_agree(name: str, tmp_path: Path) -> None:
    made = MODELS[name]()
    made.fit(labelled(20))
    graph, file = made.graph(), tmp_path / "model.onnx"
    example = {"values": torch.zeros(2, 1, 4), "time": torch.zeros(2, dtype=torch.int64)}
    dynamic = {name: {0: "batch"} for name in example}
    export_onnx(graph, example, dynamic, OUTPUTS, file)
    values = np.concatenate([normal(100, 5), moved(20, 0, 30.0)])[:, None].astype(np.float32)
    values[::7, 0, 1] = np.nan
    time = np.arange(120, dtype=np.int64) * 3600 + 1_767_225_600
    assert parity(file, graph, values, time, 1e-3) < 1e-3
    other = detector(epoch_steps=5)
    other.fit(Telemetry.of(normal(100, 6), FIELDS))
    with pytest.raises(ParityError, match="in the graph and"):
        parity(file, other.graph(), values, time, 1e-3)


def test_expected_of_the_default_is_the_usual_value() -> None:
    made = detector()
    made.fit(Telemetry.of(normal(600, 1), FIELDS))
    expected = made.score(Telemetry.of(moved(50, 1, 10.0), FIELDS)).expected
    assert np.abs(np.median(expected[:, 1]) - HOMES[1]) < 2 * UNITS[1]


def test_constant_data_is_quiet_until_it_changes() -> None:
    made = detector()
    made.fit(Telemetry.of(np.full((60, 2), 7.0), ["a", "b"]))
    quiet, loud = (made.score(Telemetry.of(np.array([[7.0, v]]), ["a", "b"])) for v in (7.0, 70.0))
    assert quiet.score[0] < 1
    assert loud.score[0] > 2
    assert loud.contributions[0].argmax() == 1


def test_time_features_tell_night_from_day() -> None:
    hours = np.arange(0, 24 * 60)
    load = np.where(hours % 24 < 12, 10.0, 90.0) + np.random.default_rng(0).normal(size=len(hours))
    made = detector(
        MaskedAutoencoder, preparation=partial(Preparation, time_features=True), epochs=4
    )
    made.fit(Telemetry.of(load[:, None], ["load"], hours * 3600))
    asked = Telemetry.of(np.full((2, 1), 90.0), ["load"], np.array([3, 15]) * 3600)
    night, day = made.score(asked).score
    assert night > day + 1


def test_the_same_seed_gives_the_same_detector() -> None:
    telemetry = Telemetry.of(normal(100, 1), FIELDS)
    scores = []
    for _ in range(2):
        made = detector(epoch_steps=20)
        made.fit(telemetry)
        scores.append(made.score(telemetry).score)
    assert (scores[0] == scores[1]).all()


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(TelemetryError, match=r"12 rows .* at least 20"):
        detector().fit(Telemetry.of(normal(12, 1), FIELDS))


def test_a_classifier_without_labels_says_where_they_may_be() -> None:
    made = detector(partial(Classifier, density=Neighbours), least_anomalies=10)
    with pytest.raises(TelemetryError, match=r"0 rows labelled anomalous.*data.split.labels"):
        made.fit(Telemetry.of(normal(100, 1), FIELDS, label=np.full(100, NORMAL)))


def test_other_fields_than_learnt_are_refused() -> None:
    made = detector(epoch_steps=2)
    made.fit(Telemetry.of(normal(100, 1), FIELDS))
    with pytest.raises(TelemetryError, match=r"2 fields \['a', 'b'\], but the detector learnt 4"):
        made.score(Telemetry.of(np.ones((3, 2)), ["a", "b"]))


def test_a_few_labels_help_deep_sad() -> None:
    """Of anomalies that hide among the normal events."""
    test = np.concatenate([normal(300, 2), moved(100, 1, 2.5)])
    truth = np.r_[np.zeros(300), np.ones(100)]
    quality = []
    for anomalies in (0, 20):
        values = np.concatenate([normal(600, 1), moved(anomalies, 1, 2.5, 3)])
        label = np.r_[np.full(600, UNKNOWN), np.full(anomalies, ANOMALOUS)]
        made = detector(partial(DeepSad, density=Neighbours), epochs=2, anomaly_share=0.2)
        made.fit(Telemetry.of(values, FIELDS, label=label))
        quality.append(roc_auc_score(truth, made.score(Telemetry.of(test, FIELDS)).score))
    assert quality[1] > quality[0] + 0.02
