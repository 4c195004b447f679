"""Sentiment on SST-2 sentences: `python benchmarks/sentiment.py path=<its folder> output_dir=…`.

Quality: test accuracy of each model over several seeds beside its floors; a training that finished
with the same configuration is not repeated. Speed: texts a second on the test split beside the
`transformers` pipeline with the same weights, each row a process of its own.

Limits: a training is repeated when its configuration changes, not when the code does.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # rooms, not this folder's neighbours

import numpy as np
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from benchmarks.chart import bars
from benchmarks.child import ROOT, measure, run_through
from models.artifact import EXACT
from models.report import Report, conditions
from scripts.entrypoint import CONFIGS, entrypoint

log = logging.getLogger(__name__)
SHOWN = ("accuracy", "precision", "recall", "f1", "auroc", "calibration_error")
ENVIRONMENT = {"PYTHONPATH": str(ROOT)}


def settings(cfg: DictConfig, name: str, seed: int, folder: Path) -> list[str]:
    """Overrides of `scripts/train.py` for one training."""
    chosen = [
        f"experiment=sentiment/{name}",
        "data=sst2",
        f"data.path={Path(cfg.path).resolve()}",
        f"seed={seed}",
        f"threads={cfg.threads}",
        f"output_dir={folder}",
        f"paths.root={folder.parent.parent}",
        *cfg.overrides,
        *cfg.models[name].overrides,
    ]
    teacher = cfg.models[name].teacher
    if teacher is not None:
        taught = json.loads((folder.parent / f"{teacher}-{seed}" / "metrics.json").read_text())
        chosen.append(f"datamodule.teacher.artifact={taught['artifact']}")
    return chosen


def finished(folder: Path, overrides: list[str]) -> dict[str, Any] | None:
    """The report of a training that ended with this very configuration."""
    report, used = folder / "metrics.json", folder / "config.yaml"
    if not (report.is_file() and used.is_file()):
        return None
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        wanted = OmegaConf.to_container(compose("train", overrides), resolve=True)
    if OmegaConf.to_container(OmegaConf.load(used)) != wanted:
        log.info("%s: another configuration than before; trained anew", folder.name)
        return None
    content = dict(json.loads(report.read_text()))
    return content if Path(content["artifact"]).is_dir() else None


def train(cfg: DictConfig, name: str, seed: int, runs: Path) -> dict[str, Any]:
    """One training, or the report of the one that was finished before.

    Raises:
        ChildError: it failed.
    """
    folder = runs / f"{name}-{seed}"
    overrides = settings(cfg, name, seed, folder)
    report = finished(folder, overrides)
    if report is None:
        (folder / "metrics.json").unlink(missing_ok=True)
        shown = folder / "output.txt"
        log.info("%s: training; see %s", folder.name, shown)
        run_through([sys.executable, "scripts/train.py", *overrides], shown, ENVIRONMENT)
        report = dict(json.loads((folder / "metrics.json").read_text()))
    log.info(
        "%s: validation %.4f, test %.4f", folder.name,
        report["conditions"]["validation"]["val_accuracy"], report["model"]["accuracy"],
    )  # fmt: skip
    return report


def summary(reports: list[dict[str, Any]]) -> dict[str, float]:
    """Means over seeds, and the spread of the accuracy."""
    found = {m: mean(r["model"][m] for r in reports) for m in SHOWN}
    accuracy = [r["model"]["accuracy"] for r in reports]
    found["accuracy_deviation"] = stdev(accuracy) if len(accuracy) > 1 else 0.0
    found["val_accuracy"] = mean(r["conditions"]["validation"]["val_accuracy"] for r in reports)
    found["minutes"] = mean(r["conditions"]["seconds"] for r in reports) / 60
    return found | {"seeds": float(len(reports))}


def show_quality(
    rows: dict[str, dict[str, float]], floors: dict[str, Any], cfg: DictConfig, console: Console
) -> None:
    """Floors first, then the models beside their bars."""
    table = Table(title=f"SST-2 sentences, test, mean of seeds {list(cfg.seeds)}")
    for column in ("", *SHOWN, "±", "validation", "bar", "minutes"):
        table.add_column(column.replace("_", " "), justify="right" if column else "left")
    for name, row in floors.items():
        table.add_row(name, *(f"{row[m]:.4f}" for m in SHOWN))
    for name, row in rows.items():
        bar = cfg.models[name].bar
        table.add_row(
            name, *(f"{row[m]:.4f}" for m in SHOWN), f"{row['accuracy_deviation']:.4f}",
            f"{row['val_accuracy']:.4f}", f"{bar} {'✓' if row['accuracy'] >= bar else '✗'}",
            f"{row['minutes']:.1f}",
        )  # fmt: skip
    console.print(table)


def speed_rows(cfg: DictConfig, runs: Path, texts: Path) -> dict[str, list[str]]:
    """Name → command: our graphs of the first seed, and the peer with the same weights."""
    seed, speed = cfg.seeds[0], cfg.speed
    script = [sys.executable, "benchmarks/sentiment_rate.py", str(texts), str(speed.threads)]
    found = {}
    for size in speed.batch_sizes:
        found[f"transformers pipeline, batches of {size}"] = [
            *script, "pipeline", str(runs / f"minilm-{seed}"), str(size)
        ]  # fmt: skip
    for name in cfg.models:
        report = json.loads((runs / f"{name}-{seed}" / "metrics.json").read_text())
        published = Path(report["artifact"])
        graphs = {"": published / "model.onnx"}
        if (published / EXACT).is_file():  # the gate let 8-bit weights through
            graphs = {", 8-bit weights": graphs[""], ", float32 alone": published / EXACT}
        for suffix, graph in graphs.items():
            found[f"millrace {name}{suffix}"] = [
                *script, "millrace", str(graph), str(speed.batch_tokens)
            ]  # fmt: skip
    return found


def speed(
    cfg: DictConfig, runs: Path, output: Path, console: Console
) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """(row → texts/s, ratio, agreement with the peer, accuracy; row → texts/s for the chart)."""
    frame = instantiate(_data(cfg).reader).read()
    test = frame.filter(frame["split"] == "test")
    file = output / "texts.json"
    file.write_text(json.dumps(test["text"].to_list()), "utf-8")
    labels = np.array(test["label"].to_list()).astype(int)
    commands = speed_rows(cfg, runs, file)
    rates: dict[str, list[float]] = {name: [] for name in commands}
    work: dict[str, list[float]] = {name: [] for name in commands}
    classes: dict[str, Any] = {}
    for number in range(cfg.speed.rounds):  # rows in turn: a busy minute of the machine hits all
        for name, command in commands.items():
            answer = measure(command, ENVIRONMENT)
            rates[name].append(answer["texts_per_s"])
            work[name].append(answer["cpu_s"])
            classes[name] = np.array(answer["classes"])
            log.info("round %d, %s: %.0f texts/s", number + 1, name, answer["texts_per_s"])
    middle = {name: median(values) for name, values in rates.items()}
    peers = [name for name in commands if not name.startswith("millrace")]
    best = max(peers, key=lambda name: middle[name])
    rows = {
        name: {
            "texts_per_s": middle[name],
            "lowest": min(rates[name]),
            "highest": max(rates[name]),
            "times": middle[name] / middle[best],
            "cpu_ms_per_text": 1000 * median(work[name]) / len(labels),
            "same_answer": float(np.mean(classes[name] == classes[peers[0]])),
            "accuracy": float(np.mean(classes[name] == labels)),
        }
        for name in commands
    }
    table = Table(title=f"SST-2 test, {len(labels)} texts, {cfg.speed.threads} cores")
    for column in ("", "texts/s", "times the peer", "CPU ms a text", "same answer", "accuracy"):
        table.add_column(column, justify="right" if column else "left")
    for name, row in rows.items():
        table.add_row(
            name, f"{row['texts_per_s']:,.0f}", f"{row['times']:.1f}",
            f"{row['cpu_ms_per_text']:.2f}", f"{row['same_answer']:.4f}", f"{row['accuracy']:.4f}",
        )  # fmt: skip
    console.print(table)
    for name, bar in cfg.speed.bars.items():
        own = max(r["times"] for n, r in rows.items() if n.startswith(f"millrace {name}"))
        console.print(f"{name}: {own:.1f} times {best}; bar {bar} {'✓' if own >= bar else '✗'}")
    return rows, middle


def _data(cfg: DictConfig) -> DictConfig:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        chosen = ["experiment=sentiment/lstm", "data=sst2", f"data.path={Path(cfg.path).resolve()}"]
        node: DictConfig = compose("train", chosen).data
    return node


@entrypoint("benchmark/sentiment")
def main(cfg: DictConfig) -> None:
    """Train what is missing, measure, print, draw."""
    output = Path(cfg.output_dir).resolve()
    output.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, output / "config.yaml", resolve=True)
    console = Console(width=None if sys.stdout.isatty() else 140)  # a log has no width
    runs = output / "trainings"
    rows: dict[str, dict[str, float]] = {}
    floors: dict[str, Any] = {}
    for name in cfg.models:
        reports = [train(cfg, name, seed, runs) for seed in cfg.seeds]
        rows[name] = summary(reports)
        # Every training measures them; those with whole words read the texts as people do.
        floors = reports[0]["floors"]
        data = reports[0]["data"]
    show_quality(rows, floors, cfg, console)
    accuracy = {f"millrace {n}": 100 * r["accuracy"] for n, r in rows.items()}
    accuracy |= {n: 100 * r["accuracy"] for n, r in floors.items()}
    bars({"SST-2 sentences, test": accuracy}, "accuracy, %", output / "accuracy.png", digits=1)
    peers: dict[str, dict[str, float]] = {}
    own = {f"{n} {m}": value for n, row in rows.items() for m, value in row.items()}
    if cfg.speed:
        rates, middle = speed(cfg, runs, output, console)
        for name, row in rates.items():
            if name.startswith("millrace"):
                own |= {f"{name} {m}": value for m, value in row.items()}
            else:
                peers[name] = row
        bars({f"SST-2 test, {cfg.speed.threads} cores": middle}, "texts/s", output / "speed.png")
    Report(
        model=own,
        floors=floors,
        peers=peers,
        data=data,
        conditions=conditions(seeds=list(cfg.seeds), threads=cfg.threads),
    ).write(output / "metrics.json")
    console.print(f"see {output}")


if __name__ == "__main__":
    main()
