"""What a report shows, gathered from the scores table, the anomaly store and planted truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import sqlalchemy as sa

from pipelines.anomalies.precision import Precision, precision
from pipelines.anomalies.store import ANOMALIES, ANOMALY
from pipelines.anomalies.verdicts import between, last_verdicts

# (engine, since, until) → source, timestamp, score, threshold, anomalous, sorted by both
ScoreReader = Callable[..., pl.DataFrame]


class EmptyReportError(ValueError):
    """Nothing was scored or found in the range."""

    exit_code = 66  # EX_NOINPUT


@dataclass(frozen=True)
class Findings:
    """Args:
    scores: source, timestamp, score, threshold, anomalous.
    anomalies: source, timestamp, detected_at, status, severity, score, threshold, reason, version,
        verdict, who and fields (name, value, expected, contribution); newest last.
    truth: source, kind, start, end; None: nobody planted any.
    precision: group → figures.
    """

    scores: pl.DataFrame
    anomalies: pl.DataFrame
    truth: pl.DataFrame | None
    precision: dict[str, list[Precision]]
    since: datetime
    until: datetime

    @property
    def found(self) -> pl.DataFrame:
        return self.anomalies.filter(pl.col("status") == ANOMALY)

    @property
    def sources(self) -> list[str]:
        """Those with most anomalies first, then by name."""
        counts = dict(self.found["source"].value_counts().iter_rows())
        names = {*self.scores["source"].unique(), *self.anomalies["source"].unique()}
        return sorted(names, key=lambda n: (-counts.get(n, 0), n))

    @property
    def eventful(self) -> list[str]:
        """Of these, those with an anomaly or a planted incident: what is worth a picture."""
        names = set(self.found["source"])
        if self.truth is not None:
            names |= set(self.truth["source"])
        return [name for name in self.sources if name in names]

    def caught(self) -> pl.DataFrame | None:
        """For each kind of planted incident: how many, and in how many an anomaly was reported."""
        if self.truth is None or self.truth.is_empty():
            return None
        numbered = self.truth.with_row_index("incident")
        inside = numbered.join(self.found.select("source", "timestamp"), on="source").filter(
            (pl.col("timestamp") >= pl.col("start")) & (pl.col("timestamp") < pl.col("end"))
        )
        hit = numbered.with_columns(
            pl.col("incident").is_in(inside["incident"].unique().implode()).alias("hit")
        )
        return hit.group_by("kind").agg(
            pl.len().alias("incidents"), pl.col("hit").sum().alias("caught")
        ).sort("kind")  # fmt: skip

    def outside(self) -> int | None:
        """Anomalies in no planted incident."""
        if self.truth is None:
            return None
        found = self.found.select("source", "timestamp").with_row_index("anomaly")
        inside = found.join(self.truth, on="source").filter(
            (pl.col("timestamp") >= pl.col("start")) & (pl.col("timestamp") < pl.col("end"))
        )
        return len(found) - inside["anomaly"].n_unique()


def gather(
    engine: sa.Engine,
    scores: ScoreReader,
    since: datetime | None = None,
    until: datetime | None = None,
    truth: Path | None = None,
) -> Findings:
    """Everything with an event time in [since, until); None: no bound.

    Args:
        truth: folder of Parquet files (source, kind, start, end); None or absent: unknown.

    Raises:
        EmptyReportError: nothing is in that range.
    """
    scored = scores(engine=engine, since=since, until=until)
    start, end = _micro(since), _micro(until)
    anomalies = _anomalies(engine, start, end)
    times = pl.concat([f.select("timestamp") for f in (scored, anomalies)])["timestamp"]
    first, last = times.min(), times.max()
    if not isinstance(first, datetime) or not isinstance(last, datetime):
        raise EmptyReportError(
            f"nothing was scored or found from {since or 'the beginning'} to {until or 'now'}; "
            "give another since= and until=, or run scripts/stream.py task=anomaly first"
        )
    files = sorted(truth.glob("*.parquet")) if truth is not None else []
    planted = None
    if files:
        planted = pl.concat([pl.read_parquet(f) for f in files]).filter(
            (pl.col("start") <= last) & (pl.col("end") >= first)
        )
    with engine.connect() as connection:
        groups = {
            name: precision(connection, start, end, by=[name])
            for name in ("severity", "source", "version")
        } | {"all": precision(connection, start, end)}
    return Findings(scored, anomalies, planted, groups, first, last)


def _anomalies(engine: sa.Engine, since: int | None, until: int | None) -> pl.DataFrame:
    last = last_verdicts()
    names = (
        "id", "source", "timestamp", "detected_at", "status", "severity", "score", "threshold",
        "reason", "version", "fields",
    )  # fmt: skip
    query = (
        sa.select(*(ANOMALIES.c[n] for n in names), last.c.verdict, last.c.who)
        .select_from(ANOMALIES.outerjoin(last, last.c.anomaly == ANOMALIES.c.id))
        .where(*between(since, until))
        .order_by(ANOMALIES.c.timestamp, ANOMALIES.c.id)
    )
    with engine.connect() as connection:
        rows = [dict(row) for row in connection.execute(query).mappings()]
    for row in rows:
        row["fields"] = [{"name": name, **part} for name, part in row["fields"].items()]
    part = {"name": pl.String, "value": pl.Float64, "expected": pl.Float64}
    schema: dict[str, pl.DataType | type[pl.DataType]] = {
        **dict.fromkeys(names, pl.String),
        "timestamp": pl.Int64,
        "detected_at": pl.Int64,
        "score": pl.Float64,
        "threshold": pl.Float64,
        "fields": pl.List(pl.Struct(part | {"contribution": pl.Float64})),
        "verdict": pl.String,
        "who": pl.String,
    }
    frame = pl.DataFrame(rows, schema=schema)
    return frame.with_columns(
        pl.from_epoch(n, time_unit="us").dt.replace_time_zone("UTC")
        for n in ("timestamp", "detected_at")
    )


def _micro(moment: datetime | None) -> int | None:
    return None if moment is None else round(moment.timestamp() * 1e6)


def moment(text: str | None) -> datetime | None:
    """ISO-8601, UTC where it has no zone.

    Raises:
        ValueError: it is no time.
    """
    if text is None:
        return None
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)
