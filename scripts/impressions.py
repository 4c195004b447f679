"""What a ranker learns from: impressions with features as of each showing.

`python scripts/impressions.py output=data/impressions/spring` reads the warehouse's events, joins
the features of a service point-in-time, and keeps a snapshot that `scripts/features.py verify`
can check; then `python scripts/train.py experiment=recommender/dlrm data.path=…` trains on it.
"""

import logging
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from hydra.utils import instantiate
from omegaconf import DictConfig

from feature_repo.lag import behind
from feature_repo.registry.author import author
from feature_repo.snapshot_query import Query
from feature_repo.snapshots import take
from feature_repo.sources import RawTable, warehouse_tables
from feature_repo.store import StoreError, open_store
from pipelines.impressions import Impressions
from scripts.entrypoint import entrypoint

log = logging.getLogger(__name__)


def collect(cfg: DictConfig) -> dict[str, Any]:
    """Read impressions, join their features, keep a snapshot; returns its manifest."""
    folder, goal = Path(cfg.paths.features).resolve(), Path(cfg.output)
    store = open_store(folder)
    query = Query.of(
        folder, service=cfg.service, refs=None, full_names=False, known_only=cfg.known_only
    )
    impressions: Impressions = instantiate(cfg.impressions)
    rows = impressions.read()
    entities = Path(cfg.output_dir) / "impressions.parquet"
    entities.parent.mkdir(parents=True, exist_ok=True)
    rows.write_parquet(entities)
    if not cfg.allow_stale:
        require_computed(folder, Path(impressions.warehouse), query, rows)
    share = rows["label"].mean()
    log.info("%d impressions, %.1f%% positive", len(rows), 100 * float(share or 0))  # type: ignore[arg-type]
    return take(store, folder, goal.name, entities, goal, query, author(cfg.by, cfg.why))


def require_computed(folder: Path, warehouse: Path, query: Query, rows: pl.DataFrame) -> None:
    """A showing sees features of the days before its own: those must have been computed.

    Raises:
        StoreError: naming each view that is behind, how far it goes, and what brings it up to date.
    """
    last = rows["shown_at"].dt.date().max()
    assert isinstance(last, date), "impressions are never empty"
    late = behind(folder, query.views, raw_tables(warehouse), last - timedelta(days=1))
    if late:
        raise StoreError(
            f"{folder}: the impressions go on to {last}, but of the views of {query.service} these "
            f"are behind: {', '.join(map(str, late))}; `python scripts/materialize.py` computes "
            "the days between (allow_stale=true takes the old values)"
        )


def raw_tables(warehouse: Path) -> dict[str, RawTable]:
    """What the views of a ranker are computed from, as far as it is there."""
    tables = warehouse_tables(warehouse)
    found: dict[str, RawTable] = {n: t for n, t in tables.items() if t.exists()}
    # As far as days go, these are the events.
    return {**found, **dict.fromkeys(("interactions", "category_views"), tables["events"])}


@entrypoint("impressions")
def main(cfg: DictConfig) -> None:
    """Write one snapshot."""
    made = collect(cfg)
    print(f"{cfg.output}: {made['rows']} rows, {len(made['columns'])} columns of {cfg.service}")


if __name__ == "__main__":
    main()
