"""Rows that are pushed into a view between its computations: checked, kept, and put online.

A contract of the feature store: the gateway runs `push` in a worker of its own. It imports the
views, and what they import, only when it is called. All arguments and results can be pickled.

A row is taken or not as a whole. What is malformed (an unknown field, a wrong type, a time that
could be two) refuses the whole push, and nothing is written. What is well-formed but breaks a rule
of the view is rejected row by row, with the reason, and kept in quarantine.

Offline rows are written first: what is online is also kept. A push that failed half-way can be sent
again; rows of the same key and moment replace one another.
"""

from __future__ import annotations

import difflib
import functools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

TARGETS = ("online", "offline", "online_and_offline")
TIME_ACCEPTED = "an RFC 3339 time with its zone and at most microseconds: 2026-01-31T12:00:00.25Z"

_TIME = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.(?P<fraction>\d+))?(?P<zone>[Zz]|[+-]\d\d:?\d\d)?$"
)
_SHOWN = 80  # characters of a value in a message
_MOST_FAULTS = 20  # named in one answer


class Fault(NamedTuple):
    """What is malformed, and where; `row` is None if it is not of one row."""

    row: int | None
    field: str
    value: str
    reason: str
    accepted: str


class Rejection(NamedTuple):
    """A row that breaks a rule of its view."""

    row: int
    reason: str


class Outcome(NamedTuple):
    """What became of a push. With faults, nothing was written."""

    accepted: int
    rejected: list[Rejection]
    faults: list[Fault]


class Terms(NamedTuple):
    """What a push has to keep to.

    Args:
        to: one of `TARGETS`.
        any_view: take rows for views that say nothing of pushes (Feast's own protocol does).
        naive_is_utc: take times without a zone as UTC (Feast's own protocol does).
        max_ahead_s: a moment further in the future is refused: it would hide all that comes later.
    """

    to: str = "online_and_offline"
    any_view: bool = False
    naive_is_utc: bool = False
    max_ahead_s: float = 300


def push(folder: str, view: str, rows: Sequence[Any], terms: Terms) -> Outcome:
    """Write rows of a view online and offline.

    Args:
        folder: of the store.
        view: its full name.
        rows: key, features and `event_timestamp` as JSON has them.

    Raises:
        StoreError: the store cannot be opened or written.
        OnlineStoreError: the online store is away.
    """
    from feature_repo.views import VIEWS

    known = {v.full_name: v for v in VIEWS}
    taking = [name for name, v in known.items() if v.pushed or terms.any_view]
    if view not in taking:
        accepted = f"views that take pushes: {', '.join(taking)}"
        return Outcome(0, [], [Fault(None, "view", view, "takes no pushes", accepted)])
    definition = known[view]
    faults, clean = _clean(definition, rows, terms)
    if faults:
        return Outcome(0, [], faults)
    good, rejected = _checked(Path(folder), definition, clean)
    if len(good):
        if terms.to != "online":
            _write_offline(Path(folder), definition, good)
        if terms.to != "offline":
            _write_online(folder, definition, good)
    return Outcome(len(good), rejected, [])


class _Shape(NamedTuple):
    """What a row of a view looks like."""

    key: str
    types: Mapping[str, str]
    nullable: frozenset[str]
    time: str

    @property
    def fields(self) -> tuple[str, ...]:
        return (self.key, *self.types, self.time)


def _clean(
    view: Any, rows: Sequence[Any], terms: Terms
) -> tuple[list[Fault], list[dict[str, Any]]]:
    """The faults of all rows, and the rows with their times as moments."""
    from feature_repo.view import TIME

    nullable = frozenset(f.name for f in view.features if f.nullable)
    shape = _Shape(view.key, {f.name: str(f.dtype) for f in view.features}, nullable, TIME)
    latest = datetime.now(UTC) + timedelta(seconds=terms.max_ahead_s)
    faults: list[Fault] = []
    clean = []
    for number, given in enumerate(rows):
        if not isinstance(given, Mapping):
            accepted = f"an object of {', '.join(shape.fields)}"
            faults.append(_fault(number, "the row", given, "is no object", accepted))
            continue
        row = dict(given)
        faults += [*_names(number, row, shape), *_values(number, row, shape)]
        if TIME in row:
            moment, reason = _moment(row[TIME], terms.naive_is_utc)
            if moment is not None and moment > latest:
                reason = f"is more than {terms.max_ahead_s:g} s in the future"
            if reason:
                faults.append(_fault(number, TIME, row[TIME], reason, TIME_ACCEPTED))
            row[TIME] = moment
        clean.append(row)
        if len(faults) >= _MOST_FAULTS:
            break
    return faults[:_MOST_FAULTS], clean


