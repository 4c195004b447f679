"""What a stream of events does to features: journal, push online, and land, a batch at a time.

Order of the steps, and why a job may be killed after any of them:

1. events into the journal, each message once, in one transaction;
2. holding the users of the batch: read their bases and events, compute their rows, push them
   online, note the version. A message that comes again finds itself in the journal, and leads to
   the same rows. Another job with the same user waits; it then sees these events too;
3. later, beside the next batches: events to the warehouse, newest rows to the offline store. The
   journal knows what has not got there.

Rows of more events never have an earlier `event_timestamp`, and the online store keeps the newest
row and replaces one of the same moment: so what was pushed last holds.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import sqlalchemy as sa
from redis.exceptions import RedisError

from feature_repo.computation import Computation
from feature_repo.governance.erasures import Erased
from feature_repo.materialization import Materialization
from feature_repo.metadata import connect
from feature_repo.offline.pushes import merge
from feature_repo.pushes import push
from feature_repo.sources import WarehouseInteractions, warehouse_tables
from feature_repo.store import StoreError, open_store
from feature_repo.streaming.bases import Bases
from feature_repo.streaming.journal import Held, Journal, as_moment, now_us
from feature_repo.streaming.landing import Landing
from feature_repo.streaming.state import Counters, History, counters, history
from feature_repo.view import CREATED, TIME, View
from feature_repo.views import USER_COUNTERS, USER_HISTORY

log = logging.getLogger(__name__)


class _Rows(NamedTuple):
    """A user's newest rows, their version, and when they were computed (microseconds)."""

    version: int
    created: int
    history: History | None
    counters: Counters | None


