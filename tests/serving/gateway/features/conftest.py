"""A gateway of features only, over a store that tests may write into."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from omegaconf import DictConfig

from tests.serving.gateway.conftest import gateway_config, running


@pytest.fixture
def feature_config(own_features: Path, tmp_path: Path) -> DictConfig:
    return gateway_config(None, own_features, 9, tmp_path)


@pytest.fixture
async def gateway(feature_config: DictConfig) -> AsyncIterator[httpx.AsyncClient]:
    async with running(feature_config) as session:
        yield session
