"""Small training sets with a planted effect, in the form that the feature store gives."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

FIELDS: dict[str, Any] = {
    "user_id": {"kind": "categorical", "side": "user", "min_count": 2},
    "item_ids": {"kind": "multi_hot", "side": "user", "feature": "user_history:item_ids",
                 "table": "item_id", "most": 5},
    "views_7d": {"kind": "dense", "side": "user", "feature": "user_statistics:views_7d",
                 "log": True},
    "item_id": {"kind": "categorical", "buckets": 4},
    "brand": {"kind": "categorical", "vocabulary": 0, "buckets": 16},
    "tags": {"kind": "multi_hot"},
    "price": {"kind": "dense"},
}  # fmt: skip
VIEWS = {
    "user_history": {"item_ids": "Array(String)", "length": "Int64"},
    "user_statistics": {"views_7d": "Int64", "views_30d": "Int64"},
}


def rows(n: int = 2000, seed: int = 0) -> pl.DataFrame:
    """Users of even number like items of even number, odd ones odd; all like what is cheap."""
    rng = np.random.default_rng(seed)
    user, item, price = rng.integers(0, 10, n), rng.integers(0, 20, n), rng.normal(0, 1, n)
    history = [rng.integers(0, 20, rng.integers(0, 7)).tolist() for _ in range(n)]
    chance = 1 / (1 + np.exp(0.5 + 0.8 * price - 2.5 * (1 - 2 * ((user + item) % 2))))
    frame = pl.DataFrame(
        {
            "user_id": [f"u{u}" for u in user],
            "item_ids": [[f"i{i}" for i in h] for h in history],
            "views_7d": rng.integers(0, 100, n),
            "item_id": [f"i{i}" for i in item],
            "brand": [f"brand {b}" for b in rng.integers(0, 1000, n)],
            "tags": [[f"t{t}" for t in rng.integers(0, 5, rng.integers(0, 3))] for _ in range(n)],
            "price": price,
            "label": (rng.random(n) < chance).astype(np.int64),
            "event_timestamp": [
                datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=m) for m in range(n)
            ],
        }
    )
    gone = rng.random(n) < 0.1
    return frame.with_columns(
        pl.when(~pl.Series(gone)).then(pl.col(c)).alias(c) for c in ("views_7d", "brand", "tags")
    )


def snapshot(folder: Path, frame: pl.DataFrame | None = None) -> Path:
    """As `scripts/features.py snapshot` leaves it, as far as a reader looks."""
    folder.mkdir(parents=True)
    (rows() if frame is None else frame).write_parquet(folder / "data.parquet")
    views = {
        name: {"kind": "view", "version": 1, "revision": 2, "schema": f"schema of {name}",
               "code": "c0de", "key": "user_id", "features": features}
        for name, features in VIEWS.items()
    }  # fmt: skip
    code = hashlib.sha256((folder / "data.parquet").read_bytes()).hexdigest()
    content = {
        "format": 1,
        "query": {"service": "ranking_v1"},
        "views": views,
        "data": {"file": "data.parquet", "sha256": code},
    }
    (folder / "manifest.json").write_text(json.dumps(content))
    return folder
