"""k-core filtering: what is left when rare users and items go, again and again."""

from __future__ import annotations

import polars as pl


def k_core(frame: pl.DataFrame, k: int) -> pl.DataFrame:
    """Drop users and items with fewer than k interactions until none is left that has.

    Duplicate (user, item) rows count each time. The order of the rows is kept.
    """
    while True:
        kept = frame.filter((pl.len().over("user_id") >= k) & (pl.len().over("item_id") >= k))
        if len(kept) == len(frame):
            return kept
        frame = kept
