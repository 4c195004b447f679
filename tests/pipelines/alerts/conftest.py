"""A store, a clock that tests turn, and the parts of the alerts put together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pipelines.anomalies.store import connect
from tests.pipelines.alerts.house import House
from tests.pipelines.alerts.servers import HttpSink, SmtpSink


@pytest.fixture
def store(tmp_path: Path) -> Iterator[sa.Engine]:
    engine = connect(f"sqlite:///{tmp_path}/store.db")
    yield engine
    engine.dispose()


@pytest.fixture
def house(store: sa.Engine) -> House:
    return House(store)


@pytest.fixture
def make_house(store: sa.Engine) -> Any:
    return lambda **settings: House(store, **settings)


@pytest.fixture
def smtp() -> Iterator[SmtpSink]:
    sink = SmtpSink()
    yield sink
    sink.close()


@pytest.fixture
def http() -> Iterator[HttpSink]:
    sink = HttpSink()
    yield sink
    sink.close()
