"""Gateways that ask who is calling."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from omegaconf import DictConfig

from tests.serving.gateway.access.issuer import Issuer, running_issuer
from tests.serving.gateway.conftest import gateway_config, running


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with running_issuer() as server:
        yield server


@pytest.fixture
def guarded_config(own_features: Path, issuer: Issuer, tmp_path: Path) -> DictConfig:
    """API keys and tokens side by side, over a store that tests may write into."""
    cfg = gateway_config(
        None,
        own_features,
        9,
        tmp_path,
        "gateway/access=keys_and_oidc",
        f"gateway.access.verifiers.oidc.keys.issuer={issuer.url}",
        "gateway.access.verifiers.oidc.keys.cooldown_s=0.2",
        "gateway.access.verifiers.keys.refresh_s=0.1",
        "gateway.access.verifiers.keys.cooldown_s=0.05",
        "gateway.audit.retry_s=0.1",
    )
    return cfg


@pytest.fixture
async def guarded(guarded_config: DictConfig) -> AsyncIterator[httpx.AsyncClient]:
    async with running(guarded_config) as session:
        yield session


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
