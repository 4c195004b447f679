"""Measure a run's checkpoint again: `python scripts/evaluate.py run=runs/train/…`."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from models.run import Run
from scripts.entrypoint import entrypoint


@entrypoint("evaluate")
def main(cfg: DictConfig) -> None:
    """Print the table of model and floors; write metrics.json and the config that gave it."""
    output = Path(cfg.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    run = Run.open(Path(cfg.run), cfg.checkpoint, cfg.overrides)
    OmegaConf.save(run.config, output / "config.yaml", resolve=True)
    report = run.evaluate()
    report.write(output / "metrics.json")
    report.print()


if __name__ == "__main__":
    main()
