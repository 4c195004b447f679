"""What keeps anomalies quiet: silences, which people set, and maintenance windows."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from pipelines.alerts.finding import Finding
from pipelines.alerts.matchers import Labels, Matchers
from pipelines.alerts.schedule import Schedule, Span, schedule
from pipelines.alerts.tables import MAINTENANCE, MEMBERS, SILENCES

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Silence:
    """A row of `alert_silences`."""

    id: int
    matchers: Matchers
    span: Span
    who: str
    why: str

    @property
    def name(self) -> str:
        return f"silence {self.id}"

    def covers(self, moment: int) -> bool:
        return self.span.start <= moment < self.span.end

    def ends(self, moment: int) -> int:
        """When what covers this moment is over."""
        return self.span.end


@dataclass(frozen=True)
class Maintenance:
    """A window, from the config or by command."""

    title: str
    matchers: Matchers
    schedule: Schedule
    who: str = ""
    why: str = ""

    @property
    def name(self) -> str:
        return f"maintenance {self.title}"

    def covers(self, moment: int) -> bool:
        span = self.schedule.next(moment)
        return span is not None and span.start <= moment

    def ends(self, moment: int) -> int:
        """When the opening that covers this moment is over."""
        span = self.schedule.next(moment)
        return moment if span is None else span.end


def maintenance(
    name: str, matchers: Sequence[str], schedule: Schedule, who: str = "", why: str = ""
) -> Maintenance:
    """A window as a config writes it."""
    return Maintenance(name, Matchers(matchers), schedule, who, why)


class Quiet:
    """All that is in force, read anew in each turn.

    An anomaly is covered if the time of its event or the present lies within: what happened in a
    window stays quiet when it is seen late, and nobody is called within one. `field` must cover
    every field that moved: a silence for one field does not hide another.
    """

    def __init__(self, windows: Sequence[Maintenance]) -> None:
        self._configured = list(windows)

    def load(self, connection: sa.Connection, oldest: int) -> list[Silence | Maintenance]:
        """What may cover a moment from `oldest` on."""
        rows = connection.execute(
            sa.select(SILENCES).where(SILENCES.c.ends_at > oldest, SILENCES.c.removed_by.is_(None))
        )
        silences = [
            Silence(r.id, Matchers(r.matchers), Span(r.starts_at, r.ends_at), r.who, r.why)
            for r in rows
        ]
        return [*silences, *self.windows(connection)]

    def windows(self, connection: sa.Connection) -> list[Maintenance]:
        """Those of the config, and those by command."""
        rows = connection.execute(sa.select(MAINTENANCE).order_by(MAINTENANCE.c.name))
        return self._configured + [
            Maintenance(r.name, Matchers(r.matchers), schedule(r.schedule), r.who, r.why)
            for r in rows
        ]


def covering(
    quiet: Sequence[Silence | Maintenance], finding: Finding, labels: Labels, now: int
) -> Silence | Maintenance | None:
    """The first that keeps it quiet."""
    for one in quiet:
        inside = one.covers(finding.timestamp) or one.covers(now)
        if inside and one.matchers.matches(labels, every=("field",)):
            return one
    return None


def holding(
    quiet: Sequence[Silence | Maintenance], labels: Labels, now: int
) -> Silence | Maintenance | None:
    """The first that covers the whole of an alert now: every source and every field of it."""
    for one in quiet:
        if one.covers(now) and one.matchers.matches(labels, every=("source", "field")):
            return one
    return None


def uses(connection: sa.Connection, name: str) -> int:
    """How many anomalies a silence or window has kept quiet."""
    query = sa.select(sa.func.count()).where(MEMBERS.c.suppressed_by == name)
    return int(connection.execute(query).scalar_one())


def report_ended(connection: sa.Connection, now: int) -> int:
    """Say once of each silence that has ended what it did; how many did nothing."""
    ended = sa.select(SILENCES).where(
        SILENCES.c.reported.is_(False),
        sa.or_(SILENCES.c.ends_at <= now, SILENCES.c.removed_by.is_not(None)),
    )
    vain = 0
    for row in connection.execute(ended).all():
        count = uses(connection, f"silence {row.id}")
        told = f"silence {row.id} by {row.who} ({', '.join(row.matchers)}; {row.why}) ended"
        if count:
            log.info("%s: it kept %d anomalies quiet", told, count)
        else:
            vain += 1
            log.warning("%s and has matched nothing; was it written as meant?", told)
        connection.execute(sa.update(SILENCES).where(SILENCES.c.id == row.id).values(reported=True))
    return vain
