"""Reads Feast's Redis online store: all views of a key by one HMGET, all keys in one round trip.

Feast keeps one hash an entity key; each feature is a field named by a hash of `view:feature`, and
`_ts:view` holds the row's moment. Commands are written and replies read on redis-py's connections
without its client's general machinery, which takes longer than Redis itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

import mmh3
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from serving.features.entity_keys import EntityKeys
from serving.features.errors import FeaturesUnavailableError
from serving.features.plans import Group
from serving.features.readers.reader import Lookup
from serving.features.vectors import Block
from serving.features.wire import Decoder, Moments, decode_block, decoder

_SCAN = 1000  # keys that Redis looks at in one step of a scan
_SPECIAL = b"*?[]^\\-"  # in a pattern


class Slice(NamedTuple):
    """One view's fields within a reply."""

    first: int
    moment: int  # where its row's moment is; its features lie before
    decoders: tuple[Decoder, ...]


class Command(NamedTuple):
    """An HMGET without its key, in Redis' wire format, and how to read its reply."""

    head: bytes
    keys: EntityKeys
    tail: bytes
    slices: tuple[Slice, ...]


class RedisReader:
    """One Redis server, or the master behind one address.

    Args:
        store: Feast's.
        timeout_s: from the call to the values; waiting for a connection and connecting included.
        connections: at most; more reads at once wait for one of them.
    """

    def __init__(self, store: Any, timeout_s: float, connections: int) -> None:
        from feast.infra.online_stores.redis import RedisOnlineStore

        self.timeout_s = timeout_s
        self.project = str(store.config.project).encode()
        nodes, options = RedisOnlineStore._parse_connection_string(
            store.config.online_store.connection_string
        )
        self.address = f"{nodes[0]['host']}:{nodes[0]['port']}"
        client = Redis(
            host=nodes[0]["host"],
            port=int(nodes[0]["port"]),
            **{**options, "retry": Retry(NoBackoff(), 0), "protocol": 2},
        )
        self._pool: Any = client.connection_pool
        self._slots = asyncio.Semaphore(connections)
        self._free: list[Any] = []
        self._moments = Moments()

    async def open(self) -> None:
        """Nothing: connections are made when they are needed, so that Redis may come later."""

    def prepare(self, group: Group) -> Command:
        fields: list[bytes] = []
        slices = []
        for part in group.parts:
            name = part.view.name
            first = len(fields)
            fields += [_field(f"{name}:{feature}") for feature in part.features]
            slices.append(
                Slice(
                    first,
                    len(fields),
                    tuple(decoder(part.view.features[f]) for f in part.features),
                )
            )
            fields.append(f"_ts:{name}".encode())
        return Command(
            b"*%d\r\n$5\r\nHMGET\r\n$" % (2 + len(fields)),
            EntityKeys(group.key, group.key_type),
            b"".join(b"\r\n$%d\r\n%b" % (len(f), f) for f in fields) + b"\r\n",
            tuple(slices),
        )

    async def read(self, lookups: Sequence[Lookup]) -> list[list[Block]]:
        written: list[bytes] = []
        for lookup in lookups:
            command: Command = lookup.group.prepared
            for value in lookup.keys:
                key = command.keys.encode(value) + self.project
                written.append(b"%b%d\r\n%b%b" % (command.head, len(key), key, command.tail))
        replies = await self._ask(b"".join(written), len(written))
        found = []
        first = 0
        for lookup in lookups:
            last = first + len(lookup.keys)
            found.append(self._blocks(lookup.group.prepared, replies[first:last]))
            first = last
        return found

    async def keys(self, group: Group, limit: int) -> list[Any]:
        command: Command = group.prepared
        pattern = b"".join(
            b"\\%c" % byte if byte in _SPECIAL else b"%c" % byte for byte in command.keys.prefix
        )
        packed = b"$5\r\nMATCH\r\n$%d\r\n%b*\r\n$5\r\nCOUNT\r\n$%d\r\n%d\r\n" % (
            len(pattern) + 1, pattern, len(str(_SCAN)), _SCAN,
        )  # fmt: skip
        found: dict[Any, None] = {}
        cursor = b"0"
        while len(found) < limit:
            step = b"*6\r\n$4\r\nSCAN\r\n$%d\r\n%b\r\n%b" % (len(cursor), cursor, packed)
            (reply,) = await self._ask(step, 1)
            cursor = reply[0]
            for key in reply[1]:
                if key.endswith(self.project):
                    found[command.keys.decode(key)] = None
            if cursor == b"0":
                break
        return list(found)[:limit]

    async def close(self) -> None:
        free, self._free = self._free, []
        for connection in free:
            await connection.disconnect(nowait=True)

    async def _ask(self, command: bytes, replies: int) -> list[Any]:
        try:
            async with asyncio.timeout(self.timeout_s), self._slots:
                return await self._exchange(command, replies)
        except TimeoutError as error:
            raise FeaturesUnavailableError(
                f"Redis at {self.address} did not answer in {self.timeout_s} s"
            ) from error
        except (RedisError, OSError) as error:
            raise FeaturesUnavailableError(f"Redis at {self.address} failed: {error}") from error

    async def _exchange(self, command: bytes, replies: int) -> list[Any]:
        while self._free:
            connection = self._free.pop()
            try:
                return await self._use(connection, command, replies)
            except RedisConnectionError:  # closed while it lay idle: Redis was restarted, say
                continue
        return await self._use(self._pool.make_connection(), command, replies)

    async def _use(self, connection: Any, command: bytes, replies: int) -> list[Any]:
        try:
            if not connection.is_connected:
                await connection.connect()
            await connection.send_packed_command(command, check_health=False)
            read = connection.read_response
            found = [await read(disable_decoding=True) for _ in range(replies)]
        except BaseException:  # replies may be under way: nobody else may read them
            await connection.disconnect(nowait=True)
            raise
        self._free.append(connection)
        return found

    def _blocks(self, command: Command, replies: list[list[bytes | None]]) -> list[Block]:
        columns = list(zip(*replies, strict=True))
        moment = self._moments.__getitem__
        blocks = []
        for first, last, decoders in command.slices:
            times = list(map(moment, columns[last]))
            blocks.append(decode_block(times, decoders, columns[first:last]))
        return blocks


def _field(name: str) -> bytes:
    """The hash field of a feature, as Feast names it: murmur3, 32 bits, little-endian."""
    return mmh3.hash(name, signed=False).to_bytes(4, "little")
