"""What users have said of themselves."""

from __future__ import annotations

import ibis
from ibis.expr.types import Table, Value

from feature_repo.dates import Dates


def user_profile(users: Table, dates: Dates) -> Table:
    """Warehouse users → user_id, age, gender, region since they exist; null where it lacks one."""

    def column(name: str, kind: str) -> Value:
        return users[name].cast(kind) if name in users.columns else ibis.null(kind)

    return users.select(
        "user_id",
        age=column("age", "int64"),
        gender=column("gender", "string"),
        region=column("region", "string"),
        event_timestamp=users.created_at,
        day=users.created_at.date(),
    )
