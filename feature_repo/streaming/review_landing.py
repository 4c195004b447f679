"""Streamed reviews in the warehouse: in `reviews`, and what was said of them in `review_sentiment`.

As `feature_repo.streaming.landing` does for events: the journal names a landing before its files
are written, so that a killed one is written again under the same names.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from feature_repo.offline.pushes import merge, put
from feature_repo.streaming.landing import PREFIX
from feature_repo.streaming.review_journal import ReviewJournal

_MOMENT = pl.Datetime("us", "UTC")
_ROW = {
    "message_id": pl.String, "review_id": pl.String, "user_id": pl.String,
    "anonymous_id": pl.String, "item_id": pl.String, "stars": pl.Int64, "title": pl.String,
    "text": pl.String, "timestamp": pl.Int64, "received_at": pl.Int64, "sentiment": pl.Float64,
    "reason": pl.String, "sentiment_version": pl.String, "scored_at": pl.Int64,
}  # fmt: skip
# Sentiment first: a review is never there without it. Columns as batch has them.
_TABLES = {
    "review_sentiment": [
        "review_id", "user_id", "item_id", "timestamp", "sentiment", "reason",
        "sentiment_version", "scored_at",
    ],
    "reviews": ["review_id", "user_id", "item_id", "stars", "title", "text", "timestamp"],
}  # fmt: skip


class ReviewLanding:
    """Brings reviews from the journal to the warehouse.

    Args:
        most_rows: of one landing; bounds memory.
        most_files: streamed files in a day's folder until they are merged into one.
        give_up_s: a landing unfinished for so long is done again.
    """

    def __init__(
        self,
        journal: ReviewJournal,
        warehouse: Path,
        most_rows: int,
        most_files: int,
        give_up_s: float,
    ) -> None:
        self._journal = journal
        self._warehouse = warehouse
        self._most_rows = most_rows
        self._most_files = most_files
        self._give_up_s = give_up_s

    def land(self) -> None:
        """Write all reviews that are not in the warehouse yet."""
        for landing in self._journal.unfinished_landings(self._give_up_s):
            self._write(landing)
        while begun := self._journal.begin_landing(self._most_rows):
            self._write(begun)

    def _write(self, landing: str) -> None:
        frame = pl.DataFrame(self._journal.landing(landing), schema=_ROW, orient="row")
        frame = frame.with_columns(pl.col("timestamp", "received_at", "scored_at").cast(_MOMENT))
        folders = []
        for (day,), part in frame.group_by(pl.col("timestamp").dt.date()):
            for table, columns in _TABLES.items():
                folder = self._warehouse / table / f"date={day}"
                rows = part.select(columns).sort("timestamp", "review_id")
                put(rows, folder / f"{PREFIX}-{landing}.parquet")
                folders.append(folder)
        self._journal.finish_landing(landing)
        for folder in folders:
            merge(folder, PREFIX, self._most_files, unique="review_id")