@dataclass
class FeatureStream:
    """Handles events for `user_history` and `user_counters`.

    Args:
        features: the materialization whose features these are: same store, same settings.
        warehouse: folder of the warehouse.
        touches: names of events that count as a touch, as in batch.
        journal: SQLAlchemy URL of the journal.
        busy_s: how long to wait for another writer of the journal's database.
        open_days: days before an event's day that a base leaves open for late events.
        late_days: events that lie further behind their user's newest one go to the warehouse only;
            the next materialization gives them their place.
        keep_days: how long the journal keeps events; longer until materialization has seen them.
        users_at_once: users computed, held and pushed together.
        land_s, flush_s: how often events go to the warehouse, and rows to the offline store.
        refresh_s: how often is looked what batch has computed.
        prune_s: how often the journal is pruned.
        land_rows: events of one landing.
        flush_users: rows that wait for the offline store at most.
        most_files: small files in a day's folder until they are merged.
        give_up_s: what another job has left undone for so long is taken over.
    """

    features: Materialization
    warehouse: Path
    touches: Sequence[str]
    journal: str
    busy_s: float
    open_days: int
    late_days: int
    keep_days: int
    users_at_once: int
    land_s: float
    flush_s: float
    refresh_s: float
    prune_s: float
    land_rows: int
    flush_users: int
    most_files: int
    give_up_s: float

    # What says "not now": databases, Redis, disks, and files that somebody is about to mend.
    outages = (
        sa.exc.OperationalError,
        sa.exc.InterfaceError,
        sqlite3.OperationalError,
        RedisError,
        OSError,
        StoreError,
    )

    def open(self) -> None:
        """Connect to the store and the journal.

        Raises:
            StoreError: the store has not been materialized.
        """
        folder = Path(self.features.folder).resolve()
        self._folder = folder
        self._metadata = connect(folder)
        self._store = open_store(folder)
        known = {view.name for view in self._store.list_feature_views()}
        for view in (USER_HISTORY, USER_COUNTERS):
            if view.full_name not in known:
                raise StoreError(
                    f"{folder}: no view {view.full_name}; run scripts/materialize.py with the "
                    "warehouse's events first"
                )
        self._journal = Journal(self.journal, folder, self.busy_s)
        events = warehouse_tables(Path(self.warehouse))["events"]
        settings = {
            "history_length": self.features.history_length,
            "collapse_repeats": self.features.collapse_repeats,
        }
        self._names = frozenset(self.touches)
        self._bases = Bases(
            folder,
            WarehouseInteractions(events, list(self.touches)),
            Computation(folder, self.features.engine, settings, 0, 0.0),
        )
        self._landing = Landing(
            self._journal, events.path, self.land_rows, self.most_files, self.give_up_s
        )
        self._waiting: dict[str, _Rows] = {}  # for the offline store
        self._lock = threading.Lock()  # of what waits
        self._flushing = threading.Lock()
        self._pushing = threading.Lock()  # Feast's online stores are for one thread
        self._due: dict[str, float] = {}
        self._refresh()

    def handle(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take events in, and have their effect online before returning.

        What an erased user did before the erasure is dropped: a replay must not bring it back.
        """
        rows = [r for r in rows if not self._is_erased(r["user_id"], r["timestamp"])]
        named = sorted({row["user_id"] for row in rows if row["user_id"] is not None})
        self._journal.add(rows, named)
        self._update(named)
        if len(self._waiting) >= self.flush_users:
            self._flush()

    def maintain(self) -> None:
        """Whatever is due of landing, flushing, refreshing and pruning."""
        self._every("land", self.land_s, self._landing.land)
        self._every("flush", self.flush_s, self._flush)
        self._every("refresh", self.refresh_s, self._refresh)
        self._every("recover", self.give_up_s, self._recover)
        self._every("prune", self.prune_s, self._prune)

    def close(self) -> None:
        """Leave nothing waiting."""
        self._landing.land()
        self._flush()
        self._journal.close()

    def _every(self, name: str, seconds: float, what: Callable[[], Any]) -> None:
        now = time.monotonic()
        if now >= self._due.setdefault(name, now + seconds):
            what()
            self._due[name] = time.monotonic() + seconds

    def _update(self, named: Sequence[str]) -> None:
        """Compute and push users' rows."""
        for start in range(0, len(named), self.users_at_once):
            part = named[start : start + self.users_at_once]
            with self._journal.locked(part) as held:
                self._adopt(held)
                histories, counts = self._compute(held)
                # While the users are held: of two jobs, the later version is the later row, also
                # if the other one gets to the offline store after it.
                created = dict.fromkeys(held.users, now_us())
                self._push(USER_HISTORY, histories, created)
                self._push(USER_COUNTERS, counts, created)
                versions = held.pushed()
            self._wait(
                {
                    user: _Rows(version, created[user], histories.get(user), counts.get(user))
                    for user, version in versions.items()
                }
            )

    def _wait(self, rows: Mapping[str, _Rows]) -> None:
        """For the next flush; the newest version of each user."""
        with self._lock:
            for user, row in rows.items():
                if user not in self._waiting or self._waiting[user].version < row.version:
                    self._waiting[user] = row

    def _adopt(self, held: Held) -> None:
        """Give bases to users that have none, or one that begins after an event to be placed."""
        wanted: dict[int, list[str]] = {}
        for user, (oldest, newest) in held.days().items():
            first = max(oldest, newest - self.late_days)
            since = held.users[user].since
            if since is None or first < since:
                day = self._bases.day(first - self.open_days)
                wanted.setdefault(day, []).append(user)
        for day, users in wanted.items():
            read_at = now_us()
            held.adopt(self._bases.histories(users, day), day, read_at)
            held.add(self._bases.events(users, day))

    def _compute(self, held: Held) -> tuple[dict[str, History], dict[str, Counters]]:
        histories, counts = {}, {}
        for user, events in held.events().items():
            known = held.users[user]
            touched = history(
                known.items,
                known.length,
                events,
                self._names,
                self.features.history_length,
                self.features.collapse_repeats,
            )
            if touched is not None:
                histories[user] = touched
            counted = counters(events)
            if counted is not None:
                counts[user] = counted
        return histories, counts

    def _is_erased(self, user: str | None, moment: datetime) -> bool:
        return user is not None and self._erased.covers(user, moment)

    def _push(
        self,
        view: View,
        rows: Mapping[str, History | Counters],
        created: Mapping[str, int],
        online: bool = True,
    ) -> None:
        rows = {u: r for u, r in rows.items() if not self._is_erased(u, as_moment(r.moment))}
        if not rows:
            return
        names = [feature.name for feature in view.features]
        frame = pd.DataFrame(
            {
                view.key: list(rows),
                **{name: [getattr(row, name) for row in rows.values()] for name in names},
                TIME: pd.to_datetime([as_moment(row.moment) for row in rows.values()], utc=True),
                CREATED: pd.to_datetime([as_moment(created[user]) for user in rows], utc=True),
            }
        )
        with self._pushing:
            push(self._store, view, frame, online=online, offline=not online)

    def _flush(self) -> None:
        """Rows that were pushed online, to the offline store."""
        with self._flushing:
            with self._lock:
                taken, self._waiting = self._waiting, {}
            try:
                for view, name in ((USER_HISTORY, "history"), (USER_COUNTERS, "counters")):
                    rows = {u: getattr(r, name) for u, r in taken.items() if getattr(r, name)}
                    created = {user: taken[user].created for user in rows}
                    self._push(view, rows, created, online=False)
                self._journal.flushed({user: rows.version for user, rows in taken.items()})
            except Exception:
                self._wait(taken)
                raise
        for view in (USER_HISTORY, USER_COUNTERS) if taken else ():
            self._merge(view, taken.values())

    def _merge(self, view: View, rows: Iterable[_Rows]) -> None:
        moments = [r.moment for row in rows for r in (row.history, row.counters) if r is not None]
        for day in {as_moment(moment).date() for moment in moments}:
            merge(view.folder(self._folder) / f"day={day}", "push", self.most_files)

    def _refresh(self) -> None:
        """Users whose base rests on days that batch has computed again are pushed anew."""
        self._erased = Erased.of(self._metadata)
        news = self._bases.refresh()
        if news and self._journal.outdate(news):
            self._due["recover"] = 0.0

    def _recover(self) -> None:
        """Rows that a killed job has pushed online and not offline, and outdated ones."""
        while users := self._journal.unflushed(self.give_up_s, self.users_at_once):
            log.info("%d users are computed again", len(users))
            self._update(users)
            self._flush()

    def _prune(self) -> None:
        self._refresh()
        gone = self._journal.prune(self.keep_days, self._bases.first_stale, self.users_at_once)
        log.info("journal: %d events, %d pruned", self._journal.size(), gone)
