"""Rating prediction beside Surprise: `python benchmarks/ratings.py path=<movielens-100k>`.

Same random folds for all. Ours learn as `scripts/cross_validate.py` makes them: blend weights are
fitted inside each fold's training part. Also what our module costs over implicit's bare ALS call.
"""

from __future__ import annotations

import csv
import json
import statistics
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)  # rooms, not this folder's neighbours

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from benchmarks.chart import bars
from benchmarks.child import measure, peers_python, run_through
from models.recommender.intervals import t_interval
from models.recommender.ratings.data import read
from models.recommender.splits import RandomFolds
from models.report import Report, conditions
from scripts.entrypoint import entrypoint


def write_folds(cfg: DictConfig, output: Path) -> tuple[Path, list[float]]:
    """The folds that `cross_validate` takes, as user,item,rating,fold; and the scale."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        overrides = [f"data={cfg.reader}", f"data.path={cfg.path}", f"output_dir={output}"]
        ours = compose("cross_validate", [*overrides, f"paths.root={ROOT}"])
    data = read(instantiate(ours.data.reader), ours.data.name)
    file = output / "folds.csv"
    with file.open("w", newline="") as target:
        writer = csv.writer(target)
        for fold in range(cfg.folds):
            rows = RandomFolds(cfg.folds, fold, cfg.seed).split(data).test.nonzero()[0]
            for row in rows:
                stars = data.rating[row]  # type: ignore[index]
                writer.writerow([data.user[row], data.item[row], f"{stars:g}", fold])
    return file, list(ours.data.rating_scale)


def millrace(cfg: DictConfig, output: Path) -> dict[str, Any]:
    """metrics.json of our cross-validation, in a process of its own."""
    known = {"item_attributes": cfg["items"], "user_attributes": cfg.users}
    extra = [f"{group}={choice}" for group, choice in known.items() if choice]
    run_through(
        [
            sys.executable, "scripts/cross_validate.py", f"data={cfg.reader}",
            f"data.path={cfg.path}", f"output_dir={output / 'ours'}", f"folds={cfg.folds}",
            f"seed={cfg.seed}", f"threads={cfg.threads}", *extra,
        ],
        output / "ours.log",
        {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(cfg.threads)},
    )  # fmt: skip
    return dict(json.loads((output / "ours" / "metrics.json").read_text()))


def peers(cfg: DictConfig, folds: Path, scale: list[float]) -> dict[str, Any]:
    """Each fold's figures of Surprise's models."""
    return measure(
        [
            peers_python(), "benchmarks/peers/surprise_ratings.py", "--ratings", str(folds),
            "--scale", *map(str, scale), "--models", *cfg.peers, "--seed", str(cfg.seed),
        ]
    )  # fmt: skip


def als(cfg: DictConfig) -> dict[str, float]:
    """Median seconds of the bare call and of ours, and what ours costs on top."""
    found = measure(
        [
            sys.executable, "benchmarks/als_rate.py", str(cfg.als_turns), f"data={cfg.reader}",
            f"data.path={cfg.path}", "model=recommender/als", "floors=none",
            f"output_dir={cfg.output_dir}", f"model.library.factors={cfg.als_factors}",
            f"model.library.iterations={cfg.als_iterations}",
            f"model.library.num_threads={cfg.threads}", f"threads={cfg.threads}",
        ],
        {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    bare, ours = statistics.median(found["bare_s"]), statistics.median(found["ours_s"])
    # Turns are paired, so that a busy moment weighs on both.
    pairs = zip(found["ours_s"], found["bare_s"], strict=True)
    overhead = statistics.median(o / b - 1 for o, b in pairs)
    return {"als_bare_s": bare, "als_ours_s": ours, "als_overhead": overhead}


@entrypoint("benchmark/ratings")
def main(cfg: DictConfig) -> None:
    """Measure every row, print them, draw them."""
    output = Path(cfg.output_dir).absolute()
    cfg.path = str(Path(cfg.path).absolute())
    output.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, output / "config.yaml", resolve=True)
    console = Console(width=None if sys.stdout.isatty() else 120)  # a log has no width
    overhead = als(cfg)
    console.print(
        f"ALS: bare {overhead['als_bare_s']:.2f} s, ours {overhead['als_ours_s']:.2f} s, "
        f"{overhead['als_overhead']:+.1%}"
    )
    folds, scale = write_folds(cfg, output)
    theirs = peers(cfg, folds, scale)
    ours = millrace(cfg, output)
    rows = {f"surprise {name}": parts for name, parts in theirs["folds"].items()}
    names = {"model": "millrace blend", **{f: f"millrace {f}" for f in ours["floors"]}}
    for name, parts in ours["conditions"]["each_fold"].items():
        rows[names[name]] = parts
    table = Table(title=f"{cfg.folds} folds, mean ± half of the 95% interval")
    for column in ("", "rmse", "mae", "fit s a fold"):
        table.add_column(column, justify="right" if column else "left")
    summaries: dict[str, dict[str, float]] = {}
    for name, parts in rows.items():
        cells = []
        summaries[name] = {}
        for metric in ("rmse", "mae"):
            interval = t_interval([part[metric] for part in parts])
            summaries[name][metric] = interval.mean
            cells.append(f"{interval.mean:.4f} ± {interval.high - interval.mean:.4f}")
        seconds = statistics.mean(part["fit_s"] for part in parts)
        summaries[name]["fit_s"] = seconds
        table.add_row(name, *cells, f"{seconds:.1f}")
    console.print(table)
    Report(
        model=summaries["millrace blend"] | overhead,
        floors={n: s for n, s in summaries.items() if n.startswith("millrace ")},
        peers={n: s for n, s in summaries.items() if n.startswith("surprise")},
        data=ours["data"],
        conditions=conditions(seed=cfg.seed, folds=cfg.folds, surprise=theirs["version"]),
    ).write(output / "metrics.json")
    panels = {m: {n: s[m] for n, s in summaries.items()} for m in ("rmse", "mae")}
    bars(panels, "stars", output / "ratings.png", digits=4)
    console.print(f"see {output}")


if __name__ == "__main__":
    main()
