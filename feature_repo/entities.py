"""Whom features describe."""

from __future__ import annotations

from feature_repo.store import feast

_feast = feast()

user = _feast.Entity(
    name="user",
    join_keys=["user_id"],
    value_type=_feast.ValueType.STRING,
    description="Somebody who uses the shop, by the id that events carry.",
)
item = _feast.Entity(
    name="item",
    join_keys=["item_id"],
    value_type=_feast.ValueType.STRING,
    description="Something of the catalog.",
)
source = _feast.Entity(
    name="source",
    join_keys=["source"],
    value_type=_feast.ValueType.STRING,
    description="A machine or service that sends telemetry.",
)

ENTITIES = (user, item, source)
