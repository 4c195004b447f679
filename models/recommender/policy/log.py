"""Read a log of answers: what was shown to whom, how likely that was, and what it earned.

Two shapes are read, from Parquet (a file, or a folder of them) or JSON lines: one row for each
answer with lists `items` and `propensity`, as the gateway's prediction log has, or one row for each
item shown. Propensities are those of one place after the other: how likely the item was for its
place, given those above it.

Limits: the log is held in memory.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from models.recommender.interactions import DataError
from models.recommender.policy.sums import Array, Codes
from models.recommender.readers.files import MissingInputError
from models.recommender.rejects import Rejects

KEY = ["request_id", "item_id"]


@dataclass(frozen=True)
class Log:
    """N rows that passed all checks, each an item at a place of an answer."""

    frame: pl.DataFrame  # request_id, user_id, item_id, place, propensity, reward, and the rest
    rejected: int
    read: int

    def __len__(self) -> int:
        return len(self.frame)

    def codes(self, column: str) -> Codes:
        """[N] codes from 0 of a column's values, in order of appearance."""
        ranks = self.frame[column].cast(pl.String).fill_null("")
        places = pl.DataFrame({"v": ranks.unique(maintain_order=True)}).with_row_index("code")
        joined = pl.DataFrame({"v": ranks}).join(places, on="v", how="left", maintain_order="left")
        return joined["code"].to_numpy().astype(np.int64)

    def numbers(self, column: str) -> Array:
        return self.frame[column].to_numpy().astype(np.float64)


@dataclass
class LogReader:
    """Read, unfold, join rewards, check.

    Args:
        path: Parquet or JSON lines (`.jsonl`, `.ndjson`); a folder is read whole, at any depth.
        columns: what the log calls `request_id`, `user_id`, `items`, `propensity`, `reward`,
            `place`, and `target`; one that the log lacks is null. Without `request_id`, every row
            is a request of its own; without `user_id`, a user; without `place`, places follow the
            order of a list. `target` is a policy's own column of probabilities.
        rewards: a file of (request_id, item_id, reward) to join, where the log has no rewards;
            what it lacks earned 0, and what it has twice is added up.
        rejects: CSV file of rows that cannot be used.
        max_reject_share: largest share of such rows that is accepted.

    Raises:
        MissingInputError: no such file.
        DataError: no such column, no usable row, or too many bad ones.
    """

    path: str
    columns: Mapping[str, str | None]
    rejects: str
    max_reject_share: float
    rewards: str | None = None

    def read(self) -> Log:
        source = Path(self.path)
        rows = self._named(read_table(source), source)
        rows = self._unfolded(rows.with_row_index("line", offset=1))
        if self.rewards is not None:
            rows = self._joined(rows, Path(self.rewards))
        count = len(rows)
        checked = self._checked(rows)
        good = Rejects(Path(self.rejects), self.max_reject_share).set_aside(checked, source)
        if good.is_empty():
            raise DataError(f"{source}: no usable row of {count}; see {self.rejects}")
        return Log(good, count - len(good), count)

    def _named(self, rows: pl.DataFrame, source: Path) -> pl.DataFrame:
        """The log's columns under our names; others keep theirs."""
        names = {ours: theirs for ours, theirs in self.columns.items() if theirs is not None}
        needed = {"items", "propensity"} | (set() if self.rewards else {"reward"})
        unset = sorted(needed - set(names))
        missing = sorted(t for t in names.values() if t not in rows.columns)
        if unset or missing:
            lacking = ", ".join([*missing, *(f"{n} (unset)" for n in unset)])
            raise DataError(
                f"{source}: no column {lacking}; it has {', '.join(rows.columns)}. Name them with "
                "columns.items=…, and rewards of another file with rewards=…"
            )
        # One column may have two meanings, as when the policy that ran is judged by its own log.
        known = rows.with_columns(pl.col(theirs).alias(ours) for ours, theirs in names.items())
        rows = known.drop(set(names.values()) - set(names))
        if "request_id" not in names:
            rows = rows.with_columns(pl.int_range(pl.len()).cast(pl.String).alias("request_id"))
        if "user_id" not in names:
            rows = rows.with_columns(pl.col("request_id").alias("user_id"))
        if "place" not in names:
            rows = rows.with_columns(pl.lit(1, pl.Int64).alias("place"))
        rows = rows.with_columns(pl.col("request_id", "user_id").cast(pl.String))
        # Callers who bring a history have no name; they are not one and the same user.
        return rows.with_columns(pl.coalesce("user_id", "request_id").alias("user_id"))

    def _unfolded(self, rows: pl.DataFrame) -> pl.DataFrame:
        """One row an item shown; `uneven` marks answers whose lists do not belong together."""
        rows = rows.rename({"items": "item_id"})
        if not isinstance(rows.schema["item_id"], pl.List):
            return rows.with_columns(pl.lit(False).alias("uneven"))
        lists = [
            name
            for name in ("item_id", "propensity", "reward", "target")
            if name in rows.columns and isinstance(rows.schema[name], pl.List)
        ]
        length = pl.col("item_id").list.len()
        other = [pl.col(name).list.len() for name in lists[1:]]
        uneven = pl.any_horizontal(pl.lit(False), *((o != length).fill_null(True) for o in other))
        rows = rows.with_columns(uneven.alias("uneven"))
        # Uneven lists cannot be unfolded side by side: such an answer stays one row, and bad.
        odd = rows.filter("uneven").with_columns(
            pl.lit(None, rows.schema[name].inner).alias(name)  # type: ignore[attr-defined]
            for name in lists
        )
        even = rows.filter(~pl.col("uneven") & (length > 0)).explode(lists)
        even = even.with_columns((pl.int_range(pl.len()) + 1).over("line").alias("place"))
        return pl.concat([even, odd], how="vertical_relaxed")

    def _joined(self, rows: pl.DataFrame, path: Path) -> pl.DataFrame:
        found = read_table(path)
        missing = sorted({*KEY, "reward"} - set(found.columns))
        if missing:
            raise DataError(
                f"{path}: no column {', '.join(missing)}; it has {', '.join(found.columns)}, and "
                "needs request_id, item_id, reward"
            )
        earned = (
            found.with_columns(pl.col(KEY).cast(pl.String), pl.col("reward").cast(pl.Float64))
            .group_by(KEY, maintain_order=True)
            .agg(pl.col("reward").sum())
        )
        rows = rows.drop("reward", strict=False).with_columns(pl.col("item_id").cast(pl.String))
        joined = rows.join(earned, on=KEY, how="left", maintain_order="left")
        return joined.with_columns(pl.col("reward").fill_null(0.0))

    def _checked(self, rows: pl.DataFrame) -> pl.DataFrame:
        """With `reason`, null for a good row, and `text` of a bad one."""
        numbers = [n for n in ("propensity", "reward", "target") if n in rows.columns]
        text = pl.struct(pl.exclude("uneven", "line", "features", "history")).struct.json_encode()
        rows = rows.with_columns(text.alias("text")).with_columns(
            pl.col("item_id").cast(pl.String),
            pl.col("place").cast(pl.Int64, strict=False),
            *(pl.col(n).cast(pl.Float64, strict=False) for n in numbers),
        )
        checks = [
            (pl.col("uneven"), "lists of items, propensities and rewards of different lengths"),
            (pl.col("request_id").fill_null("") == "", "empty request id"),
            (pl.col("item_id").fill_null("") == "", "empty item id"),
            (pl.col("place").is_null() | (pl.col("place") < 1), "place is not a number from 1"),
            (pl.col("propensity").is_null(), "no propensity"),
            (~pl.col("propensity").is_finite(), "propensity is not a number"),
            (pl.col("propensity") <= 0, "propensity is 0 or below"),
            (pl.col("propensity") > 1, "propensity is above 1"),
            (~pl.col("reward").is_finite().fill_null(False), "reward is not a number"),
            (pl.struct("request_id", "place").is_duplicated(), "two items at one place"),
        ]
        if "target" in rows.columns:
            right = pl.col("target").is_between(0, 1).fill_null(False)
            checks.append((~right, "the target's probability is not between 0 and 1"))
        reason: pl.Expr = pl.lit(None, dtype=pl.String)
        for condition, why in reversed(checks):
            reason = pl.when(condition.fill_null(False)).then(pl.lit(why)).otherwise(reason)
        rows = rows.with_columns(reason.alias("reason")).drop("uneven")
        # What is left of an answer would be worth less than the answer.
        broken = pl.col("reason").is_not_null().any().over("request_id")
        other = pl.when(broken).then(pl.lit("another item of the same request is bad"))
        return rows.with_columns(pl.coalesce("reason", other).alias("reason"))


