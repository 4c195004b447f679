"""From entries of a broker to columns of checked telemetry.

An event is a flat JSON object: `timestamp` (ISO 8601 with a zone), optional `source` and
`messageId`, and fields that are numbers or null. An entry is one event or a list of them. All
events of a batch are checked together, column by column; only where something is wrong is the
offender looked for, event by event.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from pipelines.anomalies.brokers.broker import Entry
from pipelines.anomalies.partition import partition_of
from pipelines.anomalies.store import ANOMALIES
from pipelines.streaming.source import DeadLetter

RESERVED = ("timestamp", "source", "messageId")
DEFAULT_SOURCE = "default"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NUMBERS = {float, int, type(None)}
_TEXTS = {str, type(None)}
_LARGEST = float(np.finfo(np.float32).max)  # what the model computes with
_LONGEST_SOURCE = ANOMALIES.c.source.type.length  # type: ignore[attr-defined]
_LONGEST_ID = ANOMALIES.c.id.type.length  # type: ignore[attr-defined]
_TIME = "an ISO 8601 time with a zone, such as 2026-01-31T12:00:00Z"


class BadEventError(ValueError):
    """An event that cannot be scored; the text names the field, the value, what is accepted."""


@dataclass(frozen=True)
class Refused(DeadLetter):
    """What of a partition could not be taken, and why."""

    partition: int


class Events(NamedTuple):
    """N checked events; `letters` are those refused, `extra` counts fields that were left out."""

    partition: NDArray[np.int32]  # [N]
    source: list[str]
    time_us: NDArray[np.int64]  # [N]
    values: NDArray[np.float32]  # [N, F]; NaN: missing
    id: list[str | None]  # messageId
    letters: list[Refused]
    extra: int

    def payload(self, n: int, fields: Sequence[str]) -> bytes:
        """An event as JSON again, without the fields that were left out."""
        seconds, micro = divmod(int(self.time_us[n]), 1_000_000)
        moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=micro)
        event: dict[str, Any] = {"timestamp": moment.isoformat(), "source": self.source[n]}
        if self.id[n] is not None:
            event["messageId"] = self.id[n]
        numbers = (None if math.isnan(v) else float(f"{v:.7g}") for v in self.values[n])
        return _bytes(event | dict(zip(fields, numbers, strict=True)))


@dataclass(frozen=True)
class TelemetryReader:
    """Checks telemetry.

    Args:
        partitions: of the stream; an event in the wrong one is refused.
        extra: `ignore` (count and leave out) or `refuse` fields that the model does not have.
        ahead_s: how far in the future a timestamp may lie: clocks are never right.
        oldest_days: an older timestamp is taken for a mistake.

    Raises:
        ValueError: `extra` is neither.
    """

    partitions: int
    extra: str = "ignore"
    ahead_s: float = 300.0
    oldest_days: float = 3650.0

    def __post_init__(self) -> None:
        if self.extra not in ("ignore", "refuse"):
            raise ValueError(f"extra fields are 'ignore' or 'refuse', not {self.extra!r}")

    def read(self, entries: Sequence[Entry], fields: Sequence[str], now: float) -> Events:
        """Never raises: what is wrong with an event is told in its dead letter.

        Args:
            fields: of the model, in the order of the columns.
            now: seconds since 1970.
        """
        letters: list[Refused] = []
        events: list[Any] = []
        partition: list[int] = []
        for entry in entries:
            try:
                found = _parse(entry.payload)
            except ValueError as error:
                reason = f"the entry is no JSON: {error}"
                letters.append(Refused(reason, entry.payload, entry.partition))
                continue
            if isinstance(found, list):
                events += found
                partition += [entry.partition] * len(found)
            else:
                events.append(found)
                partition.append(entry.partition)
        columns = self._columns(events, partition, fields, now)
        if columns is None:  # something is wrong: look at each of them
            good = []
            for n, event in enumerate(events):
                try:
                    self.check(event, partition[n], fields, now)
                    good.append(n)
                except BadEventError as error:
                    letters.append(Refused(str(error), _bytes(event), partition[n]))
            partition = [partition[n] for n in good]
            columns = self._columns([events[n] for n in good], partition, fields, now)
            assert columns is not None, "what passes one by one passes together"
        return columns._replace(letters=letters)

    def _columns(
        self, events: list[Any], partition: list[int], fields: Sequence[str], now: float
    ) -> Events | None:
        """All events together; None if at least one of them is not right."""
        if not events:
            none = np.empty(0, np.int64)
            empty = np.empty((0, len(fields)), np.float32)
            return Events(none.astype(np.int32), [], none, empty, [], [], 0)
        if set(map(type, events)) != {dict}:
            return None
        known = {*fields, *RESERVED}
        extra, source, ids, time = self._extra(events, known), [], [], []
        if extra is None:
            return None
        moments = [e.get("timestamp") for e in events]
        source = [e.get("source") or DEFAULT_SOURCE for e in events]
        ids = [e.get("messageId") or None for e in events]
        if set(map(type, source)) != {str} or not set(map(type, ids)) <= _TEXTS:
            return None
        for name, at in zip(source, partition, strict=True):
            if name not in _PLACES or _PLACES[name] != (self.partitions, at):
                if not _storable(name, _LONGEST_SOURCE):
                    return None
                if partition_of(name, self.partitions) != at:
                    return None
                if len(_PLACES) > _MOST_PLACES:
                    _PLACES.clear()
                _PLACES[name] = (self.partitions, at)
        if any(i is not None and not _storable(i, _LONGEST_ID) for i in ids):
            return None
        try:
            read = datetime.fromisoformat
            time = [(read(m) - _EPOCH) // _MICROSECOND for m in moments]
            rows = _rows(events, fields)
            if not set(map(type, chain.from_iterable(rows))) <= _NUMBERS:
                return None
            values = np.array(rows, dtype=np.float64).reshape(len(events), len(fields))
        except (TypeError, ValueError, OverflowError):
            return None
        time_us = np.array(time, dtype=np.int64)
        missing = np.isnan(values)
        if time_us.max() > (now + self.ahead_s) * 1e6:
            return None
        if time_us.min() < (now - self.oldest_days * 86_400) * 1e6:
            return None
        if np.abs(values, where=~missing, out=np.zeros_like(values)).max() > _LARGEST:
            return None
        if missing.any():
            if missing.all(axis=1).any():
                return None
            if sum(map(_count_none, rows)) != sum(map(sum, missing.tolist())):
                return None  # a NaN that somebody wrote, not a null
        return Events(
            np.array(partition, dtype=np.int32),
            source,
            time_us,
            values.astype(np.float32),
            ids,
            [],
            extra,
        )

    def _extra(self, events: list[dict[str, Any]], known: set[str]) -> int | None:
        """Fields that the model does not have; None: they are refused, or are no numbers."""
        extra = 0
        for event in events:
            if not known.issuperset(event):
                if self.extra == "refuse":
                    return None
                extra += len(event.keys() - known)
        return extra

    def check(self, event: Any, partition: int, fields: Sequence[str], now: float) -> None:
        """One event by itself.

        Raises:
            BadEventError: see there.
        """
        if not isinstance(event, Mapping):
            raise BadEventError(f"an event is {_shown(event)}; it must be a flat JSON object")
        self._check_time(event.get("timestamp"), now)
        for name, longest in (("source", _LONGEST_SOURCE), ("messageId", _LONGEST_ID)):
            value = event.get(name)
            if value is None or value == "":
                continue
            if not isinstance(value, str) or not _storable(value, longest):
                raise BadEventError(
                    f"{name} is {_shown(value)}; it must be a text of at most {longest} characters "
                    "without control characters"
                )
        source = event.get("source") or DEFAULT_SOURCE
        right = partition_of(source, self.partitions)
        if right != partition:
            raise BadEventError(
                f"source is {source!r}, in partition {partition}; its partition is {right} of "
                f"{self.partitions}"
            )
        self._check_fields(event, fields)

    def _check_fields(self, event: Mapping[str, Any], fields: Sequence[str]) -> None:
        names = [n for n in event if n not in RESERVED]
        others = sorted(set(names) - set(fields))
        if others and self.extra == "refuse":
            raise BadEventError(f"fields {others} are not the model's; it has {list(fields)}")
        for name in fields:
            value = event.get(name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise BadEventError(f"{name} is {_shown(value)}; it must be a number or null")
            if not abs(value) <= _LARGEST:  # NaN compares as false
                raise BadEventError(
                    f"{name} is {_shown(value)}; it must be a finite number or null"
                )
        if all(event.get(name) is None for name in fields):
            raise BadEventError(
                f"the event has a number for none of the model's fields {list(fields)}; it has "
                f"{sorted(names)}"
            )

    def _check_time(self, value: Any, now: float) -> None:
        if not isinstance(value, str):
            raise BadEventError(f"timestamp is {_shown(value)}; it must be {_TIME}")
        try:
            moment = datetime.fromisoformat(value)
            if moment.tzinfo is None:
                raise BadEventError(
                    f"timestamp is {_shown(value)}, without a zone; it must be {_TIME}"
                )
            seconds = (moment - _EPOCH) / timedelta(seconds=1)
        except (ValueError, OverflowError) as error:
            if isinstance(error, BadEventError):
                raise
            raise BadEventError(f"timestamp is {_shown(value)}; it must be {_TIME}") from error
        if seconds > now + self.ahead_s:
            raise BadEventError(
                f"timestamp is {_shown(value)}, in the future; at most {self.ahead_s:g} s after "
                f"now ({datetime.fromtimestamp(now, UTC):%Y-%m-%dT%H:%M:%SZ}) are accepted"
            )
        if seconds < now - self.oldest_days * 86_400:
            raise BadEventError(
                f"timestamp is {_shown(value)}; at most {self.oldest_days:g} days before now are "
                "accepted"
            )


_PLACES: dict[str, tuple[int, int]] = {}  # names that were found right, with their partition
_MOST_PLACES = 200_000


def _rows(events: list[dict[str, Any]], fields: Sequence[str]) -> list[tuple[Any, ...]]:
    """The fields of each event; the usual case, that none is missing, in one call an event."""
    if len(fields) == 1:
        return [(e.get(fields[0]),) for e in events]
    try:
        return list(map(itemgetter(*fields), events))
    except KeyError:
        return [tuple(map(e.get, fields)) for e in events]


def _count_none(row: tuple[Any, ...]) -> int:
    return row.count(None)


def _parse(payload: bytes) -> Any:
    """JSON, also with the NaN and infinities of careless writers, so that they can be named."""
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        try:
            return json.loads(payload)
        except (ValueError, RecursionError):
            raise error from None


def _storable(text: str, longest: int) -> bool:
    """Without control characters, zero bytes and half characters, which databases do not take."""
    return len(text) <= longest and text.isprintable()


def _bytes(event: Any) -> bytes:
    return json.dumps(event).encode()


def _shown(value: Any) -> str:
    """A value as JSON, cut short."""
    if value is None:
        return "missing"
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "infinite"
    if isinstance(value, int) and value.bit_length() > 200:
        return f"an integer of {value.bit_length()} bits"
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
