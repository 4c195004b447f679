"""Run one measurement in a process of its own and take its last line, one JSON object.

Measurements share nothing then: no allocator, no thread pool, no imported library.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / ".venv-peers" / "bin" / "python"

# glibc gives large freed blocks back to the system after every step, which costs page faults.
KEEP_FREED_MEMORY = {
    "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1),
    "MALLOC_MMAP_THRESHOLD_": str(2**31 - 1),
}


class ChildError(RuntimeError):
    """A measurement that failed."""

    exit_code = 70  # EX_SOFTWARE


class PeersMissingError(FileNotFoundError):
    """The peers' environment is not there."""

    exit_code = 69  # EX_UNAVAILABLE


def peers_python(python: Path = PEERS) -> str:
    """The interpreter that has the peers.

    Raises:
        PeersMissingError: nobody ran `make bench-setup`.
    """
    if not python.exists():
        raise PeersMissingError(f"{python} is not there: `make bench-setup` makes it")
    return str(python)


def measure(command: Sequence[str], environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Run the command; the JSON object on its last line of output.

    Raises:
        ChildError: it failed or printed something else.
    """
    done = subprocess.run(
        list(command),
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.strip().splitlines()
    try:
        if done.returncode:
            raise ValueError(f"exit code {done.returncode}")
        return dict(json.loads(lines[-1]))
    except (ValueError, IndexError) as error:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise ChildError(f"{' '.join(command)}: {error}\n{tail}") from error


def run_through(
    command: Sequence[str], shown: Path, environment: Mapping[str, str] | None = None
) -> None:
    """Run a long command; what it prints goes to the file `shown` while it runs.

    Raises:
        ChildError: it failed.
    """
    shown.parent.mkdir(parents=True, exist_ok=True)
    with shown.open("w", encoding="utf-8") as file:
        done = subprocess.run(
            list(command),
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        tail = "\n".join(shown.read_text("utf-8", "replace").splitlines()[-20:])
        raise ChildError(f"{' '.join(command)}: exit code {done.returncode}\n{tail}")
