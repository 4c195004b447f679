"""A finished or interrupted training run, opened again from its folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from models.report import Report, conditions

log = logging.getLogger(__name__)


class RunError(FileNotFoundError):
    """A folder that is no training run, or one without the checkpoint asked for."""

    exit_code = 66  # EX_NOINPUT


@dataclass
class Run:
    """A run's configuration, its data read again, and its model with the checkpoint's weights."""

    config: DictConfig
    data: Any
    model: pl.LightningModule

    @classmethod
    def open(
        cls, folder: Path, checkpoint: str = "best", overrides: Mapping[str, Any] | None = None
    ) -> Run:
        """Build everything as the run did.

        Args:
            checkpoint: `best`, `last`, or the path of a .ckpt file.
            overrides: merged into the run's config.yaml, such as data that lies elsewhere now:
                `{"datamodule": {"reader": {"path": …}}}`.

        Raises:
            RunError: there is no run, or no such checkpoint.
        """
        settings = folder / "config.yaml"
        if not settings.is_file():
            raise RunError(f"{folder}: no config.yaml; give the output_dir of a training run")
        path = Path(checkpoint)
        if path.suffix != ".ckpt":
            path = folder / "checkpoints" / f"{checkpoint}.ckpt"
        if not path.is_file():
            there = sorted(p.stem for p in path.parent.glob("*.ckpt")) or "none"
            raise RunError(f"no checkpoint at {path}; there are: {there}")
        config = OmegaConf.merge(OmegaConf.load(settings), overrides or {})
        assert isinstance(config, DictConfig), "a run's config.yaml is a mapping"
        pl.seed_everything(config.seed, workers=True, verbose=False)
        data = instantiate(config.datamodule)
        data.prepare()
        model = instantiate(config.model, **data.model_arguments())
        state = torch.load(path, map_location="cpu", weights_only=False)
        model.load_state_dict(state["state_dict"])
        log.info("%s: epoch %d", path, state["epoch"] + 1)
        return cls(config, data, model)

    def evaluate(self) -> Report:
        """The test of this model beside its floors."""
        report: Report = instantiate(self.config.evaluation)(self.model, self.data)
        report.conditions = conditions(seed=self.config.seed)
        return report

    def export(self, report: Report) -> Path:
        """Publish an artifact; returns its folder.

        Raises:
            RunError: the run was configured with export=none.
            ParityError: the graph does not answer as the module does.
        """
        if not self.config.export:
            raise RunError("this run has export=none; add what to export to overrides")
        return Path(instantiate(self.config.export)(self.model, self.data, report, self.config))
