"""What the online store says about some of the keys that it should have."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from feature_repo.computation import view_files
from feature_repo.monitoring.rows import collect, scan
from feature_repo.view import TIME, View

log = logging.getLogger(__name__)

_FILES = 8  # offline files, spread over time, that keys are taken from
# feast.protos.feast.serving.ServingService_pb2.FieldStatus
_NOT_FOUND, _OUTSIDE_MAX_AGE = 3, 4


class Sample(NamedTuple):
    """Answers of the online store for `keys` keys with offline rows.

    Args:
        missing: keys that it does not have; `examples` names a few.
        stale: keys whose value is older than the view's TTL by the machine's clock.
        newest: time of the newest value.
        error: why there was no answer.
    """

    keys: int
    missing: int
    stale: int
    newest: datetime | None
    examples: tuple[str, ...]
    error: str = ""


def sample_online(store: Any, view: View, folder: Path, size: int, seed: int = 0) -> Sample:
    """Ask for at most `size` keys: those of the newest rows, and as many chosen by chance.

    Raises:
        StoreError: an offline file that cannot be read.
    """
    keys = _keys(view, folder, size, seed)
    if not keys:
        return Sample(0, 0, 0, None, ())
    try:
        answer = store.get_online_features(
            [f"{view.full_name}:{view.features[0].name}"], [{view.key: key} for key in keys]
        )
    except Exception as error:  # whatever the store's client raises: that is the finding
        log.exception("%s: the online store does not answer", view.full_name)
        return Sample(0, 0, 0, None, (), f"{type(error).__name__}: {error}"[:200])
    vector = answer.proto.results[-1]
    statuses = list(vector.statuses)
    missing = [key for key, status in zip(keys, statuses, strict=True) if status == _NOT_FOUND]
    moments = [m.seconds + m.nanos / 1e9 for m in vector.event_timestamps if m.seconds]
    return Sample(
        len(keys),
        len(missing),
        sum(status == _OUTSIDE_MAX_AGE for status in statuses),
        datetime.fromtimestamp(max(moments), UTC) if moments else None,
        tuple(missing[:5]),
    )


def _keys(view: View, folder: Path, size: int, seed: int) -> list[str]:
    files = [f for _, f in view_files(view, folder)]
    if not files:
        return []
    # Without a day in its path, a pushed or undivided file may hold anything: it is always read.
    dated = [f for d, f in view_files(view, folder) if d is not None]
    recent = dated[-2:] + [f for f in files if f not in dated]
    newest = collect(view, scan(recent).select(view.key, TIME).top_k(size, by=TIME))
    first = newest[view.key].drop_nulls().unique(maintain_order=True).head((size + 1) // 2)
    spread = files[:: max(1, len(files) // _FILES)]
    others = collect(view, scan(spread).select(view.key).unique())[view.key].drop_nulls()
    others = others.filter(~others.is_in(first.implode())).sort()
    others = others.sample(min(size - len(first), len(others)), seed=seed)
    return [str(k) for k in pl.concat([first, others])]
