"""Commands as bare words: `features.py describe user_history` sets `command` and `view`.

Beside them stand Hydra's overrides and flags, as for every script.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence


class CommandError(ValueError):
    """A word on the command line that is no command, or one too many."""

    exit_code = 2


def command_overrides(arguments: Sequence[str], commands: Mapping[str, Sequence[str]]) -> list[str]:
    """Arguments with their bare words as overrides; the last key takes all words left.

    The words stand together, first or after overrides; nothing is looked for behind a flag.

    Args:
        commands: command → the keys that the words after it are values of.

    Raises:
        CommandError: no command, an unknown one (with the nearest there is), or a word too many.
    """
    if any(a in ("-h", "--help", "--hydra-help") or a.startswith("command=") for a in arguments):
        return list(arguments)
    first = 0
    while first < len(arguments) and re.match(r"[^-=\s][^=\s]*=", arguments[first]):
        first += 1
    end = first
    while end < len(arguments) and not re.match(r"-|[^=\s]+=", arguments[end]):
        end += 1
    if first == end:
        raise CommandError(f"which command? There are: {', '.join(commands)}")
    command, *words = arguments[first:end]
    if command not in commands:
        near = difflib.get_close_matches(command, commands, n=3, cutoff=0.5)
        hint = f"nearest: {', '.join(near)}" if near else f"there are: {', '.join(commands)}"
        raise CommandError(f"no command {command!r}; {hint}")
    keys_of = commands[command]
    if words and not keys_of:
        raise CommandError(f"{command} takes no word after it, but got {' '.join(words)!r}")
    if len(words) > len(keys_of):
        words = [*words[: len(keys_of) - 1], " ".join(words[len(keys_of) - 1 :])]
    values = zip(["command", *keys_of], [command, *words], strict=False)
    return [
        *(f"{key}={_quoted(value)}" for key, value in values),
        *arguments[:first],
        *arguments[end:],
    ]


def _quoted(value: str) -> str:
    """As Hydra's grammar wants it."""
    if re.fullmatch(r"[A-Za-z_][\w./:-]*", value):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
