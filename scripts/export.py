"""Publish a run's checkpoint as an artifact: `python scripts/export.py run=runs/train/…`."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from models.run import Run
from scripts.entrypoint import entrypoint
from scripts.trained_on import name_features


@entrypoint("export")
def main(cfg: DictConfig) -> None:
    """Measure, export through the parity gate, and say where the artifact is."""
    output = Path(cfg.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    run = Run.open(Path(cfg.run), cfg.checkpoint, cfg.overrides)
    # What the training wrote down stays; a run from before that gets what the code has now.
    name_features(run.config.export)
    OmegaConf.save(run.config, output / "config.yaml", resolve=True)
    report = run.evaluate()
    report.artifact = str(run.export(report))
    report.write(output / "metrics.json")
    print(report.artifact)


if __name__ == "__main__":
    main()
