"""From raw tables to answers: compute what is stale, register the views, put the newest online."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from feature_repo.computation import Computation
from feature_repo.dates import Dates
from feature_repo.engines import Engine
from feature_repo.publication import Publication
from feature_repo.registry.apply import Applied, apply, refuse_breaking, registered_views, unknown
from feature_repo.registry.author import Author, author
from feature_repo.registry.declaration import declared
from feature_repo.registry.lease import LeaseTerms
from feature_repo.sources import RawTable
from feature_repo.store import StoreError, create_store
from feature_repo.view import View
from feature_repo.views import VIEWS

log = logging.getLogger(__name__)


@dataclass
class Materialization:
    """Compute and publish the feature views.

    Args:
        folder: of the store.
        online_store, offline_store, registry: Feast's configuration of them.
        engine: what runs the transformations.
        history_length: items kept in a user's history.
        collapse_repeats: of several touches in a row of one item, a history keeps the first.
        rows_per_stretch: raw rows computed together.
        max_reject_share: largest share of a day's rows that rules may reject.
        write_rows: keys written online at once.
        probe_keys: keys looked up to find out whether the online store has lost its content.
        lease: how long an apply waits for another one.
    """

    folder: Path
    online_store: Mapping[str, Any]
    offline_store: Mapping[str, Any]
    registry: Mapping[str, Any]
    engine: Engine
    history_length: int
    collapse_repeats: bool
    rows_per_stretch: int
    max_reject_share: float
    write_rows: int
    probe_keys: int
    lease: LeaseTerms

    def __call__(
        self,
        tables: Mapping[str, RawTable],
        *,
        only: Sequence[str] | None = None,
        within: Dates | None = None,
        rebuild_online: bool = False,
        by: str | None = None,
        why: str | None = None,
    ) -> dict[str, dict[str, Any]]:
        """Bring every view that the tables allow up to date; returns what was done, by view.

        Args:
            only: names of views; None: all.
            within: compute these days again, stale or not (a backfill).
            rebuild_online: write every key's newest row, not only what has changed.
            by, why: for the history of definitions; by default the system's user.

        Raises:
            StoreError: an unknown view, a raw file that cannot be read, too many bad rows.
            IncompatibleError: a view's definition would break its readers.
        """
        store, folder = self.open()
        wanted = [v for v in _chosen(only) if all(s in tables for s in v.sources)]
        left_out = [v.full_name for v in _chosen(only) if v not in wanted]
        if left_out:
            log.info("no raw tables for %s", ", ".join(left_out))
        refuse_breaking(folder, declared(wanted))
        settings = {
            "history_length": self.history_length,
            "collapse_repeats": self.collapse_repeats,
        }
        computation = Computation(
            folder, self.engine, settings, self.rows_per_stretch, self.max_reject_share
        )
        computed = {v.full_name: computation.update(v, tables, within) for v in wanted}
        self.register(store, wanted, author(by, why, "materialization"))
        publication = Publication(store, folder, self.write_rows, self.probe_keys)
        summary = {}
        for view in wanted:
            done = computed[view.full_name]
            days = computation.unpublished(view)
            published = publication.publish(view, None if rebuild_online else days)
            computation.mark_published(view, days)
            summary[view.full_name] = {
                "days": len(done.days),
                "offline_rows": done.rows,
                "rejected_rows": done.rejected,
                "offline_seconds": round(done.seconds, 2),
                **published,
            }
        return summary

    def open(self) -> tuple[Any, Path]:
        """Feast's store, made if it is not there, and its folder."""
        folder = Path(self.folder).resolve()
        store = create_store(folder, self.online_store, self.offline_store, self.registry)
        return store, folder

    def register(self, store: Any, views: Sequence[View], who: Author) -> Applied:
        """Apply these views' definitions, and the services that they complete."""
        folder = Path(self.folder).resolve()
        known = registered_views(folder)
        everything = [d.full_name for d in declared(VIEWS, known)]
        return apply(store, folder, declared(views, known), who, self.lease, everything)


def _chosen(only: Sequence[str] | None) -> list[View]:
    if only is None:
        return list(VIEWS)
    known = {v.full_name: v for v in VIEWS}
    for name in only:
        if name not in known:
            raise StoreError(unknown("view", name, known))
    return [known[name] for name in only]
