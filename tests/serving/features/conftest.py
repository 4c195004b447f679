"""What the feature client's tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.serving.features.redis_server import RedisServer


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.go_on()
    server.kill()
