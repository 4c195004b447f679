"""Finding and opening input files, with errors that say what was looked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from models.recommender.interactions import DataError


class MissingInputError(FileNotFoundError):
    """No file where the config points."""

    exit_code = 66  # EX_NOINPUT


def find(path: str | Path, names: Sequence[str]) -> Path:
    """The file itself, or the one of `names` (glob patterns, the first that occurs) in the folder.

    Raises:
        MissingInputError: nothing is there, or nothing of these names.
        DataError: several files have such a name; guessing would read the wrong one.
    """
    found = find_all(path, names)
    if len(found) > 1:
        raise DataError(
            f"{path}: holds {len(found)} such files, {[p.name for p in found][:10]}; give the path "
            "of one"
        )
    return found[0]


def find_all(path: str | Path, names: Sequence[str]) -> list[Path]:
    """The file itself, or all files in the folder that match the first of `names` that occurs.

    Raises:
        MissingInputError: nothing is there, or nothing of these names.
    """
    path = Path(path)
    if path.is_file():
        return [path]
    if not path.exists():
        raise MissingInputError(
            f"{path}: no such file or folder; expected one of {', '.join(names)}"
        )
    for name in names:
        found = sorted(path.glob(name))
        if found:
            return found
    there = sorted(p.name for p in path.iterdir())[:10]
    raise MissingInputError(f"{path}: holds none of {', '.join(names)}; it holds {there}")


def read_lines(path: Path, skip: int = 0) -> pl.DataFrame:
    """All non-blank lines as `line` (1-based number) and `text`; broken UTF-8 is replaced.

    Raises:
        DataError: the file is empty or cannot be read (a truncated archive, say).
    """
    try:
        lines = pl.read_csv(
            path,
            has_header=False,
            new_columns=["text"],
            separator="\x1f",  # ASCII unit separator: no text file has it, so a line is one field
            quote_char=None,
            infer_schema=False,
            encoding="utf8-lossy",
            truncate_ragged_lines=True,
            skip_rows=0,
        )
    except pl.exceptions.NoDataError as error:
        raise DataError(f"{path}: the file is empty") from error
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from error
    numbered = lines.with_row_index("line", offset=1).with_columns(
        pl.col("line").cast(pl.Int64), pl.col("text").str.strip_chars_end("\r")
    )
    numbered = numbered.filter(
        (pl.col("line") > skip) & (pl.col("text").str.strip_chars().str.len_bytes() > 0)
    )
    if numbered.is_empty():
        raise DataError(f"{path}: the file holds no rows")
    return numbered
