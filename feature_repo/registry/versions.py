"""The history of definitions: one row for every revision that was ever applied.

A row is written before Feast is changed (state `pending`) and marked `applied` afterwards. What a
process that died in between has left is settled by the next apply; see `apply.py`.

This module imports neither Feast nor code of views, so that servers can read what is applied.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from feature_repo.metadata import METADATA

PENDING, APPLIED, ABANDONED = "pending", "applied", "abandoned"
ADDED, CHANGED, RESTORED, REMOVED = "added", "changed", "restored", "removed"

feature_revisions = sa.Table(
    "feature_revisions",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("full_name", sa.String(255), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("digest", sa.String(16), nullable=False),
    sa.Column("schema_hash", sa.String(16), nullable=False),
    sa.Column("definition", sa.Text, nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("action", sa.String(16), nullable=False),
    sa.Column("changes", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("changed_by", sa.String(255), nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.UniqueConstraint("full_name", "revision"),
)


@dataclass(frozen=True)
class Revision:
    """One definition as it was applied once.

    Args:
        action: added, changed, restored or removed.
        changes: what differs from the revision before, in words.
        state: pending, applied, or abandoned (written down, but it never took effect).
    """

    kind: str
    name: str
    full_name: str
    version: int
    revision: int
    digest: str
    schema_hash: str
    definition: dict[str, Any] = field(repr=False)
    code: str = field(repr=False)
    action: str
    changes: tuple[str, ...]
    state: str
    created_at: datetime
    changed_by: str
    why: str

    @property
    def code_hash(self) -> str | None:
        """None for a service, which has no code."""
        code: str | None = self.definition.get("code_hash")
        return code


def revisions(connection: sa.Connection, full_name: str | None = None) -> list[Revision]:
    """Every revision, oldest first; of one name or of all."""
    query = sa.select(feature_revisions).order_by(feature_revisions.c.id)
    if full_name is not None:
        query = query.where(feature_revisions.c.full_name == full_name)
    return [_revision(row) for row in connection.execute(query)]


def current(connection: sa.Connection, *, removed: bool = False) -> dict[str, Revision]:
    """Each name's last applied revision; what has been removed only if asked for."""
    newest = {r.full_name: r for r in revisions(connection) if r.state == APPLIED}
    return {n: r for n, r in newest.items() if removed or r.action != REMOVED}


def insert(connection: sa.Connection, rows: Sequence[Revision]) -> None:
    """Write revisions down."""
    if rows:
        connection.execute(feature_revisions.insert(), [_values(r) for r in rows])


def settle(connection: sa.Connection, rows: Sequence[Revision], state: str) -> None:
    """Give pending revisions their final state."""
    for row in rows:
        connection.execute(
            feature_revisions.update()
            .where(
                feature_revisions.c.full_name == row.full_name,
                feature_revisions.c.revision == row.revision,
            )
            .values(state=state)
        )


def _values(revision: Revision) -> dict[str, Any]:
    names = [c.name for c in feature_revisions.columns if c.name != "id"]
    return {n: getattr(revision, n) for n in names} | {
        "definition": json.dumps(revision.definition, sort_keys=True),
        "changes": json.dumps(revision.changes),
    }


def _revision(row: Any) -> Revision:
    fields = dict(row._mapping)
    del fields["id"]
    moment: datetime = fields["created_at"]
    return Revision(
        **fields
        | {
            "definition": json.loads(fields["definition"]),
            "changes": tuple(json.loads(fields["changes"])),
            # SQLite keeps no zone; what was written is UTC.
            "created_at": (
                moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
            ),
        }
    )
