"""Take items into a two-tower artifact without training: `python scripts/index_items.py path=…`."""

import logging
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from models.champion import in_force
from scripts.entrypoint import entrypoint

log = logging.getLogger(__name__)


@entrypoint("index_items")
def main(cfg: DictConfig) -> None:
    """Embed the items, publish a version that has them, and say where it is."""
    output = Path(cfg.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, output / "config.yaml", resolve=True)
    published: Path = instantiate(cfg.indexer)(in_force(Path(cfg.artifact)))
    serving = in_force(published.parent)
    if serving.name != published.name:
        log.warning(
            "version %s stays in force, which somebody promoted; to serve the new one: "
            "python scripts/champion.py promote name=%s version=%s why=…",
            serving.name, published.parent.name, published.name,
        )  # fmt: skip
    print(published)


if __name__ == "__main__":
    main()
