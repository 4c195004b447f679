"""Take items into a two-tower artifact without training: `python scripts/index_items.py path=…`."""

from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from models import artifact
from scripts.entrypoint import entrypoint


@entrypoint("index_items")
def main(cfg: DictConfig) -> None:
    """Embed the items, publish a version that has them, and say where it is."""
    output = Path(cfg.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, output / "config.yaml", resolve=True)
    source = Path(cfg.artifact)
    if not (source / artifact.SIGNATURE).is_file():
        source = artifact.latest(source.parent, source.name)
    print(instantiate(cfg.indexer)(source))


if __name__ == "__main__":
    main()
