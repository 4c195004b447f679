"""The feature client: values of any views for any keys, asynchronously.

client = FeatureClient(folder, readers, ...)
await client.open()
vectors = await client.read(client.service("recommender_v1"), {"user_id": ["u1", "u2"]})
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from serving.features.catalog import ViewInfo, open_catalog
from serving.features.questions import Lookup, Part, check_keys, parts_of, split_name
from serving.features.readers.reader import Reader
from serving.features.vectors import Block, Vectors, column_of


class MakeReader(Protocol):
    """A reader's class with its settings, still without the store."""

    def __call__(self, *, store: Any) -> Reader: ...


class FeatureClient:
    """Reads features of one store.

    Definitions are read at once, values only between `open` and `close`.

    Args:
        folder: of the feature store.
        readers: `online_store.type` of `feature_store.yaml` → what reads such a store.
        any_reader: what reads every other kind of store.

    Raises:
        StoreError: no store in the folder.
    """

    def __init__(
        self, folder: str | Path, readers: Mapping[str, MakeReader], any_reader: MakeReader
    ) -> None:
        self.folder = Path(folder)
        self._store, self._catalog = open_catalog(self.folder)
        kind = str(self._store.config.online_store.type)
        self._reader = readers.get(kind, any_reader)(store=self._store)

    @property
    def views(self) -> Mapping[str, ViewInfo]:
        """Every view, on-demand views among them."""
        return self._catalog.views

    def service(self, name: str) -> list[str]:
        """The `view:feature` names of a feature service.

        Raises:
            UnknownNameError: no such service (a StoreError; it has the near matches).
        """
        return self._catalog.service(name)

    async def open(self) -> None:
        await self._reader.open()

    async def close(self) -> None:
        await self._reader.close()

    async def read(self, wanted: Sequence[str], keys: Mapping[str, Sequence[Any]]) -> Vectors:
        """Values of `view:feature` names.

        Args:
            keys: join key → one value a row; also the columns that an on-demand view takes.

        Raises:
            UnknownNameError: an unknown view or feature, with near matches.
            KeyColumnError: a key column is missing or has values of another type.
            FeaturesUnavailableError: the store does not answer in time.
        """
        parts = parts_of(self._catalog, wanted)
        rows = check_keys(parts, keys)
        blocks = await self._blocks(parts, keys) if rows else {}
        now = datetime.now(UTC)
        values: list[list[Any]] = []
        statuses: list[list[str]] = []
        times: list[list[datetime | None]] = []
        for name in wanted:
            view_name, feature = split_name(name)
            if not rows:
                values.append([])
                statuses.append([])
                times.append([])
                continue
            part, block = blocks[view_name]
            cutoff = now - part.view.ttl if part.view.ttl else None
            column, status = column_of(block, part.features.index(feature), cutoff)
            values.append(column)
            statuses.append(status)
            times.append(list(block.times))
        return Vectors(list(wanted), values, statuses, times)

    async def _blocks(
        self, parts: Sequence[Part], keys: Mapping[str, Sequence[Any]]
    ) -> dict[str, tuple[Part, Block]]:
        by_key: dict[str, list[Part]] = {}
        for part in parts:
            by_key.setdefault(part.view.key, []).append(part)
        lookups = [
            Lookup(key, same[0].view.key_type, list(dict.fromkeys(keys[key])), tuple(same))
            for key, same in by_key.items()
        ]
        found: dict[str, tuple[Part, Block]] = {}
        for lookup, blocks in zip(lookups, await self._reader.read(lookups), strict=True):
            place = {value: n for n, value in enumerate(lookup.values)}
            rows = [place[value] for value in keys[lookup.key]]
            for part, block in zip(lookup.parts, blocks, strict=True):
                found[part.view.name] = (part, spread(block, rows))
        return found


def spread(block: Block, rows: Sequence[int]) -> Block:
    """Rows of distinct keys → one row for each row asked for."""
    if list(rows) == list(range(len(block.times))):
        return block
    return Block(
        [block.times[r] for r in rows],
        [[column[r] for r in rows] for column in block.columns],
        block.whole,
    )
