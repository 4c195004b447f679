"""What a stream of reviews does to features: judge, journal, push online, and land.

Order of the steps, and why a job may be killed after any of them:

1. messages that the journal does not have are judged, and entered with their judgement, each once,
   in one transaction;
2. holding the items of the batch: compute their rows from all their reviews, push them online, note
   the version. A message that comes again finds itself in the journal, and leads to the same rows;
3. later, beside the next batches: reviews and sentiment to the warehouse, newest rows to the
   offline store. The journal knows what has not got there.

A pushed row carries its item's newest review's time, and the online store replaces a row of the
same moment: so what was pushed last holds.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import polars as pl
import sqlalchemy as sa
from redis.exceptions import RedisError

from feature_repo.governance.erasures import Erased
from feature_repo.materialization import Materialization
from feature_repo.metadata import connect
from feature_repo.offline.pushes import merge
from feature_repo.pushes import push
from feature_repo.store import StoreError, open_store
from feature_repo.streaming.review_journal import ReviewJournal
from feature_repo.streaming.review_landing import ReviewLanding
from feature_repo.streaming.review_rows import rows_of
from feature_repo.view import CREATED, TIME
from feature_repo.views import ITEM_REVIEW_SENTIMENT

log = logging.getLogger(__name__)

_VIEW = ITEM_REVIEW_SENTIMENT
_AWAY = (
    sa.exc.OperationalError,
    sa.exc.InterfaceError,
    sqlite3.OperationalError,
    RedisError,
    OSError,
    StoreError,
)


class Judge(Protocol):
    """Whatever says how kind a text is. `outages` are its errors that say "not now"."""

    outages: tuple[type[Exception], ...]

    def refresh(self) -> str:
        """Take the newest model; returns its version."""
        ...

    def judge(
        self, texts: Sequence[str | None]
    ) -> tuple[Sequence[tuple[float | None, str | None]], str]:
        """Sentiment from −1 to 1, or why there is none, for each text; and the model's version."""
        ...


@dataclass
class ReviewStream:
    """Handles reviews for `item_review_sentiment`.

    Args:
        features: the materialization whose features these are: same store, same settings.
        warehouse: folder of the warehouse.
        journal: SQLAlchemy URL of the journal.
        busy_s: how long to wait for another writer of the journal's database.
        keep_days: how long the journal keeps reviews that are in the warehouse; a message that
            comes again later is judged again, and still counts once by its `review_id`.
        items_at_once: items computed, held and pushed together.
        land_s, flush_s: how often reviews go to the warehouse, and rows to the offline store.
        refresh_s: how often is looked for another model in force, and for erasures.
        prune_s: how often the journal is pruned.
        land_rows: reviews of one landing.
        most_files: small files in a day's folder until they are merged.
        give_up_s: what another job has left undone for so long is taken over.
    """

    features: Materialization
    warehouse: Path
    judge: Judge
    journal: str
    busy_s: float
    keep_days: int
    items_at_once: int
    land_s: float
    flush_s: float
    refresh_s: float
    prune_s: float
    land_rows: int
    most_files: int
    give_up_s: float

    def __post_init__(self) -> None:
        # Also what says that there is no model now: the job waits then.
        self.outages: tuple[type[Exception], ...] = (*_AWAY, *self.judge.outages)

    def open(self) -> None:
        """Connect to the store and the journal; a model that is away is waited for later.

        Raises:
            StoreError: the store has not been materialized.
        """
        self.warehouse = Path(self.warehouse)
        folder = Path(self.features.folder).resolve()
        self._view_folder = _VIEW.folder(folder)
        self._metadata = connect(folder)
        self._store = open_store(folder)
        views = [v for v in self._store.list_feature_views() if v.name == _VIEW.full_name]
        if not views or views[0].stream_source is None:  # a store of an older definition
            raise StoreError(
                f"{folder}: no view {_VIEW.full_name} that takes pushes; run "
                "scripts/materialize.py with the warehouse's reviews first"
            )
        self._journal = ReviewJournal(self.journal, folder, self.busy_s)
        self._landing = ReviewLanding(
            self._journal, self.warehouse, self.land_rows, self.most_files, self.give_up_s
        )
        self._pushing = threading.Lock()  # Feast's online stores are for one thread
        self._due: dict[str, float] = {}
        self._refresh()

    def handle(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Judge reviews, and have their effect online before returning.

        What an erased user wrote before the erasure is dropped: a replay must not bring it back.
        """
        rows = [r for r in rows if not self._is_erased(r["user_id"], r["timestamp"])]
        named = sorted({row["item_id"] for row in rows})
        new = self._journal.unknown(rows)
        entered = self._journal.add(self._judged(new), named)
        if entered < len(new):
            log.warning("%d messages name a review that is known already", len(new) - entered)
        for start in range(0, len(named), self.items_at_once):
            part = named[start : start + self.items_at_once]
            # While the items are held: of two jobs, the later one has seen the other's reviews.
            with self._journal.held(part) as (reviews, _):
                self._push(self._rows(part, reviews), online=True)

    def _judged(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        if not rows:
            return []
        judged, version = self.judge.judge([row["text"] for row in rows])
        told = {"sentiment_version": version, "scored_at": datetime.now(UTC)}
        return [
            {**row, "sentiment": sentiment, "reason": reason, **told}
            for row, (sentiment, reason) in zip(rows, judged, strict=True)
        ]

    def maintain(self) -> None:
        """Whatever is due of landing, flushing, refreshing and pruning."""
        self._every("land", self.land_s, self._landing.land)
        self._every("flush", self.flush_s, self._flush)
        self._every("refresh", self.refresh_s, self._refresh)
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

    def _is_erased(self, user: str | None, moment: datetime) -> bool:
        return user is not None and self._erased.covers(user, moment)

    def _rows(self, items: Sequence[str], reviews: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
        return rows_of(items, reviews, self.warehouse, self._erased)

    def _push(self, rows: pl.DataFrame, online: bool) -> None:
        if rows.is_empty():
            return
        frame = rows.to_pandas().assign(**{CREATED: pd.Timestamp(datetime.now(UTC))})
        with self._pushing:
            push(self._store, _VIEW, frame, online=online, offline=not online)

    def _flush(self) -> None:
        """Rows that were pushed online, to the offline store; also those of a killed job."""
        while versions := self._journal.unflushed(self.items_at_once):
            items = list(versions)
            rows = self._rows(items, self._journal.reviews_of(items))
            self._push(rows, online=False)
            self._journal.flushed(versions)
            for day in rows[TIME].dt.date().unique():
                merge(self._view_folder / f"day={day}", "push", self.most_files)

    def _refresh(self) -> None:
        self._erased = Erased.of(self._metadata)
        try:
            self.judge.refresh()
        except self.judge.outages as error:
            log.warning("no other model now: %s", str(error).splitlines()[0])

    def _prune(self) -> None:
        log.info("journal: %d reviews pruned", self._journal.prune(self.keep_days))
