"""Marks for tests that need something which not every machine has."""

from __future__ import annotations

import pytest
import torch


def RunIf(*, min_gpus: int = 0) -> pytest.MarkDecorator:  # noqa: N802 - Lightning's name for it
    """Skip, saying why, where the machine has too few GPUs."""
    found = torch.cuda.device_count()
    return pytest.mark.skipif(found < min_gpus, reason=f"needs {min_gpus} GPUs, {found} here")
