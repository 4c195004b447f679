"""The feature client against real stores."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from feast.types import Array, Float64, Int64, String

from feature_repo.store import StoreError
from serving.features.client import FeatureClient
from serving.features.errors import KeyColumnError, UnknownNameError
from tests.serving.features.redis_server import RedisServer
from tests.serving.features.stores import (
    ITEM,
    USER,
    client_of,
    make_store,
    online,
    view,
    write,
)  # fmt: skip

NOW = datetime.now(UTC).replace(microsecond=123_457)


@pytest.fixture(scope="module", params=["redis", "sqlite", "sdk"])
def folder(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, redis: RedisServer
) -> Path:
    """Users with two views, one with a TTL of an hour; items by number."""
    made = tmp_path_factory.mktemp("store")
    hourly = view("hourly", USER, {"n": Int64, "m": Int64}, ttl=timedelta(hours=1))
    steady = view("steady", USER, {"price": Float64, "tags": Array(String)})
    things = view("things", ITEM, {"title": String})
    store = make_store(made, online(request.param, redis.address), hourly, steady, things)
    ages = {"new": 0, "edge": 40, "old": 61}
    moments = {user: NOW - timedelta(minutes=age) for user, age in ages.items()}
    write(store, "hourly", [{"user_id": u, "n": 1, "m": 2, "ts": t} for u, t in moments.items()])
    write(
        store,
        "steady",
        [{"user_id": u, "price": 0.5, "tags": ["a", u], "ts": t} for u, t in moments.items()]
        + [{"user_id": "half", "price": None, "tags": [], "ts": NOW}],
    )
    write(store, "things", [{"item_id": n, "title": f"thing {n}", "ts": NOW} for n in (-1, 7)])
    return made


@pytest.fixture
async def client(folder: Path) -> Any:
    made = client_of(folder)
    await made.open()
    yield made
    await made.close()


async def test_statuses_say_why_a_value_is_null(client: FeatureClient) -> None:
    users = ["old", "new", "nobody", "edge", "old", "half"]
    found = await client.read(["hourly:n", "steady:price", "hourly:m"], {"user_id": users})
    assert found.names == ["hourly:n", "steady:price", "hourly:m"]
    assert found.values[0] == [None, 1, None, 1, None, None]
    assert found.values[1] == [0.5, 0.5, None, 0.5, 0.5, None], "no TTL: values do not age"
    old, here, absent = "OUTSIDE_MAX_AGE", "PRESENT", "NOT_FOUND"
    assert found.statuses[0] == [old, here, absent, here, old, absent]
    assert found.statuses[1] == [here, here, absent, here, here, "NULL_VALUE"]
    assert found.statuses[2] == found.statuses[0]
    assert found.row(0) == {"hourly:n": None, "steady:price": 0.5, "hourly:m": None}


async def test_moments_are_exact(client: FeatureClient, folder: Path) -> None:
    found = await client.read(["steady:price"], {"user_id": ["new", "nobody"]})
    exact = "type: sqlite\n" not in (folder / "feature_store.yaml").read_text()
    wanted = NOW if exact else NOW.replace(microsecond=0)  # Feast's own SQLite store cuts
    assert found.event_timestamps == [[wanted, None]]
    assert found.newest(0) == wanted
    assert found.newest(1) is None


async def test_several_entities_at_once(client: FeatureClient) -> None:
    names = ["things:title", "steady:tags"]
    keys: dict[str, list[Any]] = {"user_id": ["new", "edge", "new"], "item_id": [7, -1, 0]}
    found = await client.read(names, keys)
    assert found.values == [
        ["thing 7", "thing -1", None],
        [["a", "new"], ["a", "edge"], ["a", "new"]],
    ]


async def test_no_rows_give_empty_columns(client: FeatureClient) -> None:
    found = await client.read(["hourly:n", "hourly:m"], {"user_id": []})
    assert found.values == [[], []]
    assert found.statuses == [[], []]


async def test_odd_keys_are_found_or_not_but_never_mixed_up(client: FeatureClient) -> None:
    users = ["", "new ", "NEW", "new\x00", "*", "日本", "new"]
    found = await client.read(["hourly:n"], {"user_id": users})
    assert found.statuses[0] == ["NOT_FOUND"] * 6 + ["PRESENT"]


@pytest.mark.parametrize(
    ("names", "keys", "message"),
    [
        (["hourli:n"], {"user_id": ["u"]}, r"no view 'hourli'; nearest: hourly"),
        (["hourly:nn"], {"user_id": ["u"]}, r"no feature of hourly 'nn'; nearest: n"),
        (["hourly"], {"user_id": ["u"]}, r"'hourly' is not named as view:feature"),
        ([], {"user_id": ["u"]}, r"no features are asked for"),
        (["hourly:n"], {"item_id": [7]}, r"'hourly' needs the key column 'user_id'.*item_id"),
        (["hourly:n"], {"user_id": ["u", 7]}, r"user_id\[1\] is 7, a int; user_id takes str"),
        (["things:title"], {"item_id": ["7"]}, r"item_id\[0\] is '7', a str; item_id takes int"),
        (["things:title"], {"item_id": [True]}, r"item_id\[0\] is True, a bool"),
        (
            ["hourly:n", "things:title"],
            {"user_id": ["u"], "item_id": [7, 8]},
            r"different lengths: \{'user_id': 1, 'item_id': 2\}",
        ),
    ],
)
async def test_wrong_questions_are_named(
    client: FeatureClient, names: list[str], keys: dict[str, list[Any]], message: str
) -> None:
    with pytest.raises(StoreError, match=message):
        await client.read(names, keys)


async def test_error_kinds_tell_unknown_from_wrong(client: FeatureClient) -> None:
    with pytest.raises(UnknownNameError) as unknown:
        client.service("recommender")
    assert (unknown.value.kind, unknown.value.exit_code) == ("feature service", 66)
    with pytest.raises(KeyColumnError) as wrong:
        await client.read(["hourly:n"], {})
    assert wrong.value.exit_code == 65


async def test_a_service_is_read_by_name(features: Path) -> None:
    client = client_of(features)
    await client.open()
    with pytest.raises(UnknownNameError, match=r"service 'recomender_v1'; nearest: recommender_v1"):
        client.service("recomender_v1")
    names = client.service("recommender_v1")
    assert names == ["user_history:item_ids", "user_history:length"]
    found = await client.read(names, {"user_id": ["u3", "nobody", "u0", "u3"]})
    await client.close()
    assert found.values[0] == [["i03", "i04"], None, ["i00", "i01"], ["i03", "i04"]]
    assert found.statuses[0] == ["PRESENT", "NOT_FOUND", "PRESENT", "PRESENT"]


def test_the_client_never_loads_torch() -> None:
    code = (
        "import sys, serving.features.client, serving.features.wire;"
        "assert 'feast' in sys.modules; assert 'torch' not in sys.modules, 'torch was imported'"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
