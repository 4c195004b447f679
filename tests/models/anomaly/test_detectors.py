"""What every detector must do, whichever it is: each shipped experiment goes through all of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import instantiate
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from sklearn.metrics import roc_auc_score

from models.anomaly.detector import INPUTS, OUTPUTS, Detector, Scores
from models.anomaly.export import parity
from models.anomaly.telemetry import ANOMALOUS, NORMAL, UNKNOWN, Telemetry, TelemetryError
from models.export import export_onnx
from models.session import session

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
SHARED = {"detector", "incremental"}  # parts of others, and no detectors by themselves
EXPERIMENTS = sorted({p.stem for p in (CONFIGS / "experiment" / "anomaly").glob("*.yaml")} - SHARED)
TINY = {"trainer.max_epochs": 2, "model.epoch_steps": 60, "model.window": 8}

FIELDS = ("load", "memory_bytes", "error_share", "latency_ms", "requests")
CENTRE = np.array([0.5, 8e9, 0.01, 40.0, 300.0])
SCALE = np.array([0.1, 5e8, 0.002, 5.0, 60.0])

every = pytest.mark.parametrize("experiment", EXPERIMENTS)


def settings(experiment: str) -> DictConfig:
    """The experiment as it is shipped, with tiny limits."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose("train", [f"experiment=anomaly/{experiment}", "output_dir=/nowhere"])
    for key, value in TINY.items():
        if OmegaConf.select(cfg, key) is not None:
            OmegaConf.update(cfg, key, value)
    return cfg


def build(experiment: str) -> Detector:
    detector: Detector = instantiate(settings(experiment).model)
    return detector


def learns_from_labels(experiment: str) -> bool:
    return bool(settings(experiment).data.split.labels)


class Easy(NamedTuple):
    """Five fields that follow two hidden ones; in some rows one field was moved."""

    telemetry: Telemetry
    clean: NDArray[np.float64]  # [N, F] before anything was moved
    moved: NDArray[np.intp]  # [N] which field, where the row is anomalous


@cache
def easy(rows: int = 200, sources: int = 3, share: float = 0.15, seed: int = 0) -> Easy:
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(7).normal(size=(2, len(FIELDS)))
    mixing /= np.linalg.norm(mixing, axis=0)
    n = rows * sources
    clean = rng.normal(size=(n, 2)) @ mixing + 0.3 * rng.normal(size=(n, len(FIELDS)))
    values = clean.copy()
    label = np.where(rng.random(n) < share, ANOMALOUS, NORMAL)
    moved = rng.integers(len(FIELDS), size=n)
    hit = np.flatnonzero(label == ANOMALOUS)
    values[hit, moved[hit]] += rng.choice([-8.0, 8.0], len(hit))
    named = np.repeat([f"host-{i:03d}" for i in range(sources)], rows)
    time = 1_700_000_000 + 60 * np.tile(np.arange(rows), sources)
    telemetry = Telemetry.of(values * SCALE + CENTRE, FIELDS, time, list(named), label)
    return Easy(telemetry, clean * SCALE + CENTRE, moved)


@cache
def fitted(experiment: str) -> Detector:
    detector = build(experiment)
    detector.fit(easy().telemetry)
    return detector


@cache
def scored(experiment: str) -> Scores:
    return fitted(experiment).score(easy(seed=1).telemetry)


def changed(telemetry: Telemetry, change: Callable[[NDArray[np.float32]], object]) -> Telemetry:
    values = telemetry.values.copy()
    change(values)
    return Telemetry.of(
        values,
        telemetry.fields,
        telemetry.time,
        [telemetry.sources[i] for i in telemetry.source],
        telemetry.label,
    )


@every
def test_high_is_anomalous(experiment: str) -> None:
    label, score = easy(seed=1).telemetry.label, scored(experiment).score
    assert np.isfinite(score).all()
    assert (score >= 0).all()
    assert roc_auc_score(label == ANOMALOUS, score) > 0.9  # isolation forests are the weakest here


@every
def test_a_score_is_how_rare_it_is_among_normal_events(experiment: str) -> None:
    # Without anomalies: one in a window makes the events after it odd too.
    score = fitted(experiment).score(easy(share=0.0, seed=1).telemetry).score
    assert (score > 1.0).mean() == pytest.approx(0.1, abs=0.1)
    assert (score > 3.0).mean() < 0.08  # 76 events calibrate, and a tiny LSTM learns little


@every
def test_contributions_sum_to_the_score_and_point_at_the_field_that_moved(experiment: str) -> None:
    data, answer = easy(seed=1), scored(experiment)
    assert (answer.contributions >= 0).all()
    np.testing.assert_allclose(answer.contributions.sum(1), answer.score, rtol=1e-4)
    hit = data.telemetry.label == ANOMALOUS
    assert (answer.contributions[hit].argmax(1) == data.moved[hit]).mean() > 0.7


@every
def test_what_was_expected_is_in_the_fields_own_units(experiment: str) -> None:
    data, answer = easy(seed=1), scored(experiment)
    assert np.isfinite(answer.expected).all()
    hit = np.flatnonzero(data.telemetry.label == ANOMALOUS)
    field = data.moved[hit]
    off = np.abs(answer.expected[hit, field] - data.clean[hit, field]) / SCALE[field]
    assert np.median(off) < 2.5  # it was moved by 8


@every
def test_the_same_seed_gives_the_same_scores(experiment: str) -> None:
    again = build(experiment)
    again.fit(easy().telemetry)
    np.testing.assert_array_equal(
        again.score(easy(seed=1).telemetry).score, scored(experiment).score
    )


