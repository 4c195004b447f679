"""A small simulated marketplace with its features, as of 2026-01-01."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from feature_repo.sources import WarehouseInteractions, WarehouseTable
from scripts.entrypoint import CONFIGS
from tests.feature_repo.stores import materialization

VIEWS = ["user_history", "user_statistics", "user_counters", "item_content", "telemetry_windows"]


def _quiet(done: int, of: int) -> None:
    """No progress bar."""


@pytest.fixture(scope="session")
def marketplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with `data/warehouse` and `data/features`; read only."""
    root = tmp_path_factory.mktemp("marketplace")
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose("simulate", [f"paths.root={root}", "size=tiny", "plot=false"])
    instantiate(cfg.simulation).run(_quiet)
    materialize(root)
    return root


def materialize(root: Path) -> None:
    warehouse = root / "data" / "warehouse"
    events = WarehouseTable(warehouse / "events")
    tables = {
        "interactions": WarehouseInteractions(events, ["Product Viewed", "Order Completed"]),
        **{n: WarehouseTable(warehouse / n) for n in ("events", "items", "telemetry")},
    }
    materialization(root / "data" / "features")(tables, only=VIEWS)


@pytest.fixture
def copied(marketplace: Path, tmp_path: Path) -> Callable[[], Path]:
    """Makes a root that a test may change."""

    def copy() -> Path:
        root = tmp_path / "root"
        shutil.copytree(marketplace, root)
        for file in (root / "data" / "features").glob("feature_store.yaml"):
            file.write_text(file.read_text().replace(str(marketplace), str(root)))
        return root

    return copy
