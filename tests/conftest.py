"""What all tests share."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import pytest
import torch

# Feast's import switches the Prometheus client to files that outlive a test, unless the client is
# there already; pytest's workers inherit that setting from the process that started them.
os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
importlib.import_module("prometheus_client")

ROOT = Path(__file__).resolve().parent.parent
REAL_DATA = ROOT.parent / "shared" / "data"

torch.set_num_threads(1)  # tests run side by side; more threads would only fight


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip `realdata` tests, with the reason, where the data sets are not beside the project."""
    if REAL_DATA.is_dir():
        return
    skip = pytest.mark.skip(reason="no real data sets at ../shared/data; see docs/data.md")
    for item in items:
        if item.get_closest_marker("realdata"):
            item.add_marker(skip)


@pytest.fixture
def real_data() -> Path:
    return REAL_DATA
