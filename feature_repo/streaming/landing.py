"""Streamed events in the warehouse: `events/date=YYYY-MM-DD/stream-<landing>.parquet`.

The journal says which events belong to a landing before its files are written, and that they are
there afterwards; a landing that a killed job left is written again under the same names. So each
message lies in the warehouse once. (Merging may leave one twice if it is killed; whoever reads the
warehouse's events takes each message once.)
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from feature_repo.offline.pushes import merge, put
from feature_repo.streaming.journal import Journal

PREFIX = "stream"
_MOMENT = pl.Datetime("us", "UTC")
SCHEMA: dict[str, pl.DataType] = {
    "message_id": pl.String(),
    "type": pl.String(),
    "event": pl.String(),
    "user_id": pl.String(),
    "anonymous_id": pl.String(),
    "session_id": pl.String(),
    "item_id": pl.String(),
    "position": pl.Int64(),
    "price": pl.Float64(),
    "quantity": pl.Int64(),
    "order_id": pl.String(),
    "experiment_id": pl.String(),
    "variation_id": pl.String(),
    "timestamp": pl.Int64(),
    "received_at": pl.Int64(),
}


class Landing:
    """Brings events from the journal to the warehouse.

    Args:
        table: folder of the warehouse's events.
        most_rows: of one landing; bounds memory.
        most_files: streamed files in a day's folder until they are merged into one.
        give_up_s: a landing unfinished for so long is done again.
    """

    def __init__(
        self, journal: Journal, table: Path, most_rows: int, most_files: int, give_up_s: float
    ) -> None:
        self._journal = journal
        self._table = table
        self._most_rows = most_rows
        self._most_files = most_files
        self._give_up_s = give_up_s

    def land(self) -> int:
        """Write all events that are not in the warehouse yet; returns how many."""
        for landing in self._journal.unfinished_landings(self._give_up_s):
            self._write(landing)
        rows = 0
        while begun := self._journal.begin_landing(self._most_rows):
            rows += self._write(begun)
        return rows

    def _write(self, landing: str) -> int:
        frame = pl.DataFrame(self._journal.landing(landing), schema=SCHEMA, orient="row")
        frame = frame.with_columns(pl.col("timestamp", "received_at").cast(_MOMENT))
        folders = []
        for (day,), part in frame.group_by(pl.col("timestamp").dt.date()):
            folder = self._table / f"date={day}"
            put(part.sort("timestamp", "message_id"), folder / f"{PREFIX}-{landing}.parquet")
            folders.append(folder)
        self._journal.finish_landing(landing)
        for folder in folders:
            merge(folder, PREFIX, self._most_files, unique="message_id")
        return len(frame)
