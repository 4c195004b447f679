"""Training/serving skew: whether models were given what the offline tables say they were given.

Each served vector is computed again by the point-in-time join that makes training sets, at the
moment of the request and from rows that had arrived by then. Where they differ, training and
serving see different features.

Two things are not skew. A row that had been computed just before the request may not have been
online yet: values known up to `delay` earlier are accepted too. And a row that was written again
after the request (a late push, a backfill) hides what was there: if the served value equals neither
what remains nor what replaced it, it cannot be verified, and is counted apart.

Limits: a view's rows must still be kept; views whose key is not in the log, and on-demand views,
are named as not checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from feature_repo.monitoring.served import GIVEN, VALUE, PredictionLog, known, names_in, served
from feature_repo.offline.asof import FeatureTable, point_in_time_join
from feature_repo.view import CREATED, TIME, View

_MOMENT, _WRITTEN = "__moment", "__written"


@dataclass
class FeatureSkew:
    """Of one feature: served values compared, those that differ, those that cannot be verified."""

    view: str
    feature: str
    compared: int
    mismatches: int
    unverifiable: int

    @property
    def mismatch_ratio(self) -> float | None:
        """Of the values that could be verified; None if there is none."""
        verified = self.compared - self.unverifiable
        return self.mismatches / verified if verified else None


@dataclass
class Skew:
    """Of a prediction log.

    Args:
        answers: looked at, between `first` and `last`.
        not_checked: names of features that cannot be computed again.
        examples: request, key, feature, what was served and what is right.
        note: why nothing was compared, if so.
    """

    answers: int = 0
    first: datetime | None = None
    last: datetime | None = None
    features: list[FeatureSkew] = field(default_factory=list)
    not_checked: list[str] = field(default_factory=list)
    examples: list[dict[str, Any]] = field(default_factory=list)
    note: str = ""


@dataclass(frozen=True)
class SkewTest:
    """How served vectors are compared.

    Args:
        log: where they are.
        delay: seconds between a row's computation and its being online, at most.
        relative, absolute: tolerances of floats; all else must be equal.
        examples: of mismatches kept, a feature.
        memory_limit_mb: of the join.
    """

    log: PredictionLog
    delay_s: float = 600.0
    relative: float = 1e-6
    absolute: float = 1e-9
    examples: int = 20
    memory_limit_mb: float = 1024

    def __call__(self, store: Path, views: Sequence[View]) -> Skew:
        """Raises: StoreError, JoinError: a file that cannot be read."""
        log = self.log.read()
        if log is None:
            return Skew(note=f"no served features in {self.log.folder}")
        names = names_in(log)
        checked = known(names, views, [k for k in self.log.keys if k in log.columns])
        skew = Skew(
            answers=len(log),
            first=log["timestamp"].min(),  # type: ignore[arg-type]
            last=log["timestamp"].max(),  # type: ignore[arg-type]
            not_checked=sorted(n for n in names if n not in checked),
        )
        for view in {v.full_name: v for v in checked.values()}.values():
            features = [n.partition(":")[2] for n, v in checked.items() if v is view]
            self._view(skew, store, view, features, log)
        return skew

    def _view(
        self, skew: Skew, store: Path, view: View, features: list[str], log: pl.DataFrame
    ) -> None:
        if not any(view.folder(store).rglob("*.parquet")):
            skew.not_checked += [f"{view.full_name}:{f}" for f in features]
            return
        asked = log.select(pl.col(view.key), pl.col("timestamp").alias(_MOMENT))
        table = _table(view, store, features)
        by_then = self._join(asked, table, known_only=True)
        before = asked.with_columns(pl.col(_MOMENT) - timedelta(seconds=self.delay_s))
        online = self._join(before, table, known_only=True)
        today = self._join(asked, _table(view, store, features, written=True), known_only=False)
        rewritten = (today[_WRITTEN] > asked[_MOMENT]).fill_null(False)
        for feature in features:
            given = served(log, view, feature)
            right = self._same(given, by_then[feature]) | self._same(given, online[feature])
            right |= rewritten & self._same(given, today[feature])
            wrong = ~right & given["logged"]
            result = FeatureSkew(
                view.full_name,
                feature,
                int(given["logged"].sum()),
                int((wrong & ~rewritten).sum()),
                int((wrong & rewritten).sum()),
            )
            skew.features.append(result)
            if result.mismatches:
                shown = log.with_columns(given[GIVEN], by_then[feature].alias("recomputed"))
                skew.examples += self._shown(view, feature, shown.filter(wrong & ~rewritten))

    def _join(self, asked: pl.DataFrame, table: FeatureTable, known_only: bool) -> pl.DataFrame:
        return point_in_time_join(
            asked,
            _MOMENT,
            [table],
            known_only=known_only,
            memory_limit_mb=self.memory_limit_mb,
        )

    def _same(self, given: pl.DataFrame, right: pl.Series) -> pl.Series:
        value = given[VALUE]
        if right.dtype.is_float():
            slack = self.absolute + self.relative * right.abs()
            equal = (value - right).abs() <= slack
        else:
            equal = value == right
        both_null = given[GIVEN].is_null() & right.is_null()
        return equal.fill_null(False) | both_null

    def _shown(self, view: View, feature: str, wrong: pl.DataFrame) -> list[dict[str, Any]]:
        return [
            {
                "request_id": row["request_id"],
                "timestamp": row["timestamp"].isoformat(),
                "key": row[view.key],
                "view": view.full_name,
                "feature": feature,
                "served": row[GIVEN],
                "recomputed": row["recomputed"],
            }
            for row in wrong.head(self.examples).iter_rows(named=True)
        ]


def _table(view: View, store: Path, features: list[str], written: bool = False) -> FeatureTable:
    columns = {f: f for f in features}
    return FeatureTable(
        name=view.full_name,
        path=view.folder(store),
        keys={view.key: view.key},
        features={**columns, CREATED: _WRITTEN} if written else columns,
        timestamp=TIME,
        created=CREATED,
        ttl=view.ttl,
    )
