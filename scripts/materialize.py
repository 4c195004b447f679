"""Compute features and publish them: `python scripts/materialize.py data=… data.path=…`."""

import json
import time
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from scripts.entrypoint import entrypoint


@entrypoint("materialize")
def main(cfg: DictConfig) -> None:
    """Read the same interactions as training does, and hand them to the feature store."""
    started = time.perf_counter()
    output = Path(cfg.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, output / "config.yaml", resolve=True)
    frame = instantiate(cfg.data.reader).read()
    interactions = frame.select("user_id", "item_id", "timestamp").to_arrow()
    events = Path(cfg.paths.warehouse) / "events" if cfg.data.name == "warehouse" else None
    views = instantiate(cfg.features)(interactions, events)
    seconds = round(time.perf_counter() - started, 2)
    report = {"views": views, "interactions": len(frame), "seconds": seconds}
    (output / "metrics.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
