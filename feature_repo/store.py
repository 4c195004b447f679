"""The door to the feature store: a small module that serving and scripts may import.

The store lives in one folder: `feature_store.yaml`, `registry.db`, `online.db`, the offline tables
under `offline/<view>/day=…/`, and rejected rows under `quarantine/<view>/`.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

# Said of every registration, of a feature that Feast has had for years.
warnings.filterwarnings("ignore", message="On demand feature view is an experimental feature")


class StoreError(ValueError):
    """A feature store that is not there or not usable."""

    exit_code = 66  # EX_NOINPUT


def feast() -> Any:
    """Feast, imported without torch.

    Feast imports torch if it can, for tensor answers that nobody here asks for; that costs a
    server seconds at start and hundreds of megabytes. Feast copes with its absence.

    The Prometheus client comes first: Feast's import switches it to its multi-process mode, for the
    whole process, unless it is there already. The same goes for its wish to show every library's
    DeprecationWarning: what was filtered before stays filtered.
    """
    importlib.import_module("prometheus_client")
    with warnings.catch_warnings():
        if "feast" in sys.modules or "torch" in sys.modules:
            return importlib.import_module("feast")
        sys.modules["torch"] = None  # type: ignore[assignment]
        try:
            return importlib.import_module("feast")
        finally:
            del sys.modules["torch"]


def read_config(folder: Path) -> dict[str, Any]:
    """The content of a store's `feature_store.yaml`.

    Raises:
        StoreError: the folder holds no store yet.
    """
    path = Path(folder) / "feature_store.yaml"
    if not path.is_file():
        raise StoreError(
            f"{folder}: no feature_store.yaml; make the store with `python scripts/materialize.py`"
        )
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


def open_store(folder: Path) -> Any:
    """The `feast.FeatureStore` of a features folder.

    Raises:
        StoreError: the folder holds no store yet.
    """
    folder = Path(folder).resolve()
    read_config(folder)
    return feast().FeatureStore(repo_path=str(folder))


def create_store(
    folder: Path,
    online_store: Mapping[str, Any],
    offline_store: Mapping[str, Any],
    registry: Mapping[str, Any],
) -> Any:
    """Write `feature_store.yaml` and open the store; existing registries and values stay.

    Args:
        online_store: Feast's configuration of it; a relative `path` lies in the folder.
        offline_store: the same; see `feature_repo/offline/store.py`.
        registry: the same; `sqlite:///name` without a folder lies in the folder.
    """
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    online, kept = dict(online_store), dict(registry)
    if "path" in online:
        online["path"] = str(folder / online["path"])
    local = "sqlite:///"
    if kept["path"].startswith(local):
        kept["path"] = f"{local}{folder / kept['path'].removeprefix(local)}"
    config = {
        "project": "millrace",
        "provider": "local",
        "registry": kept,
        "online_store": online,
        "offline_store": dict(offline_store),
        "entity_key_serialization_version": 3,
    }
    text = "# Written by scripts/materialize.py from configs/features/.\n" + yaml.safe_dump(config)
    partial = folder / ".feature_store.yaml"
    partial.write_text(text, encoding="utf-8")
    partial.replace(folder / "feature_store.yaml")
    return open_store(folder)
