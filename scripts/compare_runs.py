"""Runs side by side as one HTML page: `python scripts/compare_runs.py runs=[…]|root=… output=…`."""

from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from models.comparison.page import write_page
from models.comparison.runs import find_runs, read_runs
from scripts.commands import CommandError
from scripts.entrypoint import entrypoint


@entrypoint("compare_runs")
def main(cfg: DictConfig) -> None:
    """Read, draw, and say where the page is."""
    if bool(cfg.runs) == bool(cfg.root):
        raise CommandError("give either runs=[<folder>,…] or root=<folder of runs>")
    folders = find_runs(Path(cfg.root)) if cfg.root else [Path(run) for run in cfg.runs]
    output = Path(cfg.output)
    write_page(read_runs(folders), instantiate(cfg.layout), output, cfg.title)
    print(output)


if __name__ == "__main__":
    main()
