"""Pack an artifact for TorchServe: `python scripts/archive.py [artifact=…]`."""

import json
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from models.champion import champion
from scripts.entrypoint import entrypoint
from serving.torchserve.archive import archive


@entrypoint("archive")
def main(cfg: DictConfig) -> None:
    """Write `<model>.mar` into the model store, and what went into it into output_dir."""
    output = Path(cfg.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, output / "config.yaml", resolve=True)
    chosen = Path(cfg.artifact or champion(Path(cfg.paths.artifacts), cfg.name))
    settings = OmegaConf.to_container(cfg.torchserve.model, resolve=True)
    packed = archive(chosen, Path(cfg.model_store), settings)  # type: ignore[arg-type]
    report = {"artifact": str(chosen), "archive": str(packed), "bytes": packed.stat().st_size}
    (output / "metrics.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(f"{packed} from {chosen}")


if __name__ == "__main__":
    main()
