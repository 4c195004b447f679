"""Handle a stream until SIGTERM or Ctrl-C: `python scripts/stream.py task=features`."""

from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from scripts.entrypoint import entrypoint


@entrypoint("stream")
def main(cfg: DictConfig) -> None:
    """Run one consumer of the task's group; start more for more work."""
    output = Path(cfg.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, output / "config.yaml", resolve=True)
    instantiate(cfg.job).run()


if __name__ == "__main__":
    main()
