"""Going on from where a detector was: its state, its normaliser, its weights."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

from models.anomaly.continuing import Continuing, arrays, put_back
from models.anomaly.preparation import Preparation, standard
from models.anomaly.retraining.incremental import _changed
from models.anomaly.telemetry import Telemetry, TelemetryError
from tests.conftest import ROOT


def telemetry(shift: float = 0.0, rows: int = 400) -> Telemetry:
    rng = np.random.default_rng(3)
    return Telemetry.of(rng.normal((5.0 + shift, 50.0), (1.0, 5.0), (rows, 2)), ("cpu", "memory"))


def detector() -> Continuing:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        cfg = compose(
            "train",
            [
                "experiment=anomaly/autoencoder",
                "model.epoch_steps=20",
                "trainer.max_epochs=1",
                "output_dir=/absent",
                "paths.root=/absent",
            ],
        )
    made: Continuing = instantiate(cfg.model)
    assert isinstance(made, Continuing)
    return made


@pytest.fixture(scope="module")
def fitted() -> Continuing:
    made = detector()
    made.fit(telemetry())
    return made


def test_a_restored_detector_answers_alike(fitted: Continuing) -> None:
    again = detector()
    again.restore(fitted.state())
    np.testing.assert_allclose(
        again.score(telemetry()).score, fitted.score(telemetry()).score, rtol=1e-5
    )


def test_an_update_takes_a_shift_for_normal(fitted: Continuing) -> None:
    updated = detector()
    updated.restore(fitted.state())
    moved = telemetry(shift=4.0)
    before = updated.score(moved).score.mean()
    updated.update(moved, memory=0.3)
    after = updated.score(moved).score.mean()
    assert after < before / 2
    assert fitted.score(moved).score.mean() == pytest.approx(before)


def test_an_update_needs_something_to_go_on_from() -> None:
    with pytest.raises(TelemetryError, match="no fitted detector"):
        detector().update(telemetry(), 0.5)


def test_the_normaliser_becomes_that_of_the_mixture() -> None:
    preparation = Preparation(scaling=standard)
    preparation.fit(telemetry())
    both = np.concatenate([telemetry().values, telemetry(shift=4.0).values])
    preparation.update(telemetry(shift=4.0), memory=0.5)
    np.testing.assert_allclose(preparation.centre, both.mean(0), rtol=1e-4)
    np.testing.assert_allclose(preparation.scale, both.std(0), rtol=1e-4)


def test_a_field_that_has_gone_silent_stays_as_it_was() -> None:
    preparation = Preparation(scaling=standard)
    preparation.fit(telemetry())
    centre = preparation.centre.clone()
    silent = telemetry(shift=4.0)
    silent.values[:, 1] = np.nan
    preparation.update(silent, memory=0.5)
    assert preparation.centre[1] == centre[1]
    assert preparation.centre[0] > centre[0] + 1
    assert torch.isfinite(preparation.scale).all()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda s: s.pop("0.bias"), r"nothing is kept for '0\.bias'"),
        (lambda s: s.update({"9.bias": np.zeros(1)}), r"there is no '9\.bias'"),
        (lambda s: s.update({"0.bias": np.zeros(7)}), r"'0\.bias' has shape \(7,\)"),
    ],
)
def test_another_kinds_state_is_refused(change: partial[None], text: str) -> None:
    module = nn.Sequential(nn.Linear(2, 3))
    state = arrays(module)
    change(state)
    with pytest.raises(ValueError, match=text):
        put_back(module, state)


def test_only_keys_that_the_champion_has_are_changed(tmp_path: Path) -> None:
    node = OmegaConf.create({"model": {"optimizer": {"lr": 1e-2}, "scheduler": None}, "k": 1})
    changes = OmegaConf.create(
        {"model": {"optimizer": {"lr": 1e-4, "betas": 1}, "scheduler": {"max_lr": 1}}, "j": 2}
    )
    assert _changed(node, changes) == {
        "model": {"optimizer": {"lr": 1e-4}, "scheduler": None},
        "k": 1,
    }
