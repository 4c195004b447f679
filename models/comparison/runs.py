"""Finished runs, as their folders tell of them: metrics.json, config.yaml, csv/metrics.csv.

Any run that keeps the contract of `metrics.json` can be compared, whatever it trained.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from omegaconf import OmegaConf

log = logging.getLogger(__name__)


class ComparisonError(ValueError):
    """Nothing to compare."""

    exit_code = 66  # EX_NOINPUT


@dataclass(frozen=True)
class FinishedRun:
    """One run: what it measured, under which settings."""

    name: str  # unique among those compared
    folder: Path
    model: dict[str, float]
    floors: dict[str, dict[str, float]]
    peers: dict[str, dict[str, float]]
    data: dict[str, Any]
    conditions: dict[str, Any]
    settings: dict[str, Any]  # dotted key → value
    curves: dict[str, list[tuple[int, float]]]  # metric → (epoch, value)

    @property
    def dataset(self) -> str:
        """Runs are compared within one data set: its name and its hash."""
        digest = str(self.data.get("sha256") or "")[:8]
        return f"{self.data.get('name', '?')}{f' ({digest})' if digest else ''}"


def read_runs(folders: Sequence[Path]) -> list[FinishedRun]:
    """Open runs in the order given; names are the shortest ends of paths that differ.

    Raises:
        ComparisonError: a folder is no finished run, or there is none.
    """
    if not folders:
        raise ComparisonError("no run to compare; give runs=[…] or root=…")
    found = []
    for folder, name in zip(folders, _names(folders), strict=True):
        file = folder / "metrics.json"
        try:
            content = json.loads(file.read_text("utf-8"))
            model = {k: float(v) for k, v in content["model"].items() if v is not None}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            why = "its metrics.json has no 'model'" if isinstance(error, KeyError) else error
            raise ComparisonError(
                f"{folder}: {why}; the folder of a finished training, with its metrics.json, is "
                "needed"
            ) from error
        found.append(
            FinishedRun(
                name=name,
                folder=folder,
                model=model,
                floors=content.get("floors") or {},
                peers=content.get("peers") or {},
                data=content.get("data") or {},
                conditions=content.get("conditions") or {},
                settings=_settings(folder / "config.yaml"),
                curves=_curves(folder / "csv" / "metrics.csv"),
            )
        )
    return found


def find_runs(root: Path) -> list[Path]:
    """All finished runs below a folder, by path; a run inside a run's folder is one too.

    Raises:
        ComparisonError: there is none.
    """
    folders = sorted({file.parent for file in root.rglob("metrics.json") if _is_run(file.parent)})
    if not folders:
        raise ComparisonError(f"{root}: no finished run (metrics.json and config.yaml) below it")
    return folders


def _is_run(folder: Path) -> bool:
    """An artifact has both files too, and is the product of a run, not another one.

    Servers and judgements of policies leave a metrics.json as well, but measure no model.
    """
    if not (folder / "config.yaml").is_file() or (folder / "signature.json").exists():
        return False
    try:
        content = json.loads((folder / "metrics.json").read_text("utf-8"))
    except ValueError:
        return True  # a damaged one is named when it is read
    measured = isinstance(content, dict) and isinstance(content.get("model"), dict)
    if not measured:
        log.info("%s: left out, its metrics.json measures no model", folder)
    return measured


def differing(runs: Sequence[FinishedRun]) -> dict[str, list[str]]:
    """Settings that are not the same in all runs: key → a value for each run, "–" for none.

    Where a run keeps its files is no setting.
    """
    keys = dict.fromkeys(key for run in runs for key in run.settings)
    found = {}
    for key in keys:
        values = [_text(run.settings[key]) if key in run.settings else "–" for run in runs]
        if len(set(values)) > 1 and not _is_place(key, runs):
            found[key] = values
    # A node that another takes over (`block` into `model.net.block`) is shown once.
    taken = {
        key
        for key, values in found.items()
        for other in found
        if other.endswith(f".{key}") and found[other] == values
    }
    return {key: values for key, values in found.items() if key not in taken}


def _is_place(key: str, runs: Sequence[FinishedRun]) -> bool:
    ends = {"output_dir", "dirpath", "default_root_dir", "folder", "save_dir", "rejects", "root"}
    if key.rpartition(".")[2] in ends or key.startswith("paths."):
        return True
    homes = [str(run.settings.get("output_dir", run.folder)) for run in runs]
    values = [str(run.settings.get(key, "")) for run in runs]
    return all(home in value for home, value in zip(homes, values, strict=True))


def _settings(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    return dict(_flat(OmegaConf.to_container(OmegaConf.load(file))))


def _flat(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from _flat(value, f"{prefix}.{key}" if prefix else str(key))
    elif prefix:
        yield prefix, node


def _text(value: Any) -> str:
    return "null" if value is None else str(value)


def _curves(file: Path) -> dict[str, list[tuple[int, float]]]:
    """Every validation metric and the loss over epochs, where the CSV logger was on."""
    if not file.is_file():
        return {}
    try:
        frame = pl.read_csv(file, infer_schema_length=None)
    except pl.exceptions.PolarsError as error:
        log.warning("%s: %s; drawn without curves", file, error)
        return {}
    found = {}
    for name in frame.columns:
        if name.startswith("val_") or name == "train_loss_epoch":
            points = frame.select("epoch", name).drop_nulls().rows()
            if points:
                found[name] = [(int(epoch) + 1, float(value)) for epoch, value in points]
    return found


def _names(folders: Sequence[Path]) -> list[str]:
    parts = [folder.resolve().parts for folder in folders]
    if len(set(parts)) < len(parts):
        raise ComparisonError("a run is given twice")
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(p[-length:]) for p in parts]
        if len(set(names)) == len(names):
            return names
    return ["/".join(p) for p in parts]
