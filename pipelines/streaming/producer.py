"""Send events of the warehouse to a stream, at a chosen rate."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from pipelines.streaming.events import message
from pipelines.streaming.source import Source

_AT_ONCE = 500  # messages in one round trip, where the rate does not ask for fewer


class NoEventsError(FileNotFoundError):
    """A warehouse or a day without events."""

    exit_code = 66  # EX_NOINPUT


def read_day(warehouse: Path, day: str | None, limit: int | None) -> list[dict[str, Any]]:
    """A day's events in the order in which they happened.

    Raises:
        NoEventsError: there are none; the message names the days that there are.
    """
    folders = {p.name.removeprefix("date="): p for p in (warehouse / "events").glob("date=*")}
    if not folders:
        raise NoEventsError(
            f"{warehouse / 'events'}: no events; fill the warehouse first, for example with "
            "`python scripts/simulate.py size=small`"
        )
    chosen = max(folders) if day is None else str(day)
    if chosen not in folders:
        raise NoEventsError(
            f"no events of day={chosen}; there are {min(folders)} to {max(folders)}"
        )
    frame = pl.read_parquet(folders[chosen] / "*.parquet", hive_partitioning=False)
    return frame.sort("timestamp", "message_id").head(limit or len(frame)).to_dicts()


def messages(rows: Sequence[dict[str, Any]], now: bool) -> Iterator[dict[str, Any]]:
    """Segment messages; `now` gives them the time at which they are asked for, and new ids."""
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
    source: Source, rows: Sequence[dict[str, Any]], rate: float | None, per_entry: int, now: bool
) -> float:
    """Send all rows; returns the rate reached, in events a second."""
    started = time.monotonic()
    step = _AT_ONCE if rate is None else max(1, min(_AT_ONCE, round(rate / 50)))
    waiting = messages(rows, now)
    sent = 0
    while sent < len(rows):
        found = [m for m, _ in zip(waiting, range(step * per_entry), strict=False)]
        entries = [found[n : n + per_entry] for n in range(0, len(found), per_entry)]
        await source.send([json.dumps(e if per_entry > 1 else e[0]).encode() for e in entries])
        sent += len(found)
        if rate is not None:
            await asyncio.sleep(max(0.0, started + sent / rate - time.monotonic()))
    return sent / (time.monotonic() - started)
