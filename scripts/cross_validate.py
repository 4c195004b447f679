"""Random folds with intervals: `python scripts/cross_validate.py data=… data.path=… model=…`."""

from omegaconf import DictConfig

from models.recommender.cross_validation import cross_validate
from scripts.entrypoint import entrypoint


@entrypoint("cross_validate")
def main(cfg: DictConfig) -> None:
    """Measure the model and its floors on every fold."""
    cross_validate(cfg)


if __name__ == "__main__":
    main()
