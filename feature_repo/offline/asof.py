"""The point-in-time join: for each entity row, the newest feature row that was true by then.

Both sides are sorted by time and walked once (an ASOF join), instead of pairing every entity row
with every earlier feature row. Tables that do not fit the memory limit are cut by a hash of the key
into parts that do; rows of one key always meet in one part.

Limits: all features of one part are in memory at a time; the entity frame is there as a whole.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

log = logging.getLogger(__name__)

TIME = pl.Datetime("us", "UTC")
_ROW, _TIME, _CREATED, _KNOWN, _RANK = "__row", "__time", "__created", "__known", "__rank"
# Reading, sorting and joining hold about this many copies of a part at once.
_COPIES = 4
_STRING_BYTES = 32  # what a string, list or other value of no fixed width is taken to need


class JoinError(ValueError):
    """An entity frame or a feature table that cannot be joined; the message says what and where."""

    exit_code = 65  # EX_DATAERR


@dataclass(frozen=True)
class FeatureTable:
    """One view's offline table.

    Args:
        keys: column of the table → column of the entity frame.
        features: column of the table → column of the result.
        ttl: a value older than this is null; zero or None keeps it for ever.
        created: column that breaks ties of one moment, and says when a row had arrived.
        renames: column of the file → column of the table, as in Feast's field mapping.
    """

    name: str
    path: Path
    keys: Mapping[str, str]
    features: Mapping[str, str]
    timestamp: str
    created: str | None = None
    ttl: timedelta | None = None
    renames: Mapping[str, str] | None = None

    def files(self) -> list[Path]:
        """Raises `JoinError` if there is none."""
        found = sorted(self.path.rglob("*.parquet")) if self.path.is_dir() else [self.path]
        if not found or not found[0].is_file():
            raise JoinError(f"view {self.name}: no Parquet file at {self.path}")
        return found

    def scan(self) -> pl.LazyFrame:
        """The columns that the join needs: keys, features, `__time` and `__created`, in UTC."""
        lazy = pl.scan_parquet(self.files(), hive_partitioning=False, missing_columns="insert")
        try:
            schema = lazy.collect_schema()
        except (pl.exceptions.PolarsError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise JoinError(f"view {self.name}: {self.path} cannot be read ({reason})") from error
        if self.renames:
            lazy = lazy.rename({a: b for a, b in self.renames.items() if a in schema})
            schema = lazy.collect_schema()
        wanted = [*self.keys, *self.features, self.timestamp]
        wanted += [self.created] if self.created else []
        absent = [c for c in wanted if c not in schema]
        if absent:
            raise JoinError(
                f"view {self.name}: {self.path} has no column {', '.join(absent)}; "
                f"it has {', '.join(schema)}"
            )
        columns = [pl.col(c) for c in dict.fromkeys([*self.keys, *self.features])]
        columns.append(_utc(pl.col(self.timestamp), schema[self.timestamp]).alias(_TIME))
        if self.created:
            columns.append(_utc(pl.col(self.created), schema[self.created]).alias(_CREATED))
        return lazy.select(columns).filter(pl.all_horizontal(pl.col(list(self.keys)).is_not_null()))

    def parts(self, memory_limit_mb: float) -> int:
        """Into how many parts the table must be cut to stay within the limit."""
        try:
            metadata = [pq.read_metadata(f) for f in self.files()]
        except (OSError, ValueError) as error:
            raise JoinError(f"view {self.name}: {self.path} cannot be read ({error})") from error
        rows: int = sum(m.num_rows for m in metadata)
        schema = pl.scan_parquet(self.files()[0], hive_partitioning=False).collect_schema()
        wide = [
            c for c in (*self.keys, *self.features) if not schema.get(c, pl.Int64()).is_numeric()
        ]
        width = 8 * (len(self.keys) + len(self.features) + 3) + _STRING_BYTES * len(wide)
        return max(1, math.ceil(rows * width * _COPIES / (memory_limit_mb * 2**20)))


def point_in_time_join(
    entities: pl.DataFrame,
    timestamp: str,
    tables: Sequence[FeatureTable],
    *,
    known_only: bool = False,
    memory_limit_mb: float = 1024,
) -> pl.DataFrame:
    """Every row of `entities`, in order, with the features of all tables as of its moment.

    A row with a null key, or without any earlier feature row, gets nulls. Of several feature rows
    of one moment the one created last counts.

    Args:
        timestamp: the entity frame's time column; without a zone it is taken as UTC.
        known_only: a feature row counts only if it had been created by the entity row's moment
            (knowledge time), so that late arrivals do not leak into the past.
        memory_limit_mb: for one part of a feature table.

    Raises:
        JoinError: a null or unreadable time, a missing column, a key of another type, a broken
            file, or two features of one name.
    """
    _check(entities, timestamp, tables)
    result = entities
    for table in tables:
        keys = list(dict.fromkeys(table.keys.values()))
        asked = entities.select(
            *keys, _utc(pl.col(timestamp), entities.schema[timestamp]).alias(_TIME)
        ).with_row_index(_ROW)
        found = _join(asked, table, known_only, memory_limit_mb)
        result = result.hstack(found.sort(_ROW).drop(_ROW))
    return result


def _join(
    asked: pl.DataFrame, table: FeatureTable, known_only: bool, memory_limit_mb: float
) -> pl.DataFrame:
    """`__row` and the features of one table, in any order."""
    scanned = table.scan()
    schema = scanned.collect_schema()
    asked = asked.with_columns(
        _as_key(asked, theirs, ours, schema[theirs], table.name)
        for theirs, ours in table.keys.items()
    )
    keys = list(table.keys)
    scanned = scanned.filter(pl.col(_TIME) <= pl.lit(asked[_TIME].max(), TIME))
    parts = table.parts(memory_limit_mb)
    if parts > 1:
        log.info("view %s: joined in %d parts", table.name, parts)
    pieces = []
    for part in range(parts):
        mine = pl.struct(keys).hash() % parts == part if parts > 1 else pl.lit(True)
        try:
            features = scanned.filter(mine).collect(engine="streaming")
        except (pl.exceptions.PolarsError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise JoinError(f"view {table.name}: {table.path} cannot be read ({reason})") from error
        pieces.append(_join_part(asked.filter(mine), features, table, known_only))
    # A null key hashes somewhere too; it just meets nobody there.
    return pl.concat(pieces)


def _join_part(
    asked: pl.DataFrame, features: pl.DataFrame, table: FeatureTable, known_only: bool
) -> pl.DataFrame:
    keys = list(table.keys)
    if known_only and table.created:
        features, moment = _as_known(features, keys), _KNOWN
    else:
        order = [_TIME, _CREATED] if table.created else [_TIME]
        features, moment = features.sort(order, maintain_order=True), _TIME
    right = features.with_columns(pl.col(moment).alias("__on"))
    right = right.with_columns(pl.col(_TIME).alias("__since")).drop(
        _TIME, _CREATED, _KNOWN, strict=False
    )
    joined = asked.sort(_TIME).join_asof(
        right,
        left_on=_TIME,
        right_on="__on",
        by=keys,
        strategy="backward",
        check_sortedness=False,
        allow_parallel=True,
    )
    fresh = pl.lit(True)
    if table.ttl:
        fresh = pl.col("__since") >= pl.col(_TIME) - table.ttl
    return joined.select(
        _ROW,
        *(pl.when(fresh).then(pl.col(c)).alias(name) for c, name in table.features.items()),
    )


def _as_known(features: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Replace each row by the newest one that was known when it arrived.

    A row is usable from `__known`, the later of its own time and its arrival. Walking in that
    order, a late row about an old moment must not hide a newer one: the best so far stays.
    """
    ranked = features.sort([_TIME, _CREATED], maintain_order=True).with_row_index(_RANK)
    best = (
        ranked.select(*keys, _RANK, pl.max_horizontal(_TIME, _CREATED).alias(_KNOWN))
        .sort(_KNOWN, _RANK)
        .select(_KNOWN, pl.col(_RANK).cum_max().over(keys).alias(_RANK))
    )
    return ranked.drop(_RANK)[best[_RANK]].with_columns(best[_KNOWN])


