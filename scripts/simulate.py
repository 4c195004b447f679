"""Fill the warehouse with a marketplace: `python scripts/simulate.py size=small seed=1`."""

import json
import logging
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.progress import Progress

from pipelines.simulator.overview import draw
from scripts.entrypoint import entrypoint

log = logging.getLogger(__name__)


@entrypoint("simulate")
def main(cfg: DictConfig) -> None:
    """Simulate, write, and say how much."""
    output = Path(cfg.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, output / "config.yaml", resolve=True)
    simulation = instantiate(cfg.simulation)
    with Progress() as bar:
        task = bar.add_task("days", total=cfg.simulation.days)
        report = simulation.run(lambda done, _: bar.update(task, completed=done))
    (output / "metrics.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if cfg.plot:
        draw(simulation.warehouse, simulation.truth, output / "overview.png")
    log.info("%s: %s", cfg.paths.warehouse, report)


if __name__ == "__main__":
    main()