@every
def test_missing_values_are_judged_by_what_is_there(experiment: str) -> None:
    def gaps(values: NDArray[np.float32]) -> None:
        values[::3, 1] = np.nan
        values[5] = np.nan  # nothing at all is known of this one

    answer = fitted(experiment).score(changed(easy(seed=1).telemetry, gaps))
    assert all(np.isfinite(part).all() for part in answer)
    assert (answer.contributions[::3, 1][answer.score[::3] > 0] < 1e-6).all()
    np.testing.assert_allclose(answer.contributions.sum(1), answer.score, rtol=1e-4)
    assert answer.score[5] < 3.0


@every
def test_gaps_and_constants_can_be_learnt_from(experiment: str) -> None:
    def spoil(values: NDArray[np.float32]) -> None:
        values[::4, 0] = np.nan
        values[:, 4] = 300.0

    detector = build(experiment)
    detector.fit(changed(easy().telemetry, spoil))
    answer = detector.score(changed(easy(seed=1).telemetry, spoil))
    assert all(np.isfinite(part).all() for part in answer)
    np.testing.assert_allclose(answer.expected[:, 4], 300.0, atol=15.0)


@every
def test_data_that_never_varies_can_be_learnt_from(experiment: str) -> None:
    telemetry = changed(easy().telemetry, lambda values: values.__setitem__(slice(None), 1.0))
    detector = build(experiment)
    detector.fit(telemetry)
    assert all(np.isfinite(part).all() for part in detector.score(telemetry))


@every
def test_a_source_is_judged_alike_alone_and_among_many(experiment: str) -> None:
    many = easy(rows=20, sources=30, seed=2).telemetry
    together = fitted(experiment).score(many)
    one = many.source == 11
    alone = fitted(experiment).score(many.take(one))
    np.testing.assert_allclose(alone.score, together.score[one], rtol=1e-3, atol=1e-3)


@every
def test_one_source_can_be_learnt_from(experiment: str) -> None:
    detector = build(experiment)
    detector.fit(easy(rows=400, sources=1).telemetry)
    assert np.isfinite(detector.score(easy(seed=1).telemetry).score).all()


@every
def test_the_graph_answers_as_the_module_does(experiment: str, tmp_path: Path) -> None:
    detector, telemetry = fitted(experiment), easy(seed=1).telemetry
    graph, path = detector.graph(), tmp_path / "model.onnx"
    example = {
        "values": torch.zeros(2, detector.window, len(FIELDS)),
        "time": torch.zeros(2, dtype=torch.int64),
    }
    dynamic = {name: {0: "batch"} for name in INPUTS}
    inputs, outputs = export_onnx(graph, example, dynamic, OUTPUTS, path)
    assert [t.name for t in inputs] == list(INPUTS)
    assert [(t.name, t.dtype) for t in outputs] == [(name, "float32") for name in OUTPUTS]

    windows = telemetry.windows(detector.window).copy()
    windows[1::2, -1, 2] = np.nan
    rows = np.flatnonzero(telemetry.label == ANOMALOUS)[:7]
    for chosen in (rows[:1], rows[:2], rows, np.arange(len(telemetry))):
        parity(path, graph, windows[chosen], telemetry.time[chosen], tolerance=1e-3)

    answer = session(path).run(
        ["score"], {"values": telemetry.windows(detector.window), "time": telemetry.time}
    )
    np.testing.assert_allclose(answer[0], scored(experiment).score, rtol=1e-3, atol=1e-3)


@every
def test_a_field_without_any_value_is_refused_by_name(experiment: str) -> None:
    telemetry = changed(
        easy().telemetry, lambda values: values.__setitem__((slice(None), 1), np.nan)
    )
    with pytest.raises(TelemetryError, match="'memory_bytes' has no value"):
        build(experiment).fit(telemetry)


@every
def test_too_few_rows_are_refused(experiment: str) -> None:
    telemetry = easy().telemetry.take(np.arange(9))
    telemetry = Telemetry.of(telemetry.values, FIELDS, label=np.array([0, 0, 0, 1, 1, 0, 1, 0, 1]))
    with pytest.raises(TelemetryError, match=r"rows .*at least 20|at least 20 are needed"):
        build(experiment).fit(telemetry)


@every
def test_other_fields_than_those_learnt_are_refused(experiment: str) -> None:
    narrow = Telemetry.of(easy().telemetry.values[:, :3], FIELDS[:3])
    with pytest.raises(TelemetryError, match="learnt 5"):
        fitted(experiment).score(narrow)


@every
def test_nothing_is_scored_before_it_is_learnt(experiment: str) -> None:
    with pytest.raises(TelemetryError, match="has not been fitted"):
        build(experiment).score(easy().telemetry)


@pytest.mark.parametrize("experiment", ["classifier", "random_forest", "gradient_boosting"])
def test_a_supervised_detector_refuses_unlabelled_data(experiment: str) -> None:
    assert learns_from_labels(experiment)
    telemetry = easy().telemetry
    unlabelled = Telemetry.of(
        telemetry.values, FIELDS, label=np.full(len(telemetry), UNKNOWN, np.int8)
    )
    with pytest.raises(TelemetryError, match=r"labelled.*data\.split\.labels"):
        build(experiment).fit(unlabelled)


@pytest.mark.parametrize("experiment", ["lstm", "convolutional"])
def test_fewer_rows_than_a_window_are_refused(experiment: str) -> None:
    telemetry = easy(rows=6, sources=10).telemetry
    with pytest.raises(TelemetryError, match=r"10 sources has 6 rows, fewer than a window of 8"):
        build(experiment).fit(telemetry)
