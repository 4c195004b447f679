"""Judge the warehouse's reviews, a day at a time, so that a stopped run can go on.

`review_sentiment/date=YYYY-MM-DD/part-0.parquet` holds a row for each review of that day: the
reviews themselves are facts, and stay as they are.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from models.sentiment.readers.table import MissingTextsError
from models.sentiment.review_judge import ReviewJudge
from models.sentiment.texts import TextError

log = logging.getLogger(__name__)

FILE = "part-0.parquet"  # what a stream of reviews judges lies beside it, under other names
_KEYS = ["review_id", "user_id", "item_id", "timestamp"]
_MOMENT = pl.Datetime("us", "UTC")
SCHEMA: dict[str, pl.DataType] = {
    "review_id": pl.String(),
    "user_id": pl.String(),
    "item_id": pl.String(),
    "timestamp": _MOMENT,  # of the review
    "sentiment": pl.Float64(),  # null: the text cannot be judged
    "reason": pl.String(),  # why not
    "sentiment_version": pl.String(),
    "scored_at": _MOMENT,
}


@dataclass
class ReviewScorer:
    """Gives every review a sentiment of the version in force.

    Args:
        warehouse: folder with `reviews`.
        rows: reviews judged together; bounds memory.
        report_s: between lines in the log.
    """

    judge: ReviewJudge
    warehouse: str
    rows: int
    report_s: float

    def score(self) -> dict[str, float]:
        """Judge what this version has not judged yet; days without such reviews are not touched.

        Returns how many reviews there are, how many were judged now, how many of these could not be
        (without), how many days changed, and the seconds that it took.

        Raises:
            MissingTextsError: there are no reviews.
            TextError: a table cannot be read, or lacks a column.
            ArtifactError: there is no model.
        """
        started = told = time.perf_counter()
        table = Path(self.warehouse) / "reviews"
        days = sorted(p for p in table.glob("date=*") if any(_files(p)))
        if not days:
            raise MissingTextsError(
                f"{table}: no reviews; fill the warehouse first, for example with "
                "`python scripts/simulate.py size=small`"
            )
        version = self.judge.refresh()
        done = {"reviews": 0.0, "scored": 0.0, "without": 0.0, "days": 0.0}
        for number, day in enumerate(days, 1):
            reviews, scored, without = self._day(day.name, version)
            done["reviews"] += reviews
            done["scored"] += scored
            done["without"] += without
            done["days"] += scored > 0
            now = time.perf_counter()
            if now > told + self.report_s:
                told = now
                log.info(
                    "%s, day %d of %d: %.0f reviews scored, %.0f a second",
                    day.name, number, len(days), done["scored"], done["scored"] / (now - started),
                )  # fmt: skip
        return {**done, "seconds": round(time.perf_counter() - started, 2)}

    def _day(self, name: str, version: str) -> tuple[int, int, int]:
        """Reviews of a day; of these, scored now; of these, without a sentiment."""
        root = Path(self.warehouse)
        goal = root / "review_sentiment" / name
        reviews = _read(root / "reviews" / name, [*_KEYS, "text"]).unique(
            "review_id", keep="first", maintain_order=True
        )
        known = _read(goal, list(SCHEMA)) if any(_files(goal)) else pl.DataFrame(schema=SCHEMA)
        newest = known.sort("scored_at", "sentiment_version").unique("review_id", keep="last")
        ours = newest.filter(pl.col("sentiment_version") == version)
        missing = reviews.join(ours, on="review_id", how="anti")
        if missing.is_empty():
            return len(reviews), 0, 0
        parts = [self._scored(part) for part in missing.iter_slices(self.rows)]
        # Rows of the stream's files stay there; having been scored later, these go before them.
        kept = ours.join(reviews, on="review_id", how="semi").select(list(SCHEMA))
        _put(pl.concat([kept, *parts]).sort("timestamp", "review_id"), goal / FILE)
        return len(reviews), len(missing), sum(p["sentiment"].null_count() for p in parts)

    def _scored(self, reviews: pl.DataFrame) -> pl.DataFrame:
        judged, version = self.judge.judge(reviews["text"].to_list())
        return reviews.select(
            *_KEYS,
            pl.Series("sentiment", [j.sentiment for j in judged], pl.Float64),
            pl.Series("reason", [j.reason for j in judged], pl.String),
            pl.lit(version).alias("sentiment_version"),
            pl.lit(datetime.now(UTC)).alias("scored_at"),
        ).cast(SCHEMA)  # type: ignore[arg-type]


def _files(folder: Path) -> Iterator[Path]:
    """Whole files: those being written have a dot or another ending."""
    return (p for p in sorted(folder.glob("*.parquet")) if not p.name.startswith("."))


def _read(folder: Path, columns: list[str]) -> pl.DataFrame:
    for attempt in (1, 2, 3):
        try:
            frame = pl.scan_parquet(
                list(_files(folder)), hive_partitioning=False,
                missing_columns="insert", extra_columns="ignore",
            )  # fmt: skip
            return frame.select(columns).collect()
        except FileNotFoundError:  # a stream job has just made one file of several: list again
            if attempt == 3:
                raise
        except (pl.exceptions.PolarsError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise TextError(
                f"{folder}: cannot be read with columns {columns} ({reason})"
            ) from error
    raise AssertionError


def _put(frame: pl.DataFrame, path: Path) -> None:
    """Write beside the goal and rename: readers never see half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    frame.write_parquet(partial)
    partial.replace(path)
