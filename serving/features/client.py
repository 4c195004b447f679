"""The feature client: values of any views for any keys, asynchronously.

client = FeatureClient(folder, readers, kinds, memory)
await client.open()
vectors = await client.read(client.service("recommender_v1"), {"user_id": ["u1", "u2"]})
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from serving.features.catalog import Catalog, ViewInfo, open_catalog
from serving.features.memory import Memory
from serving.features.plans import Group, Plan, make_plan
from serving.features.readers.reader import Lookup, Reader
from serving.features.vectors import Block, Judged, Vectors

_PLANS = 1024  # sets of names remembered; the same few are asked for again and again


class MakeReader(Protocol):
    """A reader's class with its settings, still without the store."""

    def __call__(self, *, store: Any) -> Reader: ...


class FeatureClient:
    """Reads features of one store.

    Definitions are read at once, values only between `open` and `close`.

    Args:
        folder: of the feature store.
        readers: by name; `sdk` reads what `kinds` does not name.
        kinds: `online_store.type` of `feature_store.yaml`, with `/redis_type` after it where there
            is one → the name of its reader.
        memory: what is kept in this process; None: nothing.

    Raises:
        StoreError: no store in the folder.
    """

    def __init__(
        self,
        folder: str | Path,
        readers: Mapping[str, MakeReader],
        kinds: Mapping[str, str],
        memory: Memory | None = None,
    ) -> None:
        self.folder = Path(folder)
        store, self._catalog = open_catalog(self.folder)
        kind = _kind(store.config.online_store)
        self.reader: Reader = readers[kinds.get(kind, "sdk")](store=store)
        self.memory = memory
        self._plans: dict[tuple[str, ...], Plan] = {}

    @property
    def views(self) -> Mapping[str, ViewInfo]:
        """Every view, on-demand views among them."""
        return self._catalog.views

    @property
    def catalog(self) -> Catalog:
        return self._catalog

    def service(self, name: str) -> list[str]:
        """The `view:feature` names of a feature service.

        Raises:
            UnknownNameError: no such service (a StoreError; it has the near matches).
        """
        return self._catalog.service(name)

    async def open(self) -> None:
        """Connect and load what is kept in memory; a store that is away is tried again later."""
        await self.reader.open()
        if self.memory is not None:
            await self.memory.open(self.reader, self._catalog)

    async def close(self) -> None:
        if self.memory is not None:
            await self.memory.close()
        await self.reader.close()

    async def read(self, wanted: Sequence[str], keys: Mapping[str, Sequence[Any]]) -> Vectors:
        """Values of `view:feature` names.

        Args:
            keys: join key → one value a row; also the columns that an on-demand view takes.

        Raises:
            UnknownNameError: an unknown view or feature, with near matches.
            KeyColumnError: a key column is missing or has values of another type.
            FeaturesUnavailableError: the store does not answer in time.
        """
        plan = self._plan(tuple(wanted))
        if not plan.rows(keys):
            empty: list[Any] = [[] for _ in plan.names]
            return Vectors(list(plan.names), empty, empty, empty)
        blocks = await self._blocks(plan.groups, keys)
        now = datetime.now(UTC)
        judged = [
            [
                Judged(block, now - part.view.ttl if part.view.ttl else None)
                for part, block in zip(group.parts, found, strict=True)
            ]
            for group, found in zip(plan.groups, blocks, strict=True)
        ]
        columns = [judged[group][part].column(feature) for group, part, feature in plan.places]
        if plan.computed:
            columns = plan.complete(columns, keys)
        values, statuses, times = zip(*columns, strict=True)
        return Vectors(list(plan.names), list(values), list(statuses), list(times))

    def _plan(self, names: tuple[str, ...]) -> Plan:
        plan = self._plans.get(names)
        if plan is None:
            plan = make_plan(self._catalog, names)
            for group in plan.groups:
                group.prepared = self.reader.prepare(group)
            if len(self._plans) >= _PLANS:
                self._plans.clear()
            self._plans[names] = plan
        return plan

    async def _blocks(
        self, groups: Sequence[Group], keys: Mapping[str, Sequence[Any]]
    ) -> list[list[Block]]:
        """Each group's blocks, in the order of the rows: from memory, and what it lacks in one
        read of all groups together."""
        found: list[list[Block]] = [[] for _ in groups]
        lookups: list[tuple[int, Lookup]] = []
        for n, group in enumerate(groups):
            asked = keys[group.key]
            lacking: Sequence[Any] = asked
            if self.memory is not None and self.memory.holds(group):
                found[n], lacking = self.memory.take(group, asked)
            if lacking:
                lookups.append((n, Lookup(group, list(dict.fromkeys(lacking)))))
        if not lookups:
            return found
        read = await self.reader.read([lookup for _, lookup in lookups])
        for (n, lookup), blocks in zip(lookups, read, strict=True):
            asked = keys[lookup.group.key]
            if self.memory is not None:
                self.memory.remember(lookup, blocks)
            if found[n]:
                assert self.memory is not None, "nothing else can have found it"
                found[n] = self.memory.fill(found[n], asked, lookup, blocks)
            elif len(lookup.keys) == len(asked):
                found[n] = blocks
            else:
                place = {key: row for row, key in enumerate(lookup.keys)}
                rows = [place[key] for key in asked]
                found[n] = [block.spread(rows) for block in blocks]
        return found


def _kind(online_store: Any) -> str:
    """The store's type; `type/cluster` and the like where Redis runs in another topology."""
    topology = getattr(online_store, "redis_type", None)
    value = getattr(topology, "value", topology)
    return f"{online_store.type}/{value}" if value else str(online_store.type)
