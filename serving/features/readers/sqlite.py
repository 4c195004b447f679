"""Reads our SQLite online store: one SELECT for all views of an entity, in a thread.

Feast keeps one table a view with one row a key and feature.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from serving.features.entity_keys import EntityKeys
from serving.features.errors import FeaturesUnavailableError
from serving.features.plans import Group
from serving.features.readers.reader import Lookup
from serving.features.vectors import Block
from serving.features.wire import Decoder, decode_block, decoder

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_VARIABLES = 30_000  # in one statement; SQLite's limit is 32,766


class Prepared(NamedTuple):
    """A group's SELECT, with `{keys}` where the keys' placeholders go."""

    keys: EntityKeys
    statement: str
    places: dict[tuple[int, str], int]  # (part, feature) → column
    decoders: tuple[tuple[Decoder, ...], ...]
    tables: tuple[str, ...]


class SqliteReader:
    """One file.

    Args:
        store: Feast's.
        timeout_s: from the call to the values; a read that takes longer is interrupted.
    """

    def __init__(self, store: Any, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.project = str(store.config.project)
        self.path = Path(store.config.online_store.path)
        self._thread = ThreadPoolExecutor(1, "features")
        self._connection: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Nothing: the file is opened at the first read."""

    def prepare(self, group: Group) -> Prepared:
        places: dict[tuple[int, str], int] = {}
        selects, tables = [], []
        for n, part in enumerate(group.parts):
            for feature in part.features:
                places[n, feature] = len(places)
            table = '"' + f"{self.project}_{part.view.name}".replace('"', '""') + '"'
            names = ", ".join("'" + f.replace("'", "''") + "'" for f in part.features)
            selects.append(
                f"SELECT {n}, entity_key, feature_name, value, event_ts FROM {table} "
                f"WHERE entity_key IN ({{keys}}) AND feature_name IN ({names})"
            )
            tables.append(table)
        decoders = tuple(
            tuple(decoder(part.view.features[f]) for f in part.features) for part in group.parts
        )
        keys = EntityKeys(group.key, group.key_type)
        return Prepared(keys, " UNION ALL ".join(selects), places, decoders, tuple(tables))

    async def read(self, lookups: Sequence[Lookup]) -> list[list[Block]]:
        found: list[list[Block]] = await self._run(
            lambda: [self._read(lookup.group.prepared, lookup.keys) for lookup in lookups]
        )
        return found

    async def keys(self, group: Group, limit: int) -> list[Any]:
        prepared: Prepared = group.prepared
        union = " UNION ".join(f"SELECT entity_key FROM {table}" for table in prepared.tables)
        rows: list[tuple[bytes]] = await self._run(
            lambda: self._open().execute(f"{union} LIMIT ?", (limit,)).fetchall()
        )
        return [prepared.keys.decode(key) for (key,) in rows]

    async def close(self) -> None:
        if self._connection is not None:
            self._thread.submit(self._connection.close)
        self._thread.shutdown(wait=False)

    async def _run(self, function: Any) -> Any:
        call = asyncio.get_running_loop().run_in_executor(self._thread, function)
        try:
            async with asyncio.timeout(self.timeout_s):
                return await call
        except TimeoutError as error:
            if self._connection is not None:
                self._connection.interrupt()
            raise FeaturesUnavailableError(
                f"{self.path} did not answer in {self.timeout_s} s"
            ) from error
        except sqlite3.Error as error:
            raise FeaturesUnavailableError(f"{self.path}: {error}") from error

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = sqlite3.connect(
                f"file:{self.path}?mode=rw", uri=True, timeout=self.timeout_s
            )
            self._connection.execute("PRAGMA query_only = 1")
        return self._connection

    def _read(self, prepared: Prepared, keys: Sequence[Any]) -> list[Block]:
        row = {prepared.keys.encode(key): n for n, key in enumerate(keys)}
        raw: list[list[bytes | None]] = [[None] * len(row) for _ in prepared.places]
        times: list[list[datetime | None]] = [[None] * len(row) for _ in prepared.decoders]
        moments: dict[float, datetime] = {}
        names = list(row)
        connection, places = self._open(), prepared.places
        for first in range(0, len(names), _VARIABLES):
            some = names[first : first + _VARIABLES]
            marks = ",".join(f"?{n + 1}" for n in range(len(some)))
            for part, key, feature, value, seconds in connection.execute(
                prepared.statement.replace("{keys}", marks), some
            ):
                n = row[key]
                raw[places[part, feature]][n] = value
                moment = moments.get(seconds)
                if moment is None:
                    moment = moments[seconds] = _moment(seconds)
                times[part][n] = moment
        blocks, start = [], 0
        for part, decoders in enumerate(prepared.decoders):
            last = start + len(decoders)
            blocks.append(decode_block(times[part], decoders, raw[start:last]))
            start = last
        return blocks


def _moment(seconds: float) -> datetime:
    return _EPOCH + timedelta(microseconds=round(seconds * 1e6))