def _check(entities: pl.DataFrame, timestamp: str, tables: Sequence[FeatureTable]) -> None:
    if timestamp not in entities.columns:
        raise JoinError(f"the entity frame has no column {timestamp}; it has {entities.columns}")
    if not isinstance(entities.schema[timestamp], pl.Datetime):
        raise JoinError(
            f"{timestamp} of the entity frame is {entities.schema[timestamp]}; it must be a time"
        )
    nulls = entities[timestamp].is_null()
    if nulls.any():
        where = nulls.arg_true().head(5).to_list()
        raise JoinError(
            f"{timestamp} of the entity frame is null in {nulls.sum()} of {len(entities)} rows "
            f"(rows {where}, …); every row needs a moment to look back from"
        )
    taken = set(entities.columns)
    for table in tables:
        for ours in table.keys.values():
            if ours not in entities.columns:
                raise JoinError(
                    f"view {table.name} needs the key {ours}, which the entity frame lacks; "
                    f"it has {entities.columns}"
                )
        for name in table.features.values():
            if name in taken:
                raise JoinError(
                    f"feature {name} of view {table.name} is there already; ask for full names"
                )
            taken.add(name)


def _as_key(asked: pl.DataFrame, theirs: str, ours: str, dtype: pl.DataType, view: str) -> pl.Expr:
    """The entity's key under the table's name and in its type."""
    given = asked.schema[ours]
    same_kind = (given.is_integer() and dtype.is_integer()) or given == dtype or given == pl.Null
    if not same_kind:
        raise JoinError(
            f"key {ours} of the entity frame is {given}, but {theirs} of view {view} is {dtype}; "
            "give both the same type"
        )
    return pl.col(ours).cast(dtype, strict=False).alias(theirs)


def _utc(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Any time as microseconds in UTC; a time without a zone is one in UTC."""
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is None:
        return column.dt.cast_time_unit("us").dt.replace_time_zone("UTC")
    if isinstance(dtype, pl.Datetime):
        return column.dt.cast_time_unit("us").dt.convert_time_zone("UTC")
    return column.cast(TIME)
