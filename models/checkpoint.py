"""Where a checkpoint stands, also after a process was killed while it was replaced.

A file is replaced in one step. A folder, which a sharded training leaves, takes two renames: the
one before is moved aside, then the new one takes its place. Who is killed between them leaves no
checkpoint under its name, but a whole one beside it, which `standing` finds.
"""

from __future__ import annotations

import shutil
from pathlib import Path


def replace(path: Path, staging: Path) -> None:
    """Let `staging`, a whole checkpoint beside `path`, take its place; at each moment one of the
    old and the new is found by `standing(path)`. For one process alone.
    """
    before = _before(path)
    if path.exists():  # else what stands aside is the only one, until the new one is in place
        remove(before)
        path.rename(before)
    staging.rename(path)
    remove(before)


def standing(path: Path) -> Path:
    """`path`, or what stood there before where a kill hit between the renames."""
    before = _before(path)
    return before if before.exists() and not path.exists() else path


def remove(path: Path) -> None:
    """A checkpoint of either form: a folder, or one process's file; nothing is fine too."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def _before(path: Path) -> Path:
    return path.with_name(f".{path.name}.before")
