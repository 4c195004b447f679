"""Train, measure and export a model: `python scripts/train.py experiment=… data=… data.path=…`."""

from omegaconf import DictConfig

from models.training import train
from scripts.entrypoint import entrypoint
from scripts.trained_on import name_features


@entrypoint("train")
def main(cfg: DictConfig) -> float | None:
    """Run the training; the value returned is what a sweep optimises."""
    name_features(cfg.export)
    metrics = train(cfg)
    return metrics.get(cfg.objective)


if __name__ == "__main__":
    main()
