"""Questions to the audit log: who did what, when."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from serving.gateway.access.audit import OUTCOMES, audit_events

FILTERS = ("project", "who", "action", "outcome", "subject", "request_id", "keys_hash")


class AuditQueryError(ValueError):
    """A question that cannot be answered."""

    exit_code = 2

    def __init__(self, field: str, value: object, accepted: str) -> None:
        super().__init__(f"{field} is {str(value)[:80]!r}; accepted: {accepted}")
        self.accepted = accepted


class AuditQuery(NamedTuple):
    """Which events, newest first.

    Args:
        equal: columns of `FILTERS` and their value; one that ends in `*` is a beginning.
        since, until: moments, the first included, the second not.
    """

    equal: Mapping[str, str]
    since: datetime | None
    until: datetime | None
    limit: int

    @classmethod
    def parse(cls, given: Mapping[str, Any], max_limit: int) -> AuditQuery:
        """From a query string or a command line.

        Raises:
            AuditQueryError: names the field, the value and what is accepted.
        """
        names = (*FILTERS, "from", "to", "limit")
        for name in given:
            if name not in names:
                raise AuditQueryError("parameter", name, ", ".join(names))
        try:
            limit = int(given.get("limit") or min(100, max_limit))
        except ValueError:
            limit = 0
        if not 1 <= limit <= max_limit:
            accepted = f"a whole number from 1 to {max_limit}"
            raise AuditQueryError("limit", given.get("limit"), accepted)
        outcome = given.get("outcome")
        if outcome and outcome not in OUTCOMES:
            raise AuditQueryError("outcome", outcome, ", ".join(OUTCOMES))
        equal = {name: str(given[name]) for name in FILTERS if given.get(name)}
        return cls(equal, _moment("from", given), _moment("to", given), limit)

    def run(self, database: sa.Engine) -> list[dict[str, Any]]:
        """The events as rows with times as text."""
        query = audit_events.select().order_by(audit_events.c.at.desc(), audit_events.c.id)
        for name, value in self.equal.items():
            column = audit_events.c[name]
            matches = (
                column.startswith(value[:-1], autoescape=True)
                if value.endswith("*")
                else column == value
            )
            query = query.where(matches)
        if self.since is not None:
            query = query.where(audit_events.c.at >= self.since)
        if self.until is not None:
            query = query.where(audit_events.c.at < self.until)
        with database.connect() as connection:
            found = connection.execute(query.limit(self.limit))
            rows = [{str(name): value for name, value in row._mapping.items()} for row in found]
        for row in rows:
            moment = row["at"]
            moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
            row["at"] = moment.astimezone(UTC).isoformat()
        return rows


def _moment(name: str, given: Mapping[str, Any]) -> datetime | None:
    value = given.get(name)
    if value is None or value == "":
        return None
    try:
        # a plus sign of a zone that was not escaped arrives as a space
        moment = datetime.fromisoformat(
            str(value).replace(" ", "+") if "T" in str(value) else str(value)
        )
    except ValueError as error:
        accepted = "a UTC day (2026-01-31) or a moment with its zone (2026-01-31T12:00:00Z)"
        raise AuditQueryError(name, value, accepted) from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
