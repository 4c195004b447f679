"""Every type comes back as the SDK gives it, from every kind of store."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from feast import types
from feast.protos.feast.types.Value_pb2 import Value
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.features.wire import decoder
from tests.serving.features.redis_server import RedisServer
from tests.serving.features.stores import USER, client_of, make_store, online, view, write

PRIMITIVES: dict[str, Any] = {
    "Int32": types.Int32, "Int64": types.Int64, "Float32": types.Float32, "Float64": types.Float64,
    "Bool": types.Bool, "String": types.String, "Bytes": types.Bytes,
    "UnixTimestamp": types.UnixTimestamp,
}  # fmt: skip
SCHEMA = {k.lower(): v for k, v in PRIMITIVES.items()} | {
    f"{k.lower()}_list": types.Array(v) for k, v in PRIMITIVES.items()
}
MOMENTS = [datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), datetime(1999, 12, 31, tzinfo=UTC)]
VALUES: dict[str, list[Any]] = {  # edges of each type; the last row is null
    "int32": [-(2**31), 2**31 - 1, 0, 127, 128, -1],
    "int64": [-(2**63), 2**63 - 1, 0, 16_383, 16_384, -1],
    "float32": [np.float32(0.1), np.float32(-0.0), np.float32(3e38), np.float32(1e-45), 1.5, 0.0],
    "float64": [0.1, -0.0, 1.7e308, 5e-324, math.inf, 1 / 3],
    "bool": [True, False, True, False, True, False],
    "string": ["", "a", "ü" * 63, "x" * 127, "x" * 128, "日本\x00語" * 100],
    "bytes": [b"", b"\x00", b"\xff" * 127, b"\x80" * 128, b"*", b"\r\n"],
    "unixtimestamp": MOMENTS * 3,
}
ROWS = len(VALUES["int32"])


@pytest.fixture(scope="module", params=["redis", "sqlite", "sdk"])
def stored(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, redis: RedisServer
) -> tuple[Any, Path]:
    folder = tmp_path_factory.mktemp("types")
    whole = {**SCHEMA, "kept": types.Int64}
    store = make_store(folder, online(request.param, redis.address), view("all", USER, whole))
    now = datetime.now(UTC)
    rows = [
        {"user_id": f"u{n}", "ts": now, "kept": 1}
        | {name: column[n] for name, column in VALUES.items()}
        | {f"{name}_list": column[: n + 1] for name, column in VALUES.items()}
        for n in range(ROWS)
    ]
    write(store, "all", rows)
    null: dict[str, Any] = {"user_id": "null", "ts": now, "kept": 1} | dict.fromkeys(SCHEMA)
    write(store, "all", [null])  # Feast writes no row that is null all over
    return store, folder


async def test_every_type_equals_the_sdks_answer(stored: tuple[Any, Path]) -> None:
    store, folder = stored
    names = [f"all:{n}" for n in SCHEMA]
    users = [*(f"u{n}" for n in range(ROWS)), "null", "nobody"]
    expected = store.get_online_features(names, {"user_id": users}).to_dict()
    client = client_of(folder)
    await client.open()
    for asked in (users, ["u3"], ["u5", "u5", "u1"]):
        found = await client.read(names, {"user_id": asked})
        for name, values, statuses in zip(found.names, found.values, found.statuses, strict=True):
            wanted = [expected[name.removeprefix("all:")][users.index(u)] for u in asked]
            assert values == wanted, name
            assert [type(v) for v in values] == [type(v) for v in wanted], name
            for user, value, status in zip(asked, values, statuses, strict=True):
                here = "NULL_VALUE" if value is None else "PRESENT"
                assert status == ("NOT_FOUND" if user == "nobody" else here), (name, user)
    signs = await client.read(["all:float64", "all:float32"], {"user_id": ["u1"]})
    assert [math.copysign(1, v[0]) for v in signs.values] == [-1.0, -1.0], "−0.0 keeps its sign"
    await client.close()


def column(field: str, items: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[str, list[Any]]]:
    return st.tuples(st.just(field), st.lists(st.none() | items, max_size=24))


def listed(field: str, items: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[str, list[Any]]]:
    return column(field, st.lists(items, max_size=5))


int32 = st.integers(-(2**31), 2**31 - 1)
int64 = st.integers(-(2**63), 2**63 - 1)
floats = st.floats(width=32, allow_nan=False)
doubles = st.floats(allow_nan=False)
TYPES: dict[str, st.SearchStrategy[tuple[str, list[Any]]]] = {
    "Int32": column("int32_val", int32),
    "Int64": column("int64_val", int64),
    "Float32": column("float_val", floats),
    "Float64": column("double_val", doubles),
    "Bool": column("bool_val", st.booleans()),
    "String": column("string_val", st.text(max_size=200)),
    "Bytes": column("bytes_val", st.binary(max_size=200)),
    "Array(Int32)": listed("int32_list_val", int32),
    "Array(Int64)": listed("int64_list_val", int64),
    "Array(Float32)": listed("float_list_val", floats),
    "Array(Float64)": listed("double_list_val", doubles),
    "Array(Bool)": listed("bool_list_val", st.booleans()),
    "Array(String)": listed("string_list_val", st.text(max_size=50)),
    "Array(Bytes)": listed("bytes_list_val", st.binary(max_size=50)),
}


def encode(field: str, value: Any) -> bytes:
    message = Value()
    if isinstance(value, list):
        getattr(message, field).val.extend(value)
        getattr(message, field).SetInParent()
    elif value is not None:
        setattr(message, field, value)
    written: bytes = message.SerializeToString()
    return written


@pytest.mark.parametrize("kind", TYPES)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_column_decodes_to_what_was_encoded(kind: str, data: st.DataObject) -> None:
    field, values = data.draw(TYPES[kind])
    decode: Callable[[Any], Any] = decoder(kind)
    found, whole = decode([encode(field, v) for v in values])
    assert found == values
    assert whole == (None not in values)


@pytest.mark.parametrize("kind", TYPES)
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_values_written_under_another_type_come_out_as_they_are(
    kind: str, data: st.DataObject
) -> None:
    field, values = data.draw(st.sampled_from(sorted(TYPES)).flatmap(lambda name: TYPES[name]))
    found, _ = decoder(kind)([encode(field, v) for v in values])
    assert found == values
