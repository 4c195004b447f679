"""One look at the whole store."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from feature_repo.monitoring.alerts import Limits
from feature_repo.monitoring.completeness import completeness_of
from feature_repo.monitoring.drift import Drift, DriftTest
from feature_repo.monitoring.freshness import freshness_of
from feature_repo.monitoring.profile import (
    Baseline,
    BaselineError,
    Profile,
    Profiling,
    blocks_of,
    named_window,
    profile_view,
)
from feature_repo.monitoring.report import FeatureState, Report, ViewState
from feature_repo.monitoring.rows import Window, rows_of
from feature_repo.monitoring.sample import sample_online
from feature_repo.monitoring.skew import Skew, SkewTest
from feature_repo.quality.rejected import rejected
from feature_repo.store import StoreError, open_store
from feature_repo.view import View

log = logging.getLogger(__name__)

_NO_DRIFT = Drift(None, None, None, None, "unknown")


@dataclass(frozen=True)
class FeatureMonitor:
    """Measures a store's views.

    Args:
        folder: of the store.
        as_of: what ages and windows are counted from, such as 2026-01-01 or 2026-01-01T12:00Z;
            UTC unless it says otherwise; None: now.
        current_days: the window that is judged; it ends at `as_of`.
        baseline_days: the window before it that it is compared with.
        baseline_file: saved profiles to compare with instead.
        max_rows: of one view and window; of more, every n-th is taken.
        online_keys: looked up online, a view.
        skew: None: served vectors are not compared.
    """

    folder: Path
    profiling: Profiling
    drift: DriftTest
    limits: Limits
    skew: SkewTest | None
    as_of: str | None = None
    current_days: float = 7
    baseline_days: float = 14
    baseline_file: str | None = None
    max_rows: int = 1_000_000
    online_keys: int = 200

    def __call__(self, views: Sequence[View]) -> Report:
        """Look at these views.

        Raises:
            StoreError: no store, or a file that cannot be read.
            BaselineError: the baseline file is not there or not one.
        """
        started = time.perf_counter()
        now = datetime.now(UTC)
        as_of = self._as_of(now)
        folder = Path(self.folder).resolve()
        store = open_store(folder)
        there = {v.name for v in store.list_feature_views()}
        windows = self._windows(as_of)
        saved = Baseline.load(Path(self.baseline_file)) if self.baseline_file else None
        states = [
            self._view(store, folder, view, as_of, now, windows, saved)
            for view in views
            if view.full_name in there
        ]
        skew = Skew(note="not asked for") if self.skew is None else self.skew(folder, views)
        report = Report(
            as_of,
            now,
            saved.source if saved else named_window(*windows[0]),
            named_window(*windows[1]),
            states,
            skew,
            quiet=tuple(self.limits.quiet),
        )
        report.alerts = self.limits(report)
        report.seconds = time.perf_counter() - started
        return report

    def profile(self, views: Sequence[View]) -> Baseline:
        """Of the current window, to be saved as a baseline for later.

        Raises:
            StoreError: a file that cannot be read.
            BaselineError: there are no rows at all.
        """
        window = self._windows(self._as_of(datetime.now(UTC)))[1]
        folder = Path(self.folder).resolve()
        found = {
            v.full_name: profile_view(self.profiling, v, rows_of(v, folder, window, self.max_rows))
            for v in views
        }
        found = {name: profiles for name, profiles in found.items() if profiles}
        if not found:
            raise BaselineError(f"{folder}: no view has rows from {named_window(*window)}")
        return Baseline(named_window(*window), found)

    def _windows(self, as_of: datetime) -> tuple[Window, Window]:
        """The baseline's, and the current one."""
        begun = as_of - timedelta(days=self.current_days)
        return Window(begun - timedelta(days=self.baseline_days), begun), Window(begun, as_of)

    def _as_of(self, now: datetime) -> datetime:
        if self.as_of is None:
            return now
        try:
            moment = datetime.fromisoformat(str(self.as_of))
        except ValueError as error:
            raise StoreError(
                f"as_of={self.as_of} is no time; write 2026-01-01 or 2026-01-01T12:00Z"
            ) from error
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)

    def _view(
        self,
        store: Any,
        folder: Path,
        view: View,
        as_of: datetime,
        now: datetime,
        windows: tuple[Window, Window],
        saved: Baseline | None,
    ) -> ViewState:
        after = rows_of(view, folder, windows[1], self.max_rows)
        if saved is None:
            before = rows_of(view, folder, windows[0], self.max_rows)
            profiles = profile_view(self.profiling, view, before)
        else:
            profiles = dict(saved.views.get(view.full_name, {}))
        online = sample_online(store, view, folder, self.online_keys)
        features = self._features(view, profiles, after)
        return ViewState(
            view.full_name,
            view.description,
            len(after),
            max((p.rows for p in profiles.values()), default=0),
            freshness_of(view, folder, as_of, now, online.newest),
            completeness_of(view, folder, as_of, online),
            rejected(folder, view, now),
            features,
        )

    def _features(
        self, view: View, profiles: dict[str, Profile], after: pl.DataFrame
    ) -> tuple[FeatureState, ...]:
        states = []
        blocks = blocks_of(view, after)
        for feature in view.features:
            before, column = profiles.get(feature.name), after[feature.name]
            if before is None or after.is_empty():
                current = self.profiling(column, blocks) if len(after) else None
                states.append(FeatureState(feature.name, before, current, _NO_DRIFT))
                continue
            current = self.profiling.like(column, before, blocks)
            states.append(FeatureState(feature.name, before, current, self.drift(before, current)))
        return tuple(states)
