"""One way to train everything: config in, metrics and an artifact out.

`train(cfg)` builds the parts that the config names, fits, measures the best checkpoint beside its
floors on the same split, and exports. It knows nothing of any model family: the `datamodule`,
`model`, `evaluation` and `export` nodes of the config do.
"""

from __future__ import annotations

import ctypes
import logging
import sys
import time
import warnings
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from models.checkpoint import standing
from models.last_validation import LastValidation
from models.launcher import end_with_agent
from models.report import Report, conditions

log = logging.getLogger(__name__)
# Lightning's warnings of its own internals, and of worker processes, which nothing here uses.
warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\)")
warnings.filterwarnings("ignore", message=r"Your `IterableDataset` has `__len__` defined")


class ResumeError(ValueError):
    """A resume that has nothing to resume from."""

    exit_code = 66  # EX_NOINPUT


def train(cfg: DictConfig) -> dict[str, float]:
    """Train, evaluate and export what `cfg` describes; returns the model's metrics.

    The test metrics have plain names; the best checkpoint's validation metric, which sweeps must
    choose by, is named as it is monitored (`val_…`).

    Leaves in `cfg.output_dir`: config.yaml, checkpoints/, the loggers' files, curves.png,
    metrics.json, and the artifact's path in metrics.json.

    Raises:
        DataError: nothing to train on or to evaluate, or a resume on other data.
        ParityError: the exported graph does not answer as the trained model does.
    """
    started = time.perf_counter()
    output = Path(cfg.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, output / "config.yaml", resolve=True)
    prepare_process(cfg)

    data = instantiate(cfg.datamodule)
    data.prepare()
    model = instantiate(cfg.model, **data.model_arguments())
    callbacks = [*parts(cfg.callbacks), LastValidation()]
    loggers = parts(cfg.logger)
    # A bar where a person watches; log lines (models.progress) everywhere.
    bar = {"enable_progress_bar": sys.stdout.isatty()} | dict(cfg.trainer)
    trainer = instantiate(
        cfg.trainer,
        callbacks=callbacks,
        logger=loggers,
        enable_progress_bar=bar["enable_progress_bar"],
    )
    for logger in loggers:
        logger.log_hyperparams(OmegaConf.to_container(cfg, resolve=True))

    fit_started = time.perf_counter()
    checkpoint = _checkpoint(cfg, output)
    if checkpoint is not None:
        _recognise(data, Path(checkpoint))
    trainer.fit(model, datamodule=data, ckpt_path=checkpoint)
    fit_seconds = time.perf_counter() - fit_started
    if not trainer.is_global_zero:
        return {}
    validation = load_best(trainer, model)

    report: Report = instantiate(cfg.evaluation)(model, data)
    report.conditions = conditions(seed=cfg.seed) | {
        "seconds": round(time.perf_counter() - started, 1),
        "fit_seconds": round(fit_seconds, 1),
        "epochs": trainer.current_epoch,
        "validation": validation,
        "device": str(trainer.strategy.root_device),
    }
    if cfg.export:
        report.artifact = str(instantiate(cfg.export)(model, data, report, cfg))
    report.write(output / "metrics.json")
    report.print()
    return report.model | validation


def parts(group: DictConfig | None) -> list[Any]:
    """Build every named part of a config group; a part set to null is left out."""
    return [instantiate(part) for part in (group or {}).values() if part]


def prepare_process(cfg: DictConfig) -> None:
    """Seeds, threads, matrix precision, an allocator that keeps what it freed, and an end with
    the launcher.
    """
    end_with_agent()
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    torch.set_float32_matmul_precision(cfg.matmul_precision)
    if cfg.keep_freed_memory:
        keep_freed_memory()


def keep_freed_memory() -> None:
    """Tell glibc not to hand large freed blocks back to the system between steps.

    Each step frees and takes the same activations; returning them costs page faults that can take
    as long as the arithmetic on a CPU. Does nothing where the C library is another.
    """
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of mallopt(3)
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(trim_threshold, 2**31 - 1)
        libc.mallopt(mmap_threshold, 2**31 - 1)
    except (OSError, AttributeError):
        log.info("no glibc here: the allocator keeps its defaults")


def load_best(trainer: pl.Trainer, model: pl.LightningModule) -> dict[str, float]:
    """Put the best checkpoint's weights into the model; returns its validation metric by name.

    Where none was kept, or the last whatever its metric (`callbacks.checkpoint.monitor=null`), the
    last weights stay, and the last validation's metrics are returned.
    """
    keeper: Any = trainer.checkpoint_callback
    kept = getattr(keeper, "best_model_path", "")
    if not kept or keeper.monitor is None:
        log.info("the last weights are evaluated")
        shown = trainer.callback_metrics.items()
        return {name: float(value) for name, value in shown if name.startswith("val_")}
    best = standing(Path(kept))  # a run that was killed may have nothing better to replace it
    if best.is_dir():  # of several processes; the model knows how to read it whole
        cast(Any, model).load_shards(best)
    else:
        state = torch.load(best, map_location=model.device, weights_only=False)
        model.load_state_dict(state["state_dict"])
    score = float(keeper.best_model_score)
    log.info("best checkpoint: %s (%s %.4f)", best, keeper.monitor, score)
    return {keeper.monitor: score}


def _checkpoint(cfg: DictConfig, output: Path) -> str | None:
    """Where to go on from: `resume=true` means the last checkpoint of this output_dir."""
    if cfg.resume in (None, False):
        return None
    own = cfg.resume in (True, "auto")
    path = standing(output / "checkpoints" / "last.ckpt" if own else Path(cfg.resume))
    if cfg.resume == "auto" and not path.exists():
        log.info("resume=auto: no checkpoint at %s yet; training begins", path)
        return None
    if not path.exists():
        raise ResumeError(
            f"resume={cfg.resume}: no checkpoint at {path}; give the output_dir of an interrupted "
            "run, or the path of a .ckpt file"
        )
    log.info("resuming from %s", path)
    return str(path)


def _recognise(data: Any, checkpoint: Path) -> None:
    """Let the data say whether a checkpoint is its own, before weights are found not to fit.

    Lightning asks it too, but only after it has loaded the weights.
    """
    if checkpoint.is_dir():  # a sharded one; rows of a ranker have no state
        return
    kept = torch.load(checkpoint, map_location="cpu", weights_only=False, mmap=True)
    known = kept.get(type(data).__qualname__)
    if known:
        data.load_state_dict(known)
