"""A hash of what rows say, not of how a file says it.

Two frames have one hash when they have the same columns, in one order and of the same types, with
the same values in the same rows. Compression, row groups, dictionary encoding and whatever bytes
lie under a null do not count. SHA-256 over little-endian values.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import polars as pl


def content_hash(frame: pl.DataFrame) -> tuple[str, list[dict[str, str]]]:
    """The hash of a frame, and name, type and hash of each of its columns."""
    columns = [
        {"name": s.name, "type": type_name(s.dtype), "sha256": column_hash(s)} for s in frame
    ]
    whole = json.dumps([len(frame), columns], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(whole.encode()).hexdigest(), columns


def column_hash(series: pl.Series) -> str:
    """The hash of one column's values; its name does not count."""
    digest = hashlib.sha256()
    _feed(digest, series)
    return digest.hexdigest()


def type_name(dtype: pl.DataType) -> str:
    """A type in words of our own, so that another release of Polars gives the same hash."""
    if isinstance(dtype, pl.List):
        return f"list<{type_name(_inner(dtype))}>"
    if isinstance(dtype, pl.Datetime):
        return f"datetime<{dtype.time_unit},{dtype.time_zone or ''}>"
    if isinstance(dtype, pl.Duration):
        return f"duration<{dtype.time_unit}>"
    if isinstance(dtype, pl.Struct):
        return f"struct<{','.join(f'{f.name}:{type_name(f.dtype)}' for f in dtype.fields)}>"  # type: ignore[arg-type]
    return type(dtype).__name__.lower()


def _inner(dtype: pl.List) -> Any:
    return dtype.inner


def _feed(digest: Any, series: pl.Series) -> None:
    """Type, length, which values there are, and the values."""
    digest.update(f"{type_name(series.dtype)}:{len(series)};".encode())
    digest.update(np.packbits(series.is_not_null().to_numpy()).tobytes())
    dtype = series.dtype
    if dtype == pl.Null:
        return
    if isinstance(dtype, pl.List):
        lengths = series.list.len()
        _numbers(digest, lengths.fill_null(0).cast(pl.Int64))
        _feed(digest, series.filter((lengths > 0).fill_null(False)).explode())
    elif isinstance(dtype, pl.Struct):
        for name in series.struct.fields:
            _feed(digest, series.struct.field(name))
    elif isinstance(dtype, (pl.String, pl.Categorical, pl.Enum)):
        text = series.drop_nulls().cast(pl.String)
        _numbers(digest, text.str.len_bytes().cast(pl.Int64))
        digest.update("".join(text.to_list()).encode())
    elif isinstance(dtype, pl.Binary):
        values = series.drop_nulls()
        _numbers(digest, values.bin.size().cast(pl.Int64))
        digest.update(b"".join(values.to_list()))
    elif isinstance(dtype, pl.Boolean):
        _numbers(digest, series.fill_null(False).cast(pl.Int8))
    else:
        _numbers(digest, series.to_physical().fill_null(0))


def _numbers(digest: Any, series: pl.Series) -> None:
    values = series.to_numpy()
    if values.dtype.kind == "f":
        values = np.where(np.isnan(values), np.nan, values).astype(values.dtype)  # one NaN
    if values.dtype.kind not in "biuf":
        raise TypeError(f"column {series.name}: {series.dtype} cannot be hashed")
    digest.update(values.astype(values.dtype.newbyteorder("<")).tobytes())