def _names(number: int, row: Mapping[str, Any], shape: _Shape) -> list[Fault]:
    """Fields that are too many or too few."""
    listed = ", ".join(shape.fields)
    faults = []
    for name in row:
        if name not in shape.fields:
            near = difflib.get_close_matches(name, shape.fields, 3)
            reason = "is an unknown field" + (f"; nearest: {', '.join(near)}" if near else "")
            faults.append(_fault(number, name, row[name], reason, f"the fields {listed}"))
    needed = [n for n in shape.fields if n not in row and n not in shape.nullable]
    faults += [Fault(number, n, "nothing", "is missing", f"each of {listed}") for n in needed]
    return faults


def _values(number: int, row: dict[str, Any], shape: _Shape) -> list[Fault]:
    """Values of a wrong type; what may be left out is null from now on."""
    faults = []
    key = row.get(shape.key)
    if shape.key in row and not (isinstance(key, str) and key):
        faults.append(_fault(number, shape.key, key, "is no key", "a non-empty string"))
    for name, dtype in shape.types.items():
        value = row.setdefault(name, None)
        accepts, accepted = _TYPES[dtype]
        if value is not None and not accepts(value):
            faults.append(_fault(number, name, value, f"is no {dtype}", accepted))
    return faults


def _fault(row: int, field: str, value: Any, reason: str, accepted: str) -> Fault:
    return Fault(row, field, repr(value)[:_SHOWN], reason, accepted)


def _moment(value: Any, naive_is_utc: bool) -> tuple[datetime | None, str | None]:
    """The moment that a text names, or why it names none."""
    if value is None:
        return None, "is null"
    if not isinstance(value, str):
        return None, "is no text; a number could be seconds, milli-, micro- or nanoseconds"
    match = _TIME.fullmatch(value)
    if match is None:
        return None, "is no time"
    if len(match["fraction"] or "") > 6 and (match["fraction"] or "")[6:].strip("0"):
        return None, "has nanoseconds, which would be lost"
    if match["zone"] is None and not naive_is_utc:
        return None, "has no zone"
    text = value if match["zone"] else f"{value}Z"
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC), None
    except (ValueError, OverflowError):
        return None, "is no time"


def _is_number(value: Any) -> bool:
    real = isinstance(value, int | float) and not isinstance(value, bool)
    return real and math.isfinite(value)


def _is_whole(bits: int) -> Callable[[Any], bool]:
    def check(value: Any) -> bool:
        whole = isinstance(value, int) and not isinstance(value, bool)
        return whole and -(2 ** (bits - 1)) <= value < 2 ** (bits - 1)

    return check


def _is_list(of: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(of, value))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


_SCALARS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "String": (_is_text, "a string"),
    "Int32": (_is_whole(32), "a whole number of 32 bits"),
    "Int64": (_is_whole(64), "a whole number of 64 bits"),
    "Float32": (_is_number, "a finite number"),
    "Float64": (_is_number, "a finite number"),
    "Bool": (lambda value: isinstance(value, bool), "true or false"),
}
# Feast's types as JSON has them
_TYPES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    **_SCALARS,
    **{f"Array({n})": (_is_list(test), f"a list, each {t}") for n, (test, t) in _SCALARS.items()},
}


def _checked(folder: Path, view: Any, rows: list[dict[str, Any]]) -> tuple[Any, list[Rejection]]:
    """The rows that the view's rules accept as a frame; the others are in quarantine now."""
    import polars as pl

    from feature_repo.quality.rules import REASON, check, quarantine
    from feature_repo.quality.schema import polars_schema
    from feature_repo.view import CREATED

    now = datetime.now(UTC)
    frame = pl.DataFrame([{**row, CREATED: now} for row in rows], schema=polars_schema(view))
    good, bad = check(view, frame)
    if bad.is_empty():
        return good, []
    quarantine(folder, view, bad, now)
    # Rules look at one row at a time and keep the order, so that equal rows share their fate.
    left = list(zip(bad.select(frame.columns).rows(), bad[REASON], strict=True))[::-1]
    rejected = []
    for number, row in enumerate(frame.rows()):
        if left and row == left[-1][0]:
            rejected.append(Rejection(number, left.pop()[1]))
    return good, rejected


def _write_offline(folder: Path, view: Any, frame: Any) -> None:
    """One file for each day that the rows belong to, beside what was computed."""
    from feature_repo.offline.pushes import append_rows
    from feature_repo.store import StoreError

    target = view.folder(folder)
    try:
        append_rows(target, _store(str(folder)).get_feature_view(view.full_name), frame.to_arrow())
    except OSError as error:
        raise StoreError(f"{target}: cannot be written ({error})") from error


def _write_online(folder: str, view: Any, frame: Any) -> None:
    from feast.data_source import PushMode

    from feature_repo.online.outage import outages_told

    store = _store(folder)
    with outages_told(store, "the rows are not online; push them again when it answers"):
        if view.pushed:
            store.push(f"{view.full_name}_push", frame.to_pandas(), to=PushMode.ONLINE)
        else:
            store.write_to_online_store(view.full_name, frame.to_pandas())


@functools.lru_cache(maxsize=4)
def _store(folder: str) -> Any:
    """Opened once a process: a worker writes many times."""
    from feature_repo.store import open_store

    return open_store(Path(folder))
