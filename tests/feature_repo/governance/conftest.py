"""A small company: a simulated warehouse and its feature store, copied for each test."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from feature_repo.governance.erasure import Erasure
from feature_repo.governance.retention import Retention
from feature_repo.sources import RawTable
from scripts.entrypoint import CONFIGS
from scripts.materialize import raw_tables
from tests.conftest import ROOT
from tests.feature_repo.stores import materialization


@dataclass
class Company:
    """Everything lies in `root`, as the scripts lay it out."""

    root: Path
    online: Mapping[str, Any] | None = None

    @property
    def warehouse(self) -> Path:
        return self.root / "data" / "warehouse"

    @property
    def features(self) -> Path:
        return self.root / "data" / "features"

    def materialize(self, **more: Any) -> dict[str, dict[str, Any]]:
        return materialization(self.features, online=self.online)(self.raw(), **more)

    def raw(self) -> dict[str, RawTable]:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            return raw_tables(compose("materialize", [f"paths.root={self.root}"]))

    def retention(self, *overrides: str) -> Retention:
        made = instantiate(self._config(*overrides).retention)
        assert isinstance(made, Retention)
        return made

    def erasure(self, *overrides: str) -> Erasure:
        made = instantiate(self._config(*overrides).erasure)
        assert isinstance(made, Erasure)
        return made

    def script(self, *overrides: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "scripts/govern.py", *overrides, f"paths.root={self.root}",
             f"output_dir={self.root / 'run'}"],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def offline(self, view: str) -> pl.DataFrame:
        files = self.features / "offline" / view / "**" / "*.parquet"
        return pl.read_parquet(files, hive_partitioning=False)

    def _config(self, *overrides: str) -> Any:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            return compose("govern", [f"paths.root={self.root}", *overrides])


@pytest.fixture(scope="session")
def made_company(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("company")
    subprocess.run(
        [sys.executable, "scripts/simulate.py", "size=tiny", "plot=false", f"paths.root={root}",
         f"output_dir={root / 'sim'}"],
        cwd=ROOT, capture_output=True, check=True,
    )  # fmt: skip
    Company(root).materialize()
    return root


@pytest.fixture
def company(made_company: Path, tmp_path: Path) -> Company:
    """A copy of the company; its registry knows the new place."""
    root = tmp_path / "company"
    shutil.copytree(made_company, root)
    copied = Company(root)
    copied.materialize()
    return copied


@pytest.fixture
def redis_company(company: Company, redis_server: str) -> Company:
    company.online = {
        "type": "feature_repo.online.stores.RedisOnlineStore",
        "connection_string": f"{redis_server},db=1",
    }
    company.materialize(rebuild_online=True)
    return company
