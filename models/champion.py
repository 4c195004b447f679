"""Which version of a model is in force: `artifacts/<name>/champion.json`.

Artifacts are never changed and never deleted here, so going back is writing one small file. Until
somebody promotes a version, the newest is in force.

Limits: one machine, or a file system that renames in one step; like `models.artifact`, this module
needs neither torch nor onnxruntime. What runs already goes on with the version it has loaded.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from models import artifact
from models.artifact import SIGNATURE, ArtifactError

RECORD = "champion.json"
PROMOTED, ROLLED_BACK = "promoted", "rolled back"


class ChampionError(ArtifactError):
    """No version can be in force as asked: unknown, damaged, or nothing to go back to."""


@dataclass(frozen=True)
class Change:
    """One line of the history: from then on this version was in force.

    Args:
        since: ISO-8601, UTC.
        action: `PROMOTED` or `ROLLED_BACK`.
    """

    version: str
    since: str
    why: str
    who: str
    action: str = PROMOTED


def champion(root: Path, name: str) -> Path:
    """The folder of the version in force; the newest one where nobody has promoted any.

    Its files are checked by `artifact.load`, as those of every artifact.

    Raises:
        ArtifactError: there is no artifact of this name.
        ChampionError: the record cannot be read, or its version's folder is gone.
    """
    changes = history(root, name)
    if not changes:
        return artifact.latest(Path(root), name)
    folder = Path(root) / name / changes[-1].version
    if not (folder / SIGNATURE).is_file():
        raise ChampionError(
            f"{_record(root, name)}: version {changes[-1].version} is in force, but {folder} is "
            f"no artifact any more; roll back, or promote one of {versions(root, name)}"
        )
    return folder


def in_force(path: Path) -> Path:
    """A model's folder → its version in force; a version's own folder, or no folder, as it is.

    Raises: as `champion`.
    """
    path = Path(path)
    if (path / SIGNATURE).is_file() or not path.is_dir():
        return path  # `artifact.load` says of what is nothing that it is nothing
    return champion(path.parent, path.name)


def versions(root: Path, name: str) -> list[str]:
    """The versions there are, oldest first."""
    return sorted(p.parent.name for p in (Path(root) / name).glob(f"[!.]*/{SIGNATURE}"))


def history(root: Path, name: str) -> list[Change]:
    """All changes, oldest first; empty where nobody has promoted.

    Raises:
        ChampionError: the record cannot be read; it is never guessed.
    """
    path = _record(root, name)
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        changes = [Change(**line) for line in raw["history"]]
        agree = bool(changes) and raw["version"] == changes[-1].version
    except FileNotFoundError:
        return []
    except (ValueError, TypeError, KeyError) as error:
        raise ChampionError(
            f"{path}: not a record of champions ({error}); put a good copy back, or delete it, "
            "after which the newest version is in force"
        ) from error
    if not agree:
        raise ChampionError(
            f"{path}: version {raw['version']!r} is not the last of its history; promote one of "
            f"{versions(root, name)} after deleting the file"
        )
    return changes


def promote(
    root: Path, name: str, version: str, why: str, who: str, instead_of: str | None = None
) -> Path:
    """Put a version in force; returns its folder. Every file of it is checked first.

    The version that was in force stays on disk and is what `rollback` goes back to. Promoting what
    is in force already changes nothing.

    Args:
        instead_of: the version that it was compared with; None: whichever is in force.

    Raises:
        ChampionError: no such version, or `instead_of` is no longer in force.
        ArtifactError: a file of it is missing or changed.
    """
    with locked(root, name):
        folder = _whole(root, name, version)
        changes = history(root, name)
        if instead_of is not None and champion(root, name).name != instead_of:
            raise ChampionError(
                f"{_record(root, name)}: {champion(root, name).name} is in force by now, but "
                f"{version} was compared with {instead_of}; compare again, or promote it by hand"
            )
        if not changes or changes[-1].version != version:
            _write(root, name, [*changes, Change(version, _now(), why, who)])
        return folder


def rollback(root: Path, name: str, why: str, who: str) -> Path:
    """Put the version before the one in force back; returns its folder. Again: the one before it.

    Raises:
        ChampionError: there is none before it.
        ArtifactError: a file of it is missing or changed; what is in force stays in force.
    """
    with locked(root, name):
        changes = history(root, name)
        before = _stack(changes)[:-1]
        if not before:
            raise ChampionError(
                f"{_record(root, name)}: no version was in force before; promote one of "
                f"{versions(root, name)}"
            )
        folder = _whole(root, name, before[-1])
        _write(root, name, [*changes, Change(before[-1], _now(), why, who, ROLLED_BACK)])
        return folder


@contextmanager
def locked(root: Path, name: str) -> Iterator[None]:
    """One process at a time changes which version is in force; the kernel frees a dead one's."""
    folder = Path(root) / name
    if not folder.is_dir():
        raise ChampionError(f"{folder}: no artifact; train and export one first")
    with (folder / f".{RECORD}.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _stack(changes: list[Change]) -> list[str]:
    """Versions in the order one would go back through, the one in force last."""
    stack: list[str] = []
    for change in changes:
        if change.action == ROLLED_BACK:
            stack.pop()
        else:
            stack.append(change.version)
    return stack


def _whole(root: Path, name: str, version: str) -> Path:
    known = versions(root, name)
    if version not in known:
        raise ChampionError(f"{Path(root) / name}: no version {version!r}; there are {known}")
    return artifact.load(Path(root) / name / version).path


def _record(root: Path, name: str) -> Path:
    return Path(root) / name / RECORD


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _write(root: Path, name: str, changes: list[Change]) -> None:
    """Beside the record, to the disk, and over it in one step: no reader sees half a record."""
    path = _record(root, name)
    content = asdict(changes[-1]) | {"history": [asdict(c) for c in changes]}
    beside = path.with_name(f".{RECORD}.new")  # one, under the lock: a kill leaves no heap of them
    with beside.open("w", encoding="utf-8") as file:
        file.write(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
