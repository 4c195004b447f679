"""Send a day of a warehouse table to a stream, at a chosen rate."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import time
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from pipelines.streaming.events import message
from pipelines.streaming.source import BrokerError, StreamFullError

log = logging.getLogger(__name__)

_FULL_S = 0.5  # wait before the next try where the stream is full
_AWAY_S = 2.0  # the same where the broker is away
_AT_ONCE = 500  # messages in one round trip, where the rate does not ask for fewer


class NoEventsError(FileNotFoundError):
    """A warehouse or a day without events."""

    exit_code = 66  # EX_NOINPUT


class Sink(Protocol):
    """The part of a source, or of a broker of partitions, that takes messages."""

    async def send(self, payloads: Sequence[bytes]) -> None: ...


class Days(Protocol):
    """A table of the warehouse, and what its rows are as messages."""

    def read(self, warehouse: Path, day: str | None, limit: int | None) -> list[dict[str, Any]]:
        """A day's rows in the order in which they happened; None: the newest day.

        Raises:
            NoEventsError: there are none; the message names the days that there are.
        """
        ...

    def messages(self, rows: Sequence[dict[str, Any]], now: bool) -> Iterator[dict[str, Any]]:
        """One a row; `now` gives them the time at which they are asked for."""
        ...


def read_day(
    warehouse: Path, table: str, order: Sequence[str], day: str | None, limit: int | None
) -> list[dict[str, Any]]:
    """A day of any table; see `Days.read`."""
    folders = {p.name.removeprefix("date="): p for p in (warehouse / table).glob("date=*")}
    if not folders:
        raise NoEventsError(
            f"{warehouse / table}: no {table}; fill the warehouse first, for example with "
            "`python scripts/simulate.py size=small`"
        )
    chosen = max(folders) if day is None else str(day)
    if chosen not in folders:
        raise NoEventsError(
            f"no {table} of day={chosen}; there are {min(folders)} to {max(folders)}"
        )
    files = sorted(folders[chosen].glob("*.parquet"))
    # What streams have landed there may have other columns.
    parts = [pl.read_parquet(file, hive_partitioning=False) for file in files]
    frame = pl.concat(parts, how="diagonal_relaxed")
    return frame.sort(order).head(limit or len(frame)).to_dicts()


class EventDays:
    """Segment messages; with `now` they get new ids too."""

    def read(self, warehouse: Path, day: str | None, limit: int | None) -> list[dict[str, Any]]:
        return read_day(warehouse, "events", ["timestamp", "message_id"], day, limit)

    def messages(self, rows: Sequence[dict[str, Any]], now: bool) -> Iterator[dict[str, Any]]:
        run = uuid.uuid4().hex[:8]
        for row in rows:
            if now:
                moment = datetime.now(UTC)
                row = row | {
                    "message_id": f"{row['message_id']}-{run}",
                    "timestamp": moment,
                    "received_at": moment,
                }
            yield message(row)


async def produce(
    source: Sink,
    days: Days,
    rows: Sequence[dict[str, Any]],
    rate: float | None,
    per_entry: int,
    now: bool,
) -> float:
    """Send all rows, waiting where the stream is full; returns the rate reached, in events/s.

    A broker that goes away is waited for: what may have arrived before the connection broke is sent
    again with the same ids and times, which consumers take once.

    Raises:
        BrokerError: the broker does not answer the first time.
    """
    started = time.monotonic()
    step = _AT_ONCE if rate is None else max(1, min(_AT_ONCE, round(rate / 50)))
    waiting = days.messages(rows, now)
    sent = 0
    while sent < len(rows):
        found = list(itertools.islice(waiting, step * per_entry))
        entries = [found[n : n + per_entry] for n in range(0, len(found), per_entry)]
        payloads = [json.dumps(e if per_entry > 1 else e[0]).encode() for e in entries]
        while True:
            try:
                await source.send(payloads)
                break
            except StreamFullError as error:
                log.warning("%s", error)
                await asyncio.sleep(_FULL_S)
            except BrokerError as error:
                if not sent:  # nobody has ever answered there: a wrong address, most likely
                    raise
                log.warning("after %d of %d events, waiting: %s", sent, len(rows), error)
                await asyncio.sleep(_AWAY_S)
        sent += len(found)
        if rate is not None:
            await asyncio.sleep(max(0.0, started + sent / rate - time.monotonic()))
    return sent / (time.monotonic() - started)
