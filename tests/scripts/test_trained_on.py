"""What a training writes down about the features that it is on."""

from __future__ import annotations

import builtins
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from feature_repo.registry.trained import code_versions
from models import artifact
from scripts.entrypoint import CONFIGS
from scripts.trained_on import name_features
from tests.conftest import ROOT


def export(*overrides: str) -> Any:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("train", ["data=sequences", "data.path=x", *overrides]).export


def test_the_export_gets_the_versions_that_the_code_has() -> None:
    settings = export()
    name_features(settings)
    assert OmegaConf.to_container(settings.features) == code_versions("recommender_v1")


def test_what_a_training_wrote_down_stays() -> None:
    settings = export("+export.features.user_history={version: 7}")
    name_features(settings)
    assert settings.features == {"user_history": {"version": 7}}


def test_an_unknown_service_ends_the_training_before_it_begins() -> None:
    with pytest.raises(ValueError, match="nearest: recommender_v1"):
        name_features(export("export.feature_service=recomender_v1"))


def test_without_feast_the_artifact_names_no_versions(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any, **more: Any) -> Any:
        if name.startswith("feature_repo"):
            raise ImportError("no module named feast")
        return real(name, *arguments, **more)

    settings = export()
    monkeypatch.setattr(builtins, "__import__", without)
    with caplog.at_level(logging.WARNING):
        name_features(settings)
    assert not settings.features
    assert "will not name the versions of its features" in caplog.text


def test_nothing_is_named_where_nothing_is_exported() -> None:
    name_features(None)


@pytest.mark.slow
def test_a_trained_artifact_names_its_versions_and_exporting_again_keeps_them(
    tmp_path: Path,
) -> None:
    data = tmp_path / "rings.txt"
    rows = ([f"u{u}", *(f"i{(u + n) % 30}" for n in range(5 + u % 9))] for u in range(40))
    data.write_text("".join(" ".join(row) + "\n" for row in rows))

    def run(script: str, *overrides: str) -> None:
        subprocess.run(
            [sys.executable, f"scripts/{script}.py", f"paths.root={tmp_path}", *overrides],
            cwd=ROOT, check=True, capture_output=True,
        )  # fmt: skip

    run(
        "train", "data=sequences", f"data.path={data}", f"output_dir={tmp_path / 'run'}",
        "trainer.max_epochs=1", "datamodule.max_length=8", "export.k=5", "threads=1", "logger=none",
    )  # fmt: skip
    run("export", f"run={tmp_path / 'run'}")
    made = sorted((tmp_path / "artifacts" / "recommender").iterdir())
    assert len(made) == 2
    for path in made:
        assert artifact.load(path).signature.features == code_versions("recommender_v1")
