"""The online store as governance uses it: values of single keys can be taken out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from feature_repo.governance.errors import GovernanceError


def online_store(store: Any) -> Any:
    """The store's online store.

    Raises:
        GovernanceError: it has no way to remove a key.
    """
    found = store._get_provider().online_store
    if not hasattr(found, "forget"):
        raise GovernanceError(
            f"online store {type(found).__name__} cannot remove single keys; those of "
            "feature_repo/online/stores.py can (features/online_store=sqlite or redis), another "
            "needs a `forget` as in feature_repo/online/forgetting.py"
        )
    return found


def entity_keys(key: str, entity: Any, values: Sequence[str]) -> list[Any]:
    """Feast's keys of an entity's values."""
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.type_map import python_values_to_proto_values

    protos = python_values_to_proto_values(list(values), entity.value_type)
    return [EntityKey(join_keys=[key], entity_values=[value]) for value in protos]
