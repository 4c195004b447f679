"""Feast's stored values from their bytes, a column at a time.

Feast stores each value as a protobuf message `Value`: one field, whose number says the type. A
column of doubles is one call of `struct`; small integers come from a table; what is rare goes
through protobuf and Feast's own conversion. Every decoder checks the field numbers that it relies
on, so values written under another type come out as Feast would give them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import numpy as np

from feature_repo.store import feast
from serving.features.vectors import MISSING, Block

feast()
from feast.protos.feast.types.Value_pb2 import Value  # noqa: E402
from feast.type_map import feast_value_type_to_python_type as as_python  # noqa: E402
from google.protobuf.timestamp_pb2 import Timestamp  # type: ignore[import-untyped]  # noqa: E402

Raw = Sequence[bytes | None]  # None: never written; empty: null
Column = tuple[list[Any], bool]  # values, and whether none of them is None or MISSING
Decoder = Callable[[Raw], Column]

_STRING_TAG, _SHORT = 0x12, 128  # a length below 128 takes one byte
_LONGEST = 11  # bytes of an encoded integer: a tag and ten times seven bits
_FEW = 8  # rows below which numpy does not pay
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def one_value(raw: bytes | None) -> Any:
    """Any value, the way Feast's SDK gives it."""
    if raw is None:
        return MISSING
    return as_python(Value.FromString(raw)) if raw else None


def any_type(raw: Raw) -> Column:
    """A column of any type."""
    column = [one_value(r) for r in raw]
    return column, not any(v is None or v is MISSING for v in column)


def lists(field: str) -> Decoder:
    """A column of lists whose items need no conversion."""
    parse = Value.FromString

    def decode(raw: Raw) -> Column:
        if not all(raw):
            return any_type(raw)
        parsed = [parse(r) for r in raw]
        if any(not v.HasField(field) for v in parsed):
            return any_type(raw)
        return [list(getattr(v, field).val) for v in parsed], True

    return decode


def fixed(tag: int, kind: str) -> Decoder:
    """A column of numbers of fixed size: one tag byte, then the number."""
    size = 1 + struct.calcsize(kind)
    tag_byte = bytes([tag])
    one = struct.Struct(f"<x{kind}").unpack

    @lru_cache(maxsize=64)
    def layout(rows: int) -> struct.Struct:
        return struct.Struct("<" + f"x{kind}" * rows)

    def decode(raw: Raw) -> Column:
        rows = len(raw)
        if rows == 1:
            (only,) = raw
            if only and len(only) == size and only[0] == tag:
                return list(one(only)), True
        if not all(raw):
            return any_type(raw)
        together = b"".join(raw)  # type: ignore[arg-type]
        if len(together) != rows * size or together[::size] != tag_byte * rows:
            return any_type(raw)
        if any(len(r) != size for r in raw):  # type: ignore[arg-type]
            return any_type(raw)
        return list(layout(rows).unpack(together)), True

    return decode


class _Known(dict[bytes, Any]):
    """Bytes → value; those seen lately are kept, for counts and flags come again and again.

    Args:
        field: of `Value`, which such values are written in.
        size: values kept.
    """

    def __init__(self, field: str, size: int = 16_384) -> None:
        super().__init__()
        self.field = field
        self.size = size

    def __missing__(self, raw: bytes | None) -> Any:
        if not raw:
            return one_value(raw)
        parsed = Value.FromString(raw)
        value = getattr(parsed, self.field) if parsed.HasField(self.field) else one_value(raw)
        if len(self) >= self.size:
            self.clear()
        self[raw] = value
        return value


def booleans(field: str) -> Decoder:
    """A column of values of which there are few."""
    known = _Known(field).__getitem__

    def decode(raw: Raw) -> Column:
        return list(map(known, raw)), all(raw)  # type: ignore[arg-type]

    return decode


def integers(tag: int, field: str) -> Decoder:
    """A column of integers: one tag byte, then seven bits a byte, the lowest first."""
    one_by_one = booleans(field)
    shifts = np.arange(0, 70, 7, dtype=np.uint64)

    def decode(raw: Raw) -> Column:
        if len(raw) < _FEW or not all(raw):
            return one_by_one(raw)
        rows = len(raw)
        padded = np.frombuffer(
            b"".join([r.ljust(_LONGEST, b"\0") for r in raw]),  # type: ignore[union-attr]
            np.uint8,
        )
        if len(padded) != rows * _LONGEST:
            return one_by_one(raw)
        table = padded.reshape(rows, _LONGEST)
        lengths = np.fromiter(map(len, raw), np.intp, rows)  # type: ignore[arg-type]
        payload = table[:, 1:]
        # all bytes but the last have the highest bit, and nothing follows
        more = (payload >= 128).sum(1)
        if (table[:, 0] != tag).any() or (more != lengths - 2).any():
            return one_by_one(raw)
        if (table[np.arange(rows), lengths - 1] >= 128).any():
            return one_by_one(raw)
        bits = (payload & 127).astype(np.uint64) << shifts
        return bits.sum(1, dtype=np.uint64).view(np.int64).tolist(), True

    return decode


def strings(raw: Raw) -> Column:
    """A column of strings."""
    return [
        r[2:].decode()
        if r and r[0] == _STRING_TAG and len(r) < _SHORT and len(r) == r[1] + 2
        else one_value(r)
        for r in raw
    ], all(raw)


_DECODERS: dict[str, Decoder] = {
    "Float64": fixed(0x29, "d"),
    "Float32": fixed(0x35, "f"),
    "Int64": integers(0x20, "int64_val"),
    "Int32": integers(0x18, "int32_val"),
    "Bool": booleans("bool_val"),
    "String": strings,
    "Array(String)": lists("string_list_val"),
    "Array(Bytes)": lists("bytes_list_val"),
    "Array(Int64)": lists("int64_list_val"),
    "Array(Int32)": lists("int32_list_val"),
    "Array(Float64)": lists("double_list_val"),
    "Array(Float32)": lists("float_list_val"),
    "Array(Bool)": lists("bool_list_val"),
}


def decoder(feast_type: str) -> Decoder:
    """What decodes a column of a Feast type, such as `Float64` or `Array(String)`."""
    return _DECODERS.get(feast_type, any_type)


def decode_block(
    times: list[datetime | None], decoders: Sequence[Decoder], raw: Sequence[Raw]
) -> Block:
    """A view's rows from its columns of bytes."""
    columns, whole = [], []
    for decode, column in zip(decoders, raw, strict=True):
        values, complete = decode(column)
        columns.append(values)
        whole.append(complete)
    return Block(times, columns, whole)


class Moments(dict[bytes, "datetime | None"]):
    """A row's stored moment → datetime, to the microsecond; moments seen lately are kept.

    Args:
        size: moments kept.
    """

    def __init__(self, size: int = 4096) -> None:
        super().__init__()
        self.size = size

    def __missing__(self, raw: bytes | None) -> datetime | None:
        if not raw:  # no row
            return None
        stamp = Timestamp.FromString(raw)
        moment = _EPOCH + timedelta(seconds=stamp.seconds, microseconds=stamp.nanos // 1000)
        if len(self) >= self.size:
            self.clear()
        self[raw] = moment
        return moment
