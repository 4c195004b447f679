"""The point-in-time join: for each entity row, the newest feature row that was true by then.

Instead of pairing every entity row with every earlier feature row, the feature table is read once,
in batches that fit the memory limit; see `feature_repo/offline/newest.py`. Times and keys decide
first; the features of the rows that won are read afterwards.

Limits: the entity frame is in memory as a whole, with about 70 bytes more for each of its rows
(140 where no two rows have a key in common).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl

from feature_repo.offline.newest import Integers, Newest
from feature_repo.offline.table import CREATED, MOMENT, TIME, FeatureTable, JoinError, Piece, utc

__all__ = ["TIME", "FeatureTable", "JoinError", "point_in_time_join"]

log = logging.getLogger(__name__)

# What a row of a batch needs while it competes: keys, times, order, places, and copies of them.
_ROW_BYTES = 120
_STRING_BYTES = 64  # what a key of no fixed width is taken to need besides
_MOST_ROWS = 1 << 20  # of a batch: larger ones are not faster


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
    of one moment the one created last counts, and of those the last in the table. A value exactly
    as old as the TTL is still one.

    Args:
        timestamp: the entity frame's time column; without a zone it is taken as UTC.
        known_only: a feature row counts only if it had been created by the entity row's moment
            (knowledge time), so that late arrivals do not leak into the past. In a table without
            creation times, a row counts as known from its own time on.
        memory_limit_mb: for the feature rows that are in memory at a time.

    Raises:
        JoinError: a null or unreadable time, a missing column, a key of another type, a broken
            file, or two features of one name.
    """
    _check(entities, timestamp, tables)
    moments = entities.select(utc(pl.col(timestamp), entities.schema[timestamp]).dt.epoch("us"))
    times = moments.to_series().to_numpy()
    result = entities
    for table in tables:
        result = result.hstack(_join(entities, times, table, known_only, memory_limit_mb))
    return result


def _join(
    entities: pl.DataFrame,
    times: Integers,
    table: FeatureTable,
    known_only: bool,
    memory_limit_mb: float,
) -> pl.DataFrame:
    """The features of one table, for each entity row."""
    schema = table.schema
    keys = entities.select(
        _as_key(entities, theirs, ours, schema[theirs], table.name)
        for theirs, ours in table.keys.items()
    )
    newest = Newest(keys, times, known_only)
    columns = [*table.keys, MOMENT, *([CREATED] if table.created else [])]

    def compete(pieces: list[Piece]) -> None:
        rows = table.read(pieces, columns)
        created = _numbers(rows[CREATED]) if table.created else None
        newest.add(rows.select(list(table.keys)), _numbers(rows[MOMENT]), created, pieces[0].first)

    threads = max(1, min(4, pl.thread_pool_size()))
    size = batch_rows(table, memory_limit_mb / threads)
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(compete, table.pieces(size)):
            pass
        rows, since = newest.rows()
        if table.ttl:
            oldest = times - int(table.ttl.total_seconds() * 1_000_000)
            rows = np.where(since >= oldest, rows, -1)
        return _features(table, rows, size, pool)


def _features(
    table: FeatureTable, rows: Integers, size: int, pool: ThreadPoolExecutor
) -> pl.DataFrame:
    """The features of numbered rows of a table; −1: nulls."""
    names = list(dict.fromkeys(table.features))
    order = pl.Series(rows).arg_sort().cast(pl.Int64).to_numpy()
    wanted = rows[order]
    nobody = int(np.searchsorted(wanted, 0))

    def of(pieces: list[Piece]) -> list[pl.DataFrame]:
        parts = []
        for piece in pieces:
            start, end = np.searchsorted(wanted, [piece.first, piece.first + piece.rows])
            if end > start:
                places = pl.Series(wanted[start:end] - piece.first, dtype=pl.UInt32)
                parts.append(table.read([piece], names).select(pl.all().gather(places)))
        return parts

    found = [pl.DataFrame(schema={n: table.schema[n] for n in names})]
    for parts in pool.map(of, table.pieces(size)):
        found += parts
    place = np.empty(len(rows), np.int64)
    place[order] = np.arange(-nobody, len(rows) - nobody)
    where = pl.Series(place).to_frame("at")
    where = where.select(pl.when(pl.col("at") >= 0).then(pl.col("at")))
    features = pl.concat(found).select(pl.col(c).alias(name) for c, name in table.features.items())
    return features.select(pl.all().gather(where.to_series()))


def batch_rows(table: FeatureTable, memory_limit_mb: float) -> int:
    """How many feature rows may be in memory at a time."""
    texts = sum(not table.schema[c].is_numeric() for c in table.keys)
    width = _ROW_BYTES + 8 * len(table.features) + texts * _STRING_BYTES
    return int(max(1, min(_MOST_ROWS, memory_limit_mb * 2**20 / width)))


def _numbers(column: pl.Series) -> Integers:
    """Times as integers; null: before everything."""
    earliest = np.iinfo(np.int64).min
    return (column.fill_null(earliest) if column.null_count() else column).to_numpy()


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
