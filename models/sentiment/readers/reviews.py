"""Labelled texts from the warehouse: reviews and their stars."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from models.sentiment.readers.table import MissingTextsError


@dataclass
class ReviewReader:
    """Read the warehouse's `reviews`.

    Args:
        path: the warehouse folder.
        with_title: put the title before the text.
    """

    path: str
    with_title: bool = False

    def read(self) -> pl.DataFrame:
        """Columns text, label (the stars), split (empty), key (the review's id), by time.

        Raises:
            MissingTextsError: there are no reviews.
        """
        table = Path(self.path) / "reviews"
        if not any(table.glob("**/*.parquet")):
            raise MissingTextsError(
                f"{table}: no reviews; fill the warehouse first, for example with "
                "`python scripts/simulate.py size=small`"
            )
        reviews = pl.read_parquet(table / "**/*.parquet", hive_partitioning=False)
        reviews = reviews.sort("timestamp", "review_id")
        text = pl.format("{}. {}", "title", "text") if self.with_title else pl.col("text")
        return reviews.select(
            text.alias("text"),
            pl.col("stars").cast(pl.String).alias("label"),
            pl.lit("").alias("split"),
            pl.col("review_id").alias("key"),
        )
