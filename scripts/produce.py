"""Send a day of the warehouse to the broker: `python scripts/produce.py rate=500`.

With `task=anomaly` it is telemetry: `python scripts/produce.py task=anomaly rate=500 now=true`.
"""

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from pipelines.streaming.producer import Days, produce
from scripts.entrypoint import entrypoint

log = logging.getLogger(__name__)


async def run(cfg: DictConfig, source: Any, days: Days) -> dict[str, float]:
    rows = days.read(Path(cfg.data.reader.path), cfg.day, cfg.limit)
    try:
        reached = await produce(source, days, rows, cfg.rate, cfg.per_entry, cfg.now)
    finally:
        await source.close()
    return {"events": len(rows), "events_per_s": round(reached, 1)}


@entrypoint("produce")
def main(cfg: DictConfig) -> None:
    """Send, and say how fast it went."""
    output = Path(cfg.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, output / "config.yaml", resolve=True)
    report = asyncio.run(run(cfg, instantiate(cfg.stream.broker), instantiate(cfg.task.producer)))
    (output / "metrics.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    log.info("%s to %s", report, cfg.task.stream)


if __name__ == "__main__":
    main()
