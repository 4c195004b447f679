"""An online store that is away or stuck: said in a line, with the place, not as a traceback."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis.exceptions import RedisError

from feature_repo.store import StoreError


class OnlineStoreError(StoreError):
    """The online store did not answer, or did not take what was written."""

    exit_code = 69  # EX_UNAVAILABLE


@contextmanager
def outages_told(store: Any, advice: str) -> Iterator[None]:
    """Turn what an online store's own client raises into an `OnlineStoreError`.

    Args:
        store: Feast's.
        advice: what is safe, and what to do once the store is back.
    """
    try:
        yield
    except (RedisError, sqlite3.Error, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise OnlineStoreError(f"{place(store.config.online_store)}: {reason}; {advice}") from error


def place(config: Any) -> str:
    """Where an online store is, without its password."""
    servers = getattr(config, "connection_string", None)
    if servers is None:
        return f"online store {getattr(config, 'path', config.type)}"
    return f"Redis at {','.join(p for p in servers.split(',') if '=' not in p)}"
