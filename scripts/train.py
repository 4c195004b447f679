"""Train, measure and export a model: `python scripts/train.py experiment=… data=… data.path=…`."""

import pytorch_lightning  # noqa: F401  its import sets log levels; Hydra has the last word
from hydra.utils import get_method
from omegaconf import DictConfig

from scripts.entrypoint import entrypoint
from scripts.trained_on import name_features


@entrypoint("train")
def main(cfg: DictConfig) -> float | None:
    """Run the training; the value returned is what a sweep optimises."""
    name_features(cfg.export)
    metrics: dict[str, float] = get_method(cfg.trained_by)(cfg)
    return metrics.get(cfg.objective)


if __name__ == "__main__":
    main()
