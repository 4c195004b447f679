"""The sequence family on real data, every model beside the floors of the same split.

`python benchmarks/sequences.py data.movielens_1m.path=… data.beauty.path=… output_dir=…`

Trains every model on every data set that has a path, and prints, draws and keeps one table a data
set, with floors and published figures.
What finished with the same configuration is not trained again, and what was interrupted goes on
from its last checkpoint: call it again with the same `output_dir`.

Limits: a training is repeated when its configuration changes, not when the code does.
"""

from __future__ import annotations

import json
import logging
import shutil
import sys
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # rooms, not this folder's neighbours

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict
from rich.console import Console
from rich.table import Table

from benchmarks.chart import bars
from benchmarks.child import ROOT, run_through
from models.report import Report, conditions
from scripts.commands import CommandError
from scripts.entrypoint import CONFIGS, entrypoint

log = logging.getLogger(__name__)
ENVIRONMENT = {"PYTHONPATH": str(ROOT)}
DRAWN = ("hit_rate@10", "ndcg@10")


def settings(cfg: DictConfig, data: str, model: str, folder: Path) -> list[str]:
    """Overrides of `scripts/train.py` for one training; what comes later wins."""
    chosen = cfg.data[data]
    return [
        f"experiment={chosen.experiment}",
        f"name={data}-{model}",
        *chosen.overrides,
        *cfg.models[model],
        *chosen.models.get(model, []),
        f"data.path={Path(chosen.path).resolve()}",
        f"seed={cfg.seed}",
        f"threads={json.dumps(cfg.threads)}",
        f"output_dir={folder}",
        f"paths.root={folder.parent.parent}",
        *cfg.overrides,
    ]


def same_configuration(folder: Path, overrides: list[str]) -> bool:
    """Whether the folder's run has this very configuration, apart from having been resumed."""
    used = folder / "config.yaml"
    if not used.is_file():
        return False
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        wanted = compose("train", overrides, return_hydra_config=True)
    HydraConfig.instance().set_config(wanted)
    with open_dict(wanted):
        del wanted["hydra"]
    found, known = (
        {k: v for k, v in dict(OmegaConf.to_container(c, resolve=True)).items() if k != "resume"}  # type: ignore[arg-type]
        for c in (wanted, OmegaConf.load(used))
    )
    # The scripts name the versions of features in the artifact; they are no choice of this run.
    for content in (found, known):
        if content.get("export"):
            content["export"].pop("features", None)
    return found == known


def train(cfg: DictConfig, data: str, model: str, runs: Path) -> dict[str, Any]:
    """One training, begun, gone on with, or its report if it is finished.

    Raises:
        ChildError: it failed.
    """
    folder = runs / data / model
    overrides = settings(cfg, data, model, folder)
    same = same_configuration(folder, overrides)
    report = folder / "metrics.json"
    if same and report.is_file():
        log.info("%s, %s: finished before", data, model)
        return dict(json.loads(report.read_text()))
    if not same and folder.exists():
        log.info("%s, %s: another configuration than before; trained anew", data, model)
        shutil.rmtree(folder)
    resumable = (folder / "checkpoints" / "last.ckpt").is_file()
    shown = folder / "output.txt"
    log.info("%s, %s: %s; see %s", data, model, "going on" if resumable else "training", shown)
    command = [sys.executable, "scripts/train.py", *overrides, f"resume={str(resumable).lower()}"]
    run_through(command, shown, ENVIRONMENT)
    return dict(json.loads(report.read_text()))


def show(
    data: str, reports: dict[str, dict[str, Any]], cfg: DictConfig, console: Console
) -> dict[str, dict[str, float]]:
    """Print one data set's table: floors, what others published, models; returns its rows."""
    floors = next(iter(reports.values()))["floors"]
    published = {
        name: dict(zip(DRAWN, figures, strict=True))
        for name, figures in cfg.data[data].published.items()
    }
    models = {f"millrace {name}": report["model"] for name, report in reports.items()}
    table = Table(title=f"{data}: test, full ranking, seen items removed")
    for column in ("", *cfg.shown, "epochs", "minutes"):
        table.add_column(column, justify="right" if column else "left")
    for group, rows in (("floor: ", floors), ("published: ", published)):
        for name, row in rows.items():
            table.add_row(group + name, *_cells(row, cfg.shown), "", "")
        table.add_section()
    for (name, row), report in zip(models.items(), reports.values(), strict=True):
        done = report["conditions"]
        minutes = f"{done['fit_seconds'] / 60:.1f}"
        table.add_row(name, *_cells(row, cfg.shown), str(done["epochs"]), minutes)
    console.print(table)
    return {**floors, **published, **models}


def _cells(row: dict[str, float], shown: list[str]) -> list[str]:
    return [f"{row[m]:.4f}" if m in row else "–" for m in shown]


@entrypoint("benchmark/sequences")
def main(cfg: DictConfig) -> None:
    """Train what is missing, then compare."""
    output = Path(cfg.output_dir).resolve()
    output.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, output / "config.yaml", resolve=True)
    chosen = [name for name, data in cfg.data.items() if data and data.path]
    if not chosen:
        keys = ", ".join(f"data.{name}.path=…" for name in cfg.data)
        raise CommandError(f"no data set has a path; give one or more of {keys}")
    models = [name for name, overrides in cfg.models.items() if overrides is not None]
    console = Console(width=None if sys.stdout.isatty() else 140)  # a log has no width
    rows: dict[str, dict[str, dict[str, float]]] = {}
    trained: dict[str, dict[str, Any]] = {}
    for number, data in enumerate(chosen):
        reports = {}
        for place, model in enumerate(models):
            reports[model] = train(cfg, data, model, output / "trainings")
            log.info(
                "%d of %d trainings: %s, %s: NDCG@10 %.4f", number * len(models) + place + 1,
                len(chosen) * len(models), data, model, reports[model]["model"]["ndcg@10"],
            )  # fmt: skip
        trained[data] = reports
        rows[data] = show(data, reports, cfg, console)
        # Each data set's table lies there as soon as it is known.
        _write(output, rows, trained, cfg)
    console.print(f"see {output}")


def _write(
    output: Path,
    rows: dict[str, dict[str, dict[str, float]]],
    trained: dict[str, dict[str, Any]],
    cfg: DictConfig,
) -> None:
    own = {
        f"{data} {model} {metric}": value
        for data, reports in trained.items()
        for model, report in reports.items()
        for metric, value in report["model"].items()
    }
    floors = {
        f"{data} {name}": row
        for data, reports in trained.items()
        for name, row in next(iter(reports.values()))["floors"].items()
    }
    sources = {data: next(iter(reports.values()))["data"] for data, reports in trained.items()}
    Report(
        model=own,
        floors=floors,
        data={"name": ", ".join(trained), "sets": sources},
        conditions=conditions(seed=cfg.seed, threads=cfg.threads),
    ).write(output / "metrics.json")
    panels = {
        f"{data}, {metric}": {n: r[metric] for n, r in table.items() if metric in r}
        for data, table in rows.items()
        for metric in DRAWN
    }
    bars(panels, "test", output / "sequences.png", digits=4)


if __name__ == "__main__":
    main()
