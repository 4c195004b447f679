"""A local JSONL file for audit events that the database does not take."""

from __future__ import annotations

import logging
import os
import threading
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import psutil

log = logging.getLogger(__name__)

_CHUNK = 500  # rows in one transaction of a recovery


class Spill:
    """One file a process; a dead process' files are taken over by the next.

    Args:
        folder: of the files: on this machine's own disk, for process ids say whose they are.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.path = self.folder / f"spill-{os.getpid()}.jsonl"
        self._lock = threading.Lock()

    def append(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write rows behind the others.

        Raises:
            OSError: the disk is full or not writable.
        """
        lines = b"".join(orjson.dumps(row) + b"\n" for row in rows)
        with self._lock:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                file.write(lines)

    def waiting(self) -> int:
        """Rows in all files, those of other processes too."""
        return sum(file.read_bytes().count(b"\n") for file in self.folder.glob("spill-*.jsonl"))

    def recover(self, insert: Callable[[Sequence[dict[str, Any]]], None]) -> int:
        """Give all rows of this and of dead processes to `insert`; files whose rows it took go.

        A file stays whole until all its rows are in: `insert` may get a row twice. Lines that
        cannot be read (the process was killed while writing) move to `damaged.jsonl`.
        """
        with self._lock:  # only for the renaming: what comes meanwhile goes to a new file
            if self.path.exists():
                self.path.rename(self.path.with_stem(f"{self.path.stem}-{uuid.uuid4().hex}"))
        moved = 0
        for file in self._mine():
            rows = self._read(file)
            for start in range(0, len(rows), _CHUNK):
                insert(rows[start : start + _CHUNK])
            file.unlink()
            moved += len(rows)
        return moved

    def _mine(self) -> list[Path]:
        found = []
        for file in sorted(self.folder.glob("spill-*.jsonl")):
            owner = file.stem.split("-")[1]
            alive = owner.isdigit() and psutil.pid_exists(int(owner))
            if file != self.path and (owner == str(os.getpid()) or not alive):
                found.append(file)
        return found

    def _read(self, file: Path) -> list[dict[str, Any]]:
        rows = []
        for line in file.read_bytes().splitlines():
            try:
                row = orjson.loads(line)
                row["at"] = datetime.fromisoformat(row["at"])
                rows.append(row)
            except (ValueError, KeyError, TypeError):
                log.error("a damaged audit event is kept in %s", self.folder / "damaged.jsonl")
                with (self.folder / "damaged.jsonl").open("ab") as kept:
                    kept.write(line + b"\n")
        return rows
