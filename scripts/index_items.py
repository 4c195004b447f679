"""Take items into a two-tower artifact without training: `python scripts/index_items.py path=…`."""

from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from models.champion import in_force
from scripts.entrypoint import entrypoint


@entrypoint("index_items")
def main(cfg: DictConfig) -> None:
    """Embed the items, publish a version that has them, and say where it is."""
    output = Path(cfg.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, output / "config.yaml", resolve=True)
    print(instantiate(cfg.indexer)(in_force(Path(cfg.artifact))))


if __name__ == "__main__":
    main()
