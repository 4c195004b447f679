"""The first day that retention has left of each view: nothing before it is computed again."""

from __future__ import annotations

from datetime import UTC, date, datetime

import sqlalchemy as sa

from feature_repo.metadata import METADATA

horizons = sa.Table(
    "retention_horizons",
    METADATA,
    sa.Column("view", sa.String(255), primary_key=True),
    sa.Column("first_day", sa.Date, nullable=False),
    sa.Column("set_at", sa.DateTime(timezone=True), nullable=False),
)


def horizon_of(metadata: sa.Engine, view: str) -> date | None:
    """The view's first day that is kept; None: retention has never deleted any."""
    query = sa.select(horizons.c.first_day).where(horizons.c.view == view)
    with metadata.connect() as connection:
        found: date | None = connection.execute(query).scalar()
    return found


def set_horizon(metadata: sa.Engine, view: str, first_day: date) -> None:
    """Move the view's horizon; it never moves back, for what was deleted stays deleted."""
    known = horizon_of(metadata, view)
    if known is not None and known >= first_day:
        return
    row = {"view": view, "first_day": first_day, "set_at": datetime.now(UTC)}
    with metadata.begin() as connection:
        connection.execute(horizons.delete().where(horizons.c.view == view))
        connection.execute(horizons.insert(), [row])
