"""Features kept in this process: a catalog of items is read by every ranking, and changes slowly.

Values are as old as the last refresh; TTLs are judged at each read all the same. A refresh decodes
the whole catalog in the process that answers, so it works a little and rests a lot.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import logging
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np

from serving.features.catalog import Catalog
from serving.features.errors import FeaturesUnavailableError
from serving.features.plans import Group, Part
from serving.features.readers.reader import Lookup, Reader
from serving.features.vectors import MISSING, Block

log = logging.getLogger(__name__)

_DTYPES = {"Float64": "f8", "Float32": "f4", "Int64": "i8", "Int32": "i4", "Bool": "?"}


Values = np.ndarray[Any, Any]


class Piece(NamedTuple):
    """Some keys of a table, as arrays; a column `view:feature` comes with whether it is whole."""

    keys: list[Any]
    times: dict[str, Values]  # view → its rows' moments
    columns: dict[str, tuple[Values, bool]]

    @classmethod
    def of(cls, group: Group, keys: list[Any], blocks: list[Block]) -> Piece:
        times: dict[str, Values] = {}
        columns: dict[str, tuple[Values, bool]] = {}
        for part, block in zip(group.parts, blocks, strict=True):
            times[part.view.name] = _objects(block.times)
            for feature, column in zip(part.features, block.columns, strict=True):
                whole = not any(v is None or v is MISSING for v in column)
                dtype = _DTYPES.get(part.view.features[feature])
                array = np.array(column, dtype) if whole and dtype else _objects(column)
                columns[f"{part.view.name}:{feature}"] = (array, whole)
        return cls(keys, times, columns)


class Table:
    """All features of one entity's views, as arrays with one place a key."""

    def __init__(self, group: Group, pieces: list[Piece]) -> None:
        pieces = pieces or [Piece.of(group, [], [_nothing(part) for part in group.parts])]
        self.place = {key: n for n, key in enumerate(key for p in pieces for key in p.keys)}
        self.times = {
            view: np.concatenate([p.times[view] for p in pieces]) for view in pieces[0].times
        }
        self.columns = {
            name: (
                np.concatenate([p.columns[name][0] for p in pieces]),
                all(p.columns[name][1] for p in pieces),
            )
            for name in pieces[0].columns
        }

    def block(self, part: Part, rows: Values) -> Block:
        name = part.view.name
        times: list[datetime | None] = self.times[name].take(rows).tolist()
        chosen = [self.columns[f"{name}:{feature}"] for feature in part.features]
        return Block(
            times, [array.take(rows).tolist() for array, _ in chosen], [w for _, w in chosen]
        )


