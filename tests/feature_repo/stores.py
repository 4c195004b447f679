"""Feature stores for tests: the shipped settings, pointed at a folder of the test."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from feature_repo.materialization import Materialization
from scripts.entrypoint import CONFIGS

REGISTRY = {"registry_type": "sql", "path": "sqlite:///registry.db", "cache_ttl_seconds": 60}


def materialization(
    folder: Path, *overrides: str, online: Mapping[str, Any] | None = None
) -> Materialization:
    """What `scripts/materialize.py` runs, with the store in `folder`.

    Args:
        overrides: of `configs/materialize.yaml`, such as `features.history_length=5`.
        online: another online store than SQLite in the folder.
    """
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose(
            "materialize",
            [
                f"paths.root={folder.parent}",
                f"paths.features={folder}",
                "features.engine.memory_limit=512MB",
                *overrides,
            ],
        )
    made = instantiate(cfg.features)
    assert isinstance(made, Materialization)
    if online is not None:
        made.online_store = online
    return made
