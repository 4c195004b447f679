"""A finished or interrupted training run, opened again from its folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from models.checkpoint import standing
from models.fitted import Fitted
from models.report import Report, conditions

log = logging.getLogger(__name__)


class RunError(FileNotFoundError):
    """A folder that is no training run, or one without the checkpoint asked for."""

    exit_code = 66  # EX_NOINPUT


class RunMismatchError(ValueError):
    """A checkpoint whose weights do not fit the model that the configuration describes."""

    exit_code = 65  # EX_DATAERR


class RunOverrideError(ValueError):
    """A change to a part of the configuration that nobody reads any more."""

    exit_code = 2


_READ = ("datamodule", "model", "evaluation", "export", "seed")  # of a run that is opened again


@dataclass
class Run:
    """A run's configuration, its data read again, and its model with the checkpoint's weights."""

    config: DictConfig
    data: Any
    model: nn.Module

    @classmethod
    def open(
        cls, folder: Path, checkpoint: str = "best", overrides: Mapping[str, Any] | None = None
    ) -> Run:
        """Build everything as the run did.

        Args:
            checkpoint: `best`, `last`, or the path of a checkpoint: a .ckpt file, or the folder
                of that name which a sharded training leaves.
            overrides: merged into the run's config.yaml, such as data that lies elsewhere now:
                `{"datamodule": {"reader": {"path": …}}}`.

        Raises:
            RunError: there is no run, or no such checkpoint.
            RunOverrideError: an override of what is not read again.
            RunMismatchError: the weights are of another model, or of other data.
            DataError: the data is not what the run was trained on.
            ShardsError: a sharded checkpoint lacks a file.
        """
        unread = next((str(key) for key in overrides or {} if key not in _READ), None)
        if unread is not None:
            raise RunOverrideError(
                f"overrides.{unread} would change nothing: a run's config.yaml is resolved, and of "
                f"it {', '.join(_READ)} are read again; other data, say, is "
                "+overrides.datamodule.reader.path=/elsewhere"
            )
        settings = folder / "config.yaml"
        if not settings.is_file():
            raise RunError(f"{folder}: no config.yaml; give the output_dir of a training run")
        path = Path(checkpoint)
        if path.suffix != ".ckpt":
            path = standing(folder / "checkpoints" / f"{checkpoint}.ckpt")
        if not path.exists():
            there = sorted(p.stem for p in path.parent.glob("*.ckpt")) or "none"
            raise RunError(f"no checkpoint at {path}; there are: {there}")
        config = OmegaConf.merge(OmegaConf.load(settings), overrides or {})
        assert isinstance(config, DictConfig), "a run's config.yaml is a mapping"
        if not config.get("datamodule"):
            raise RunError(f"{folder}: config.yaml names no datamodule, so nothing can be read "
                           "again; train anew")  # fmt: skip
        pl.seed_everything(config.seed, workers=True, verbose=False)
        data = instantiate(config.datamodule)
        data.prepare()
        model = _build(config.model, data)
        kept = _load(path, model, data)
        log.info("%s%s", path, f": epoch {kept['epoch'] + 1}" if "epoch" in kept else "")
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


def _build(node: DictConfig, data: Any) -> nn.Module:
    """The model, without its weights: a network must be told the data's sizes before."""
    kind = get_object(node._target_)
    fitted = isinstance(kind, type) and issubclass(kind, Fitted)
    return cast(nn.Module, instantiate(node, **({} if fitted else data.model_arguments())))


def _load(path: Path, model: nn.Module, data: Any) -> dict[str, Any]:
    """Put the weights into the model, if they are of this data; returns what is beside them."""
    if path.is_dir():  # of several processes; the model knows how to read it whole
        shards = getattr(model, "load_shards", None)
        if shards is None:
            raise RunError(
                f"{path}: a folder; {type(model).__name__} has checkpoints that are files"
            )
        return cast(dict[str, Any], shards(path))
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=False)
    known = state.get(type(data).__qualname__)
    if known:
        data.load_state_dict(known)
    try:
        model.load_state_dict(state["state_dict"])
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise RunMismatchError(
            f"{path}: the weights do not fit the model and data of the configuration ({first}); "
            "give the data and settings of the training"
        ) from error
    return state
