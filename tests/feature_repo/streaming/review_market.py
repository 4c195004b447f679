"""Reviews that come by warehouse and by stream, and a store that has seen the former."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from feature_repo.sources import warehouse_tables
from feature_repo.store import open_store
from feature_repo.views import ITEM_REVIEW_SENTIMENT
from scripts.entrypoint import CONFIGS
from tests.feature_repo.streaming.market import midnight, settings

Row = dict[str, Any]
ITEMS = ["lamp", "tent", "rope", "hat"]
TEXTS = ["a good film", "a bad film", "good good", "film", "", None]
COLUMNS = ["review_id", "user_id", "item_id", "stars", "title", "text", "timestamp"]
NAMES = [f.name for f in ITEM_REVIEW_SENTIMENT.features]


def reviews(count: int, days: Sequence[int], seed: int, first: int = 0) -> list[Row]:
    """Random reviews on days counted from today."""
    draw = random.Random(seed)
    latest = datetime.now(UTC) - timedelta(minutes=1)
    return [
        {
            "message_id": f"m{n:06d}",
            "review_id": f"r{n:06d}",
            "user_id": f"u{draw.randrange(20)}",
            "anonymous_id": None,
            "item_id": draw.choice(ITEMS),
            "stars": draw.randint(1, 5),
            "title": None,
            "text": draw.choice(TEXTS),
            "timestamp": min(
                midnight() + timedelta(days=draw.choice(days), seconds=draw.randrange(86_400)),
                latest,
            ),
            "received_at": None,
        }
        for n in range(first, first + count)
    ]


def write_warehouse(root: Path, rows: Iterable[Row]) -> None:
    schema = {n: pl.Int64 if n == "stars" else pl.String for n in COLUMNS}
    schema["timestamp"] = pl.Datetime("us", "UTC")  # type: ignore[assignment]
    frame = pl.DataFrame([{n: r[n] for n in COLUMNS} for r in rows], schema=schema, orient="row")
    for (day,), part in frame.group_by(pl.col("timestamp").dt.date()):
        path = root / "data" / "warehouse" / "reviews" / f"date={day}" / "part-0.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_parquet(path)


def materialize(root: Path) -> None:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose("materialize", settings(root))
    table = warehouse_tables(root / "data" / "warehouse")["reviews"]
    instantiate(cfg.features)({"reviews": table}, only=[ITEM_REVIEW_SENTIMENT.name])


def online(root: Path) -> dict[str, list[Any]]:
    refs = [f"{ITEM_REVIEW_SENTIMENT.full_name}:{n}" for n in NAMES]
    store = open_store(root / "data" / "features")
    found: dict[str, list[Any]] = store.get_online_features(
        refs, [{"item_id": item} for item in ITEMS]
    ).to_dict()
    return found


def landed(root: Path, table: str) -> pl.DataFrame:
    """What the stream has left in a table of the warehouse."""
    files = sorted((root / "data" / "warehouse" / table).rglob("stream-*.parquet"))
    return pl.concat([pl.read_parquet(f, hive_partitioning=False) for f in files])
