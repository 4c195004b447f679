"""What a model reads of users, for the rows of a log.

A log that keeps features as served tells what was known at that very moment. What it does not tell
comes from a table of users, as it is now.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Any

from models.recommender.attributes import AttributeTable
from models.recommender.interactions import DataError
from models.recommender.policy.log import Log
from models.recommender.ranking.fields import Field

logger = logging.getLogger(__name__)  # `log` is what is judged

Known = dict[str, Any]  # field → raw value; a field that is missing is not known


def known_users(
    log: Log, fields: Sequence[Field], features: str | None, table: AttributeTable | None
) -> list[Known]:
    """Of each row, the values of `fields`; says which of them no row has.

    Args:
        features: the log's column of features as served, JSON of "view:feature" → value, where a
            null is what the model was told; None, or a column that the log lacks: none were kept.
        table: its columns are named as the fields are.

    Raises:
        DataError: features that are no JSON object, or a table without the log's users.
    """
    if not fields:
        return [{} for _ in range(len(log))]
    by_user = _listed(log, table) if table is not None else {}
    users = log.frame["user_id"].to_list() if by_user else [None] * len(log)
    if features is not None and features in log.frame.columns:
        served = [_parsed(text, features) for text in log.frame[features].to_list()]
    else:
        served = [{}] * len(log)
    rows = []
    for user, told in zip(users, served, strict=True):
        row = {f.name: by_user.get(user, {}).get(f.name) for f in fields}
        row |= {f.name: told[f.feature] for f in fields if f.feature in told}
        rows.append({f.name: _of_kind(f, row[f.name]) for f in fields if row[f.name] is not None})
    unknown = [f.name for f in fields if not any(f.name in row for row in rows)]
    if unknown:
        logger.warning(
            "of no user is %s known, which the model reads: neither the log's features nor a table "
            "of users (user_attributes@policy.users=…) tells; all count as unknown",
            ", ".join(unknown),
        )
    return rows


def _listed(log: Log, table: AttributeTable) -> dict[str, Known]:
    """The table's rows of the log's users, by id; who asked without a name is not looked up."""
    named = log.frame.filter(log.frame["user_id"] != log.frame["request_id"])
    ids = named["user_id"].unique(maintain_order=True)
    if ids.is_empty():
        return {}
    return dict(zip(ids.to_list(), table.values(ids).to_dicts(), strict=True))


def _parsed(text: Any, column: str) -> Known:
    if text is None:
        return {}
    try:
        served = json.loads(text)
    except (TypeError, ValueError):
        served = None
    if not isinstance(served, dict):
        raise DataError(
            f'column {column!r} holds {str(text)[:80]!r}; JSON of "view:feature" → value is '
            "needed, or policy.features=null"
        )
    return served


def _of_kind(field: Field, value: Any) -> Any:
    """A table of some users may have one value each where that of the training had several."""
    return [value] if field.kind == "multi_hot" and not isinstance(value, list) else value
