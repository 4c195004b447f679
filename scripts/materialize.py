"""Compute features and publish them: `python scripts/materialize.py data=… data.path=…`.

Only days whose raw data, code or settings have changed are computed. `first=… last=…` computes a
range again, `views=[…]` chooses views.
"""

import json
import time
from datetime import date
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from feature_repo.dates import Dates
from feature_repo.sources import (
    Frame,
    RawTable,
    WarehouseCategoryViews,
    WarehouseInteractions,
    warehouse_tables,
)
from feature_repo.store import StoreError
from scripts.entrypoint import entrypoint


def raw_tables(cfg: DictConfig) -> dict[str, RawTable]:
    """The warehouse's tables, or the interactions that training reads from elsewhere."""
    if cfg.data.name != "warehouse":
        frame = instantiate(cfg.data.reader).read()
        return {"interactions": Frame(frame.select("user_id", "item_id", "timestamp").to_arrow())}
    warehouse = Path(cfg.data.reader.path)
    tables = warehouse_tables(warehouse)
    if not tables["events"].exists():
        raise StoreError(
            f"{warehouse / 'events'}: no events; fill the warehouse first, for example with "
            "`python scripts/simulate.py size=small`"
        )
    touched = WarehouseInteractions(tables["events"], list(cfg.data.reader.events))
    found: dict[str, RawTable] = {n: t for n, t in tables.items() if t.exists()}
    if "items" in found:
        found["category_views"] = WarehouseCategoryViews(tables["events"], tables["items"])
    return {"interactions": touched, **found}


def dates(cfg: DictConfig) -> Dates | None:
    if cfg.first is None and cfg.last is None:
        return None
    first = _day(cfg, "first", date.min)
    last = _day(cfg, "last", date.max)
    if first > last:
        raise StoreError(f"first={first} is after last={last}")
    return Dates(first, last)


def _day(cfg: DictConfig, key: str, otherwise: date) -> date:
    if cfg[key] is None:
        return otherwise
    try:
        return date.fromisoformat(str(cfg[key]))
    except ValueError as error:
        raise StoreError(f"{key}={cfg[key]}: a day is YYYY-MM-DD, such as 2026-01-31") from error


@entrypoint("materialize")
def main(cfg: DictConfig) -> None:
    """Bring the feature store up to date with the raw data."""
    started = time.perf_counter()
    output = Path(cfg.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, output / "config.yaml", resolve=True)
    materialize = instantiate(cfg.features)
    views = materialize(
        raw_tables(cfg),
        only=list(cfg.views) if cfg.views else None,
        within=dates(cfg),
        rebuild_online=cfg.rebuild_online,
        by=cfg.by,
        why=cfg.why,
    )
    report = {"views": views, "seconds": round(time.perf_counter() - started, 2)}
    (output / "metrics.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