class Memory:
    """Keeps the views of some entities, and reads them again in the background.

    What is not in memory is read from the store and, if it is there, kept from the next refresh on.

    Args:
        entities: names of entities whose views are kept.
        refresh_s: seconds between refreshes.
        max_keys: keys kept for an entity at most.
        read_keys: keys read at once; others are answered between two such reads.
        share: of the time that a refresh takes, at most this much is work; the rest is left to
            answers. The first reading, before there are any, does not wait.
    """

    def __init__(
        self,
        entities: Sequence[str],
        refresh_s: float,
        max_keys: int,
        read_keys: int,
        share: float,
    ) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"share is {share}; it must be above 0 and at most 1")
        self.entities = tuple(entities)
        self.refresh_s = refresh_s
        self.max_keys = max_keys
        self.read_keys = read_keys
        self.share = share
        self.refresh_failures = 0
        self._tables: dict[str, Table] = {}
        self._groups: dict[str, Group] = {}
        self._asked: dict[str, dict[Any, None]] = {}
        self._reader: Reader | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def kept(self) -> dict[str, int]:
        """Keys in memory, by entity."""
        return {entity: len(table.place) for entity, table in self._tables.items()}

    async def open(self, reader: Reader, catalog: Catalog) -> None:
        self._reader = reader
        for entity in self.entities:
            views = [v for v in catalog.views.values() if v.entity == entity]
            if views:
                parts = tuple(Part(view, tuple(view.features)) for view in views)
                group = Group(views[0].key, views[0].key_type, entity, parts)
                group.prepared = reader.prepare(group)
                self._groups[entity] = group
                self._asked[entity] = {}
        await self.refresh()
        self._task = asyncio.create_task(self._refresh_forever())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def holds(self, group: Group) -> bool:
        """Whether something of the group's entity is in memory."""
        return group.entity in self._tables

    def take(self, group: Group, keys: Sequence[Any]) -> tuple[list[Block], list[Any]]:
        """The group's blocks for these rows, and the keys that are lacking.

        Rows of lacking keys hold some other key's values until `fill`.
        """
        table = self._tables[group.entity]
        get = table.place.get
        places = [get(key, -1) for key in keys]
        lacking = [key for key, n in zip(keys, places, strict=True) if n < 0]
        if len(lacking) == len(keys):
            return [], lacking
        rows = np.array(places)
        return [table.block(part, rows) for part in group.parts], lacking

    def columns(self, names: Sequence[str]) -> tuple[list[Any], list[list[Any]]]:
        """All keys in memory, and a column of values for each `view:feature` name of one entity.

        What was never written is None. TTLs are not judged: this is for views of a catalog.
        """
        for table in self._tables.values():
            if all(name in table.columns for name in names):
                read = [table.columns[name][0].tolist() for name in names]
                plain = [[None if v is MISSING else v for v in column] for column in read]
                return list(table.place), plain
        return [], [[] for _ in names]

    def newest(self, view: str, since: datetime, k: int) -> list[tuple[Any, datetime]]:
        """The `k` keys with the newest rows of a view, not older than `since`."""
        for table in self._tables.values():
            if view in table.times:
                moments = zip(table.place, table.times[view].tolist(), strict=True)
                young = [(key, t) for key, t in moments if t is not None and t >= since]
                return heapq.nlargest(k, young, key=lambda pair: pair[1])
        return []

    def fill(
        self, blocks: list[Block], keys: Sequence[Any], lookup: Lookup, read: list[Block]
    ) -> list[Block]:
        """Put what was read for lacking keys into their rows."""
        place = {key: n for n, key in enumerate(lookup.keys)}
        holes = [(row, place[key]) for row, key in enumerate(keys) if key in place]
        filled = []
        for block, found in zip(blocks, read, strict=True):
            for row, n in holes:
                block.times[row] = found.times[n]
                for column, source in zip(block.columns, found.columns, strict=True):
                    column[row] = source[n]
            whole = [a and b for a, b in zip(block.whole, found.whole, strict=True)]
            filled.append(Block(block.times, block.columns, whole))
        return filled

    def remember(self, lookup: Lookup, read: list[Block]) -> None:
        """Keep keys that were found in the store from the next refresh on."""
        asked = self._asked.get(lookup.group.entity)
        if asked is None:
            return
        known = self.kept.get(lookup.group.entity, 0)
        for n, key in enumerate(lookup.keys):
            if known + len(asked) >= self.max_keys:
                return
            if any(block.times[n] is not None for block in read):
                asked[key] = None

    async def refresh(self) -> None:
        """Read everything again; what cannot be read stays as it is."""
        for entity, group in self._groups.items():
            try:
                self._tables[entity] = await self._load(entity, group)
            except FeaturesUnavailableError as error:
                self.refresh_failures += 1
                log.warning("features of %s were not refreshed: %s", entity, error)

    async def _load(self, entity: str, group: Group) -> Table:
        assert self._reader is not None, "open first"
        table = self._tables.get(entity)
        if table is None:
            keys = await self._reader.keys(group, self.max_keys)
        else:
            keys = list(table.place)
        asked, self._asked[entity] = self._asked[entity], {}
        keys = list(dict.fromkeys([*keys, *asked]))[: self.max_keys]
        try:
            return await self._read(group, keys, self.share if table else 1.0)
        except FeaturesUnavailableError:
            self._asked[entity] |= asked
            raise

    async def _read(self, group: Group, keys: list[Any], share: float) -> Table:
        assert self._reader is not None, "open first"
        pieces = []
        for first in range(0, len(keys), self.read_keys):
            started = time.perf_counter()
            some = keys[first : first + self.read_keys]
            (read,) = await self._reader.read([Lookup(group, some)])
            here = [n for n in range(len(some)) if any(b.times[n] is not None for b in read)]
            if len(here) < len(some):
                read = [block.spread(here) for block in read]
            pieces.append(Piece.of(group, [some[n] for n in here], read))
            worked = time.perf_counter() - started
            await asyncio.sleep(worked * (1 - share) / share)
        return Table(group, pieces)

    async def _refresh_forever(self) -> None:
        while True:
            await asyncio.sleep(self.refresh_s)
            try:
                await self.refresh()
            except Exception:  # a defect must not end the refreshes
                self.refresh_failures += 1
                log.exception("features were not refreshed")


def _nothing(part: Part) -> Block:
    """No row."""
    return Block([], [[] for _ in part.features], [True] * len(part.features))


def _objects(values: Sequence[Any]) -> Values:
    """An array of Python objects, lists among them as they are."""
    array = np.empty(len(values), dtype=object)
    for n, value in enumerate(values):
        array[n] = value
    return array
