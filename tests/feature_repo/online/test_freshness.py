"""Values that outlived their view's TTL are not served, whichever store and path reads them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.types import Float64, Int64

from feature_repo.store import create_store
from tests.feature_repo.stores import REGISTRY

FEATURES = ["hourly:n", "hourly:m", "forever:price", "totals:total"]


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path, redis_server: str) -> Any:
    user = Entity(name="user", join_keys=["user"], value_type=ValueType.STRING)
    source = FileSource(name="table", path=str(tmp_path / "t.parquet"), timestamp_field="ts")
    hourly = FeatureView(
        name="hourly", entities=[user], ttl=timedelta(hours=1), source=source,
        schema=[Field(name="n", dtype=Int64), Field(name="m", dtype=Int64)],
    )  # fmt: skip
    forever = FeatureView(
        name="forever", entities=[user], ttl=timedelta(0), source=source,
        schema=[Field(name="price", dtype=Float64)],
    )  # fmt: skip

    @on_demand_feature_view(sources=[hourly], schema=[Field(name="total", dtype=Float64)])
    def totals(inputs: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"total": inputs["n"].astype("float64").fillna(-1.0) * 2})

    online = {
        "sqlite": {"type": "feature_repo.online.stores.SqliteOnlineStore", "path": "online.db"},
        "redis": {
            "type": "feature_repo.online.stores.RedisOnlineStore",
            "connection_string": redis_server,
        },
    }[str(request.param)]
    made = create_store(tmp_path / "store", online, {"type": "duckdb"}, REGISTRY)
    made.apply([user, hourly, forever, totals])
    now = datetime.now(UTC)
    frame = pd.DataFrame(
        {
            "user": ["new", "old", "edge"],
            "n": [1, 2, 3],
            "m": [4, 5, 6],
            "price": [1.5, 2.5, 3.5],
            "ts": [now, now - timedelta(hours=2), now - timedelta(minutes=59)],
        }
    )
    for view in ("hourly", "forever"):
        made.write_to_online_store(view, frame)
    return made


def rows(users: list[str]) -> list[dict[str, str]]:
    return [{"user": user} for user in users]


def check(response: Any) -> None:
    found = response.to_dict()
    assert found["user"] == ["old", "new", "nobody", "edge", "old"]
    assert found["n"] == [None, 1, None, 3, None]
    assert found["m"] == [None, 4, None, 6, None]
    assert found["price"] == [2.5, 1.5, None, 3.5, 2.5], "a view without TTL never ages"
    assert found["total"] == [-2.0, 2.0, -2.0, 6.0, -2.0], "on-demand views see no stale value"
    names = list(response.proto.metadata.feature_names.val)
    statuses = list(response.proto.results[names.index("n")].statuses)
    old, here, absent = FieldStatus.OUTSIDE_MAX_AGE, FieldStatus.PRESENT, FieldStatus.NOT_FOUND
    assert statuses == [old, here, absent, here, old]
    statuses = list(response.proto.results[names.index("price")].statuses)
    assert statuses == [here, here, absent, here, here]


def test_stale_values_are_null_and_say_why(store: Any) -> None:
    users = ["old", "new", "nobody", "edge", "old"]
    check(store.get_online_features(FEATURES, rows(users)))


async def test_async_reads_keep_the_promise_too(store: Any) -> None:
    if not store._get_provider().async_supported.online.read:
        pytest.skip("Feast reads SQLite synchronously only")
    users = ["old", "new", "nobody", "edge", "old"]
    check(await store.get_online_features_async(FEATURES, rows(users)))
