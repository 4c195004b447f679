"""Push rows of a view: what arrives between two computations."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa

from feature_repo.offline.pushes import PushError, check_columns
from feature_repo.quality.rules import check, quarantine
from feature_repo.quality.schema import polars_schema
from feature_repo.view import CREATED, TIME, View

log = logging.getLogger(__name__)


def push(
    store: Any, view: View, frame: pd.DataFrame, *, online: bool = True, offline: bool = True
) -> None:
    """Send rows through the view's push source.

    Feast leaves out fields that it does not know when it writes online, and takes a time without a
    zone for one in UTC; here both are errors. Rows that break a rule of the view go nowhere but to
    quarantine, with the reason.

    Args:
        store: Feast's.
        frame: key, features and `event_timestamp`; `created_timestamp` is now where it is missing.
        online, offline: where the rows go.

    Raises:
        PushError: the view is not pushed, an unknown or missing field, a time without a zone.
    """
    if not view.pushed:
        raise PushError(f"view {view.full_name} takes no pushes; scripts/materialize.py fills it")
    if CREATED not in frame.columns:
        frame = frame.assign(**{CREATED: pd.Timestamp(datetime.now(UTC))})
    features = [feature.name for feature in view.features]
    check_columns(view.full_name, list(frame.columns), [view.key, *features, TIME, CREATED])
    for name in (TIME, CREATED):
        if not isinstance(frame[name].dtype, pd.DatetimeTZDtype):
            raise PushError(
                f"view {view.full_name}: {name} is {frame[name].dtype}; it must be a time with a "
                "zone, such as 2026-01-31T12:00:00Z"
            )
    modes: Any = __import__("feast.data_source", fromlist=["PushMode"]).PushMode
    mode = {
        (True, True): modes.ONLINE_AND_OFFLINE,
        (True, False): modes.ONLINE,
        (False, True): modes.OFFLINE,
    }[online, offline]
    good, bad = check(view, _typed(view, frame))
    if len(bad):
        # Rows are pushed online first, and offline a little later: they are set aside once.
        if online:
            quarantine(Path(store.repo_path), view, bad, datetime.now(UTC))
            log.warning("view %s: %d pushed rows are in quarantine", view.full_name, len(bad))
        frame = good.to_pandas()
    if len(frame):
        store.push(f"{view.full_name}_push", frame, to=mode)


def _typed(view: View, frame: pd.DataFrame) -> pl.DataFrame:
    schema = polars_schema(view)
    try:
        return pl.from_pandas(frame).select(pl.col(n).cast(t) for n, t in schema.items())
    except (pl.exceptions.PolarsError, pa.ArrowException, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise PushError(
            f"view {view.full_name}: values of other types than the view's ({reason})"
        ) from error
