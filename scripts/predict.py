"""Score a table with a model: `python scripts/predict.py task=sentiment input=… output=…`."""

from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from models.champion import champion
from scripts.entrypoint import entrypoint


@entrypoint("predict")
def main(cfg: DictConfig) -> None:
    """Score the rows that a stopped run of the same input and model has not scored yet."""
    if cfg.artifact is None:
        cfg.artifact = str(champion(Path(cfg.paths.artifacts), cfg.name))
    done = instantiate(cfg.predict).score(Path(cfg.input), Path(cfg.output))
    print(f"{cfg.output}: {done['rows']:.0f} rows, {done['scored']:.0f} of them scored now, "
          f"{done['seconds']:.1f} s")  # fmt: skip


if __name__ == "__main__":
    main()
