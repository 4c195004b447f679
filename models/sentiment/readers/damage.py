"""Where a file of texts is damaged: parsers of whole files do not say."""

from __future__ import annotations

import csv
import json
from pathlib import Path

csv.field_size_limit(2**31 - 1)  # a text may be longer than the 128 KiB that csv takes at most


def damage(file: Path, kind: str, separator: str, quoted: bool) -> str | None:
    """The first line that cannot be read, and why; None where that is not found.

    Args:
        kind: "jsonl", or another for a table with `separator` between fields.
    """
    if kind in ("jsonl", "ndjson"):
        return _of_json_lines(file)
    with file.open(newline="", encoding="utf-8", errors="replace") as stream:
        rows = csv.reader(
            stream,
            delimiter=separator,
            quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        )
        width = len(next(rows, []))
        for row in rows:
            if len(row) > width:
                return f"line {rows.line_num}: {len(row)} fields, the first line has {width}"
    return None


def _of_json_lines(file: Path) -> str | None:
    with file.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                json.loads(line)
            except UnicodeDecodeError as error:
                return f"line {number}: not UTF-8 ({error.reason} at byte {error.start})"
            except ValueError as error:
                if line.strip():
                    return f"line {number}: not JSON ({error})"
    return None
