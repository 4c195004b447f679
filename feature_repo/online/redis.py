"""Feast's Redis online store, with order and freshness kept.

Each row is compared and written by a script inside Redis, so that no other writer comes between,
and a batch of rows is one round trip.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, Literal

from feast import utils
from feast.infra.online_stores import redis
from feast.infra.online_stores.helpers import _mmh3, _redis_key
from google.protobuf.timestamp_pb2 import Timestamp  # type: ignore[import-untyped]

from feature_repo.online.forgetting import RedisForgetting
from feature_repo.online.freshness import FreshReads

# KEYS: the hash. ARGV: seconds, nanoseconds, expiry in seconds or 0, the moment's field, the
# moment, then fields and values. The stored moment is a protobuf Timestamp: field 1 seconds, field
# 2 nanoseconds, as varints of 7 bits a byte; Lua's numbers are doubles, so 28 bits and the rest
# are kept apart until the end.
_WRITE = """
local function moment(bytes)
  local parts, at = {0, 0}, 1
  while at <= #bytes do
    local field, low, high, count, byte = math.floor(bytes:byte(at) / 8), 0, 0, 0, 0
    repeat
      at = at + 1
      byte = bytes:byte(at)
      if count < 4 then low = low + byte % 128 * 2 ^ (7 * count)
      else high = high + byte % 128 * 2 ^ (7 * count - 28) end
      count = count + 1
    until byte < 128
    if count == 10 then high = high - 2 ^ 36 end
    parts[field], at = high * 2 ^ 28 + low, at + 1
  end
  return parts[1], parts[2]
end
local stored = redis.call('HGET', KEYS[1], ARGV[4])
if stored then
  local seconds, nanos = moment(stored)
  local new = tonumber(ARGV[1])
  if new < seconds or (new == seconds and tonumber(ARGV[2]) < nanos) then return 0 end
end
redis.call('HSET', KEYS[1], unpack(ARGV, 4))
if ARGV[3] ~= '0' then redis.call('EXPIRE', KEYS[1], ARGV[3]) end
return 1
"""
_TIMEOUT_S = 5  # for one answer; `socket_timeout=…` in the connection string says otherwise
_SHA = hashlib.sha1(_WRITE.encode()).hexdigest()

Row = tuple[Any, dict[str, Any], datetime, datetime | None]  # key, values, moment, created


class RedisOnlineStoreConfig(redis.RedisOnlineStoreConfig):
    """The `online_store` part of `feature_store.yaml`."""

    type: Literal["feature_repo.online.stores.RedisOnlineStore"]  # type: ignore[assignment]


class RedisOnlineStore(FreshReads, RedisForgetting, redis.RedisOnlineStore):
    """One hash a key; for production. `skip_dedup` has no effect: order is always kept."""

    @staticmethod
    def _parse_connection_string(connection_string: str) -> tuple[list[Any], dict[str, Any]]:
        """Feast's, with limits where none are given: a stuck Redis must not hold a writer for ever.

        redis-py tries each command again a few times, so that the whole takes a little longer.
        """
        nodes, parameters = redis.RedisOnlineStore._parse_connection_string(connection_string)
        limits = {"socket_timeout": _TIMEOUT_S, "socket_connect_timeout": _TIMEOUT_S}
        return nodes, {**limits, **parameters}

    def online_write_batch(
        self, config: Any, table: Any, data: list[Row], progress: Callable[[int], Any] | None
    ) -> None:
        client = self._get_client(config.online_store)
        with client.pipeline(transaction=False) as pipe:
            for command in _commands(config, table, data):
                pipe.execute_command(*command)
            pipe.execute()
        if progress:
            progress(len(data))

    async def online_write_batch_async(
        self, config: Any, table: Any, data: list[Row], progress: Callable[[int], Any] | None
    ) -> None:
        client = await self._get_client_async(config.online_store)
        async with client.pipeline(transaction=False) as pipe:
            for command in _commands(config, table, data):
                pipe.execute_command(*command)
            await pipe.execute()
        if progress:
            progress(len(data))

    def _get_features_for_entity(
        self, values: Sequence[Any], feature_view: str, requested_features: list[str]
    ) -> tuple[Any, Any]:
        """A field that is not there is left out, as Feast's other stores do; Feast makes it null.

        Then a feature that the view got after a row was written reads NOT_FOUND.
        """
        pairs = list(zip(values, requested_features, strict=True))
        here = [pair for pair in pairs if pair[0] is not None]
        if len(here) < 2 or here[-1] is not pairs[-1]:  # nothing, or not even the moment
            return None, None
        found: tuple[Any, Any] = super()._get_features_for_entity(
            [v for v, _ in here], feature_view, [n for _, n in here]
        )
        return found


def _commands(config: Any, table: Any, data: list[Row]) -> Iterator[tuple[Any, ...]]:
    """Commands that write the rows.

    A cluster's pipeline takes no EVALSHA, since each server would have to know the script; there
    its text goes along.
    """
    cluster = config.online_store.redis_type == redis.RedisType.redis_cluster
    call = ("EVAL", _WRITE) if cluster else ("EVALSHA", _SHA)
    if not cluster:
        yield ("SCRIPT LOAD", _WRITE)
    view = redis._versioned_fv_name(table, config)
    fields: dict[str, bytes] = {}
    for entity_key, values, timestamp, _ in data:
        moment = Timestamp()
        moment.FromDatetime(utils.make_tzaware(timestamp))
        row: list[Any] = [f"_ts:{view}", moment.SerializeToString()]
        for name, value in values.items():
            if name not in fields:
                fields[name] = _mmh3(f"{view}:{name}")
            row += (fields[name], value.SerializeToString())
        key = _redis_key(config.project, entity_key, config.entity_key_serialization_version)
        expiry = config.online_store.key_ttl_seconds or 0
        yield (*call, 1, key, moment.seconds, moment.nanos, expiry, *row)