def read_table(path: Path) -> pl.DataFrame:
    """Parquet or JSON lines, by the name's ending.

    Raises:
        MissingInputError: there is no such file.
        DataError: it is neither, or it is damaged.
    """
    if not path.exists():
        raise MissingInputError(
            f"{path}: no such file; a Parquet or .jsonl file, or a folder, is needed"
        )
    try:
        if path.is_dir():
            if not any(path.rglob("*.parquet")):
                raise DataError(f"{path}: no .parquet file in it")
            # The gateway's log has gained columns; no column that only newer files have is read.
            files = pl.scan_parquet(
                path / "**" / "*.parquet", hive_partitioning=False, missing_columns="insert",
                extra_columns="ignore",
            )  # fmt: skip
            return files.collect()
        if path.suffix in (".jsonl", ".ndjson"):
            return pl.read_ndjson(path, infer_schema_length=None)
        return pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        if path.suffix in (".jsonl", ".ndjson") and (broken := _broken_line(path)) is not None:
            raise DataError(
                f"{path}: line {broken[0]} is no JSON object: {broken[1]!r:.60}; Parquet or JSON "
                "lines (.jsonl) is needed"
            ) from error
        first: Any = str(error).splitlines()[0]
        raise DataError(f"{path}: {first}; Parquet or JSON lines (.jsonl) is needed") from error


def _broken_line(path: Path) -> tuple[int, str] | None:
    """The first line, from 1, that is no JSON object, and what it says."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            try:
                if not line.strip() or isinstance(json.loads(line), dict):
                    continue
            except ValueError:
                pass
            return number, line.strip()
    return None
