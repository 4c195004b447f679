"""Train a challenger, compare it with the champion, promote it if it is better.

`python scripts/retrain.py task=anomaly` (mode=incremental goes on from the champion).

Exit codes: 0 the challenger is in force now; 3 it was compared and the champion stays; 75 another
retraining of this model runs; the training's own where that failed. See configs/retrain.yaml.
"""

import fcntl
import json
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from feature_repo.registry.author import system_user
from models import artifact, champion
from models.promotion.comparison import Comparer, Comparison
from models.promotion.page import write_page
from models.promotion.rule import Decision
from models.report import conditions
from scripts.entrypoint import CONFIGS, entrypoint

log = logging.getLogger(__name__)

CHAMPION_STAYS = 3


class RetrainError(RuntimeError):
    """A retraining that cannot run, or whose training failed; the champion stays."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


@entrypoint("retrain")
def main(cfg: DictConfig) -> None:
    """Run one retraining; its page and figures land in output_dir."""
    started = time.perf_counter()
    output = Path(cfg.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    root, name = Path(cfg.paths.artifacts), str(cfg.retrain.name)
    who = str(cfg.who or system_user())
    if cfg.mode not in cfg.retrain.modes:
        raise RetrainError(f"mode={cfg.mode}: there are {', '.join(cfg.retrain.modes)}", 2)
    in_force = artifact.load(champion.champion(root, name))
    with only_one(root / name):
        pin(root, name, in_force.signature.version, who)
        cfg.champion = str(in_force.path)
        if cfg.retrain.labels:
            log.info("%d labels from verdicts", instantiate(cfg.retrain.labels))
        comparer: Comparer = instantiate(cfg.retrain.comparer)
        kept_back = comparer.keep_back()
        challenger = artifact.load(train(cfg, output / "training", kept_back))
        comparison = comparer.compare(in_force, challenger)
        decision: Decision = instantiate(cfg.rule).decide(comparison.measures)
        promoted = decision.promote and bool(cfg.promote)
        old, new = in_force.signature.version, challenger.signature.version
        if promoted:
            champion.promote(root, name, new, "; ".join(decision.reasons), who, instead_of=old)
        outcome = told(decision, promoted, old, new)
        page = output / "comparison.html"
        write_page(page, name, str(cfg.mode), old, new, comparison, decision, outcome, promoted)
        report = metrics(comparison, decision, promoted, old, new)
        report["conditions"] = conditions(seconds=round(time.perf_counter() - started, 1))
        (output / "metrics.json").write_text(json.dumps(report, indent=2) + "\n", "utf-8")
        OmegaConf.save(cfg, output / "config.yaml")
    show(comparison, decision, outcome, page)
    if not promoted:
        sys.exit(CHAMPION_STAYS)


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """One retraining of a model at a time; the kernel frees a killed one's lock.

    Raises:
        RetrainError: another one runs; the text says which process.
    """
    with (folder / ".retrain.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise RetrainError(
                f"{folder}: another retraining runs (process {file.read().strip() or '?'}); wait "
                "for it, or stop it",
                os.EX_TEMPFAIL,
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def pin(root: Path, name: str, version: str, who: str) -> None:
    """Without a record the newest version is in force, and the challenger is about to be that."""
    if not champion.history(root, name):
        champion.promote(root, name, version, "in force when the first challenger came", who)


def train(cfg: DictConfig, output: Path, kept_back: list[str]) -> Path:
    """Train the challenger as anybody would; returns its artifact's folder.

    Raises:
        RetrainError: the training failed, with its exit code, or left no artifact.
    """
    settings = {str(key): value for key, value in cfg.retrain.modes[cfg.mode].items()}
    settings |= {f"paths.{key}": value for key, value in cfg.paths.items()}
    settings["output_dir"] = output
    # What was said here of the data is said to the training too: both read the same rows.
    said = [o for o in HydraConfig.get().overrides.task if o.startswith("data.")]
    overrides = [
        *(f"{key}={quoted(value)}" for key, value in settings.items()),
        *said,
        *kept_back,
        *cfg.overrides,
    ]
    log.info("python scripts/train.py %s", " ".join(overrides))
    script = str(CONFIGS.parent / "scripts" / "train.py")
    code = subprocess.run([sys.executable, script, *overrides], check=False).returncode
    if code:
        raise RetrainError(f"the training failed with exit code {code}; see {output}", max(code, 1))
    report = json.loads((output / "metrics.json").read_text("utf-8"))
    if not report["artifact"]:
        raise RetrainError(f"the training left no artifact (export=none?); see {output}", 78)
    return Path(report["artifact"])


def quoted(value: object) -> str:
    """As Hydra's grammar wants a value that may hold anything."""
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", str(value))
    return f"'{escaped}'"


def told(decision: Decision, promoted: bool, old: str, new: str) -> str:
    if promoted:
        return f"{new} is better and in force now; {old} is one rollback away."
    if decision.promote:
        return f"{new} is better; {old} stays in force, because promote=false."
    return f"{old} stays in force: {new} is not better."


def metrics(
    comparison: Comparison, decision: Decision, promoted: bool, old: str, new: str
) -> dict[str, Any]:
    """metrics.json: the challenger as the model, the champion as what it must beat."""
    return {
        "model": {m.name: m.challenger for m in comparison.measures},
        "floors": {"champion": {m.name: m.champion for m in comparison.measures}},
        "peers": {},
        "data": comparison.data,
        "champion": old,
        "challenger": new,
        "promoted": promoted,
        "better": decision.promote,
        "decided_by": decision.by,
        "reasons": list(decision.reasons),
        "notes": list(comparison.notes),
        "measures": [m.as_dict() for m in comparison.measures],
    }


def show(comparison: Comparison, decision: Decision, outcome: str, page: Path) -> None:
    width = max(len(m.name) for m in comparison.measures)
    print(f"{'':{width}}  champion  challenger      gain")
    for m in comparison.measures:
        sign = "  decides" if m.name == decision.by else ""
        print(f"{m.name:{width}}  {m.champion:8.4f}  {m.challenger:10.4f}  {m.gain:+8.4f}{sign}")
    for line in (*comparison.notes, *decision.reasons, outcome):
        print(line)
    print(page)


def task_chosen(arguments: list[str]) -> list[str]:
    """`task=…` as people say it; the group of that name holds the streams' tasks."""
    return [re.sub(r"^task=", "retrain=", argument) for argument in arguments]


if __name__ == "__main__":
    sys.argv[1:] = task_chosen(sys.argv[1:])
    main()
