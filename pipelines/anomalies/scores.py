"""The warehouse's `scores` table: every event's score and threshold, by UTC date of the event.

See `landing` for its files. What has not landed yet is in the store's journal, and is read from
there.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import sqlalchemy as sa

from pipelines.anomalies.journal import unpack
from pipelines.anomalies.landing import landed, needed
from pipelines.anomalies.landing_rows import score_rows
from pipelines.anomalies.tables import JOURNAL

_COLUMNS: dict[str, pl.DataType | type[pl.DataType]] = {
    "source": pl.String,
    "timestamp": pl.Datetime("us", "UTC"),
    "score": pl.Float32,  # null: scoring failed
    "threshold": pl.Float64,
    "anomalous": pl.Boolean,
    "version": pl.String,
}
SCHEMA = pl.Schema(_COLUMNS)


def read_scores(
    folder: str | Path,
    engine: sa.Engine | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    source: str | None = None,
) -> pl.DataFrame:
    """Scores sorted by source and time; see `SCHEMA`.

    Args:
        folder: of the table.
        engine: the anomaly store, where the last seconds are; None: landed ones only.
        since, until: with a zone; the former included, the latter not.
        source: None: all of them.
    """
    wanted = pl.lit(True)
    if since is not None:
        wanted &= pl.col("timestamp") >= since
    if until is not None:
        wanted &= pl.col("timestamp") < until
    if source is not None:
        wanted &= pl.col("source") == source
    # The journal first: what lands between the two looks is seen twice rather than not at all.
    parts = [_journal(engine).filter(wanted)] if engine is not None else []
    for _ in range(5):
        try:
            parts += [
                pl.scan_parquet(f.path, hive_partitioning=False).filter(wanted).collect()
                for day in _days(Path(folder), since, until)
                for f in needed(landed(day))
            ]
            break
        except FileNotFoundError:  # merged meanwhile
            parts = parts[: engine is not None]
    found = pl.concat([pl.DataFrame(schema=SCHEMA), *parts])
    return found.unique(["source", "timestamp"], keep="first").sort("source", "timestamp")


def _journal(engine: sa.Engine) -> pl.DataFrame:
    with engine.begin() as connection:
        records = connection.scalars(sa.select(JOURNAL.c.record)).all()
    return pl.DataFrame(score_rows(map(unpack, records))).cast(SCHEMA)


def _days(folder: Path, since: datetime | None, until: datetime | None) -> list[Path]:
    first = (since.astimezone(UTC).date()) if since is not None else date.min
    # `until` is not included, but its date may have begun.
    last = (until.astimezone(UTC) - timedelta(microseconds=1)).date() if until else date.max
    found = []
    for path in sorted(folder.glob("date=*")):
        if first <= date.fromisoformat(path.name.removeprefix("date=")) <= last:
            found.append(path)
    return found
