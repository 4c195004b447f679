"""Criteo's click logs, a block at a time: Kaggle's `train.txt` and the terabyte's `day_0.gz` ….

A row is a label, 13 whole numbers and 26 categories of up to 8 hexadecimal digits, separated by
tabs; anything but the label may be empty. Comma-separated files with a header line, as samples are
passed around, are read too.

Limits: one process parses about 200,000 rows a second on two cores; memory holds one block.
"""

from __future__ import annotations

import gzip
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import polars as pl

from models.recommender.interactions import DataError
from models.recommender.ranking.readers.rejected import RejectedLines
from models.recommender.readers.files import find_all

NUMBERS = tuple(f"I{n}" for n in range(1, 14))
CATEGORIES = tuple(f"C{n}" for n in range(1, 27))
COLUMNS = ("label", *NUMBERS, *CATEGORIES)
PARTS = ("train", "validation", "test")


@dataclass
class CriteoReader:
    """Read parts of a click log in order, again and again, within bounded memory.

    One file is cut by its lines: `validation_from` and `test_from` are shares of them, which are in
    order of time. Of several files, the days, all but the last train; of the last, blocks validate
    and test in turn.

    Args:
        path: the file, or a folder with `train.txt` or `day_*`, plain or gzipped.
        rejects: CSV for malformed lines; the part's name is put before its suffix.
        block_mb: bytes read at once.
        fit_rows: first training rows, from which scales (and vocabularies, if any) are taken.
        evaluation_rows: rows of validation and test that are kept in memory, the first ones.
    """

    path: str | Path
    rejects: str | Path
    max_reject_share: float = 0.01
    validation_from: float = 0.8
    test_from: float = 0.9
    block_mb: float = 32.0
    fit_rows: int = 1_000_000
    evaluation_rows: int = 1_000_000

    def blocks(self, part: str, tell: bool = True) -> Iterator[pl.DataFrame]:
        """Frames of `label`, I1…I13 (Float64) and C1…C26 (text); empty fields are null.

        Args:
            tell: write and count malformed lines; one of several processes is enough.

        Raises:
            MissingInputError: no such file.
            DataError: too many malformed lines, or a file that cannot be unpacked.
        """
        assert part in PARTS, f"part {part!r} is none of {PARTS}"
        base = Path(self.rejects)
        aside = RejectedLines(
            base.with_name(f"{base.stem}_{part}{base.suffix}") if tell else None,
            self.max_reject_share,
        )
        for path, first, last, step, offset in self._ranges(part):
            for number, (line, lines) in enumerate(self._lines(path)):
                if number % step != offset:
                    continue
                kept = lines.slice(max(first - line, 0), max(last - max(line, first), 0))
                if kept.is_empty():
                    if line >= last:
                        break
                    continue
                start = max(line, first) + 1
                yield aside.set_aside(_parsed(kept, start, _separator(path)), path)
        aside.finish(str(self.path))

    def _ranges(self, part: str) -> Iterator[tuple[Path, int, int, int, int]]:
        """File, lines [first, last), every `step`-th block of it from `offset`."""
        files = self._files()
        everything = 1 << 62
        if len(files) == 1:
            total = self._count(files[0])
            cuts = [0, int(self.validation_from * total), int(self.test_from * total), total]
            n = PARTS.index(part)
            if not 0 < cuts[1] < cuts[2] < total:
                raise DataError(
                    f"{files[0]}: {total} lines cut at {self.validation_from} and {self.test_from} "
                    "leave a part empty"
                )
            yield files[0], cuts[n], cuts[n + 1], 1, 0
        elif part == "train":
            for path in files[:-1]:
                yield path, 0, everything, 1, 0
        else:
            yield files[-1], 0, everything, 2, PARTS.index(part) - 1

    def _files(self) -> list[Path]:
        found = find_all(self.path, ("day_*", "train.txt", "train.txt.gz", "*.txt", "*.csv"))
        return sorted(found, key=lambda p: [int(n) for n in re.findall(r"\d+", p.name)] or [0])

    def _count(self, path: Path) -> int:
        """Lines with rows; a pass over the file, which is remembered."""
        known: dict[Path, int] = self.__dict__.setdefault("_counted", {})
        if path not in known:
            known[path] = sum(len(lines) for _, lines in self._lines(path))
        return known[path]

    def _lines(self, path: Path) -> Iterator[tuple[int, pl.Series]]:
        """Blocks of whole lines, each with the number of lines before it; no header among them."""
        skip = _separator(path) == ","
        line, rest = 0, b""
        try:
            with _open(path) as file:
                if skip:
                    file.readline()
                while chunk := file.read(int(self.block_mb * 2**20)):
                    whole, newline, tail = (rest + chunk).rpartition(b"\n")
                    if not newline:
                        rest = tail
                        continue
                    rest = tail
                    lines = _split(whole)
                    yield line, lines
                    line += len(lines)
                if rest.strip():
                    yield line, _split(rest)
        except (OSError, EOFError) as error:
            raise DataError(f"{path}: cannot be read after line {line} ({error})") from error


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def _separator(path: Path) -> str:
    with _open(path) as file:
        return "," if file.readline(4096).startswith(b"label,") else "\t"


def _split(content: bytes) -> pl.Series:
    """Lines as text; broken UTF-8 is replaced, so that its row is rejected, not the file."""
    frame = pl.read_csv(
        io.BytesIO(content + b"\n"),
        has_header=False,
        new_columns=["text"],
        separator="\x1f",  # no log has it, so a line is one field
        quote_char=None,
        infer_schema=False,
        encoding="utf8-lossy",
        truncate_ragged_lines=True,
    )
    return frame["text"].fill_null("").str.strip_chars_end("\r")


def _parsed(lines: pl.Series, first: int, separator: str) -> pl.DataFrame:
    """`line`, `text`, `reason` (null for a good row) and the typed columns."""
    frame = pl.DataFrame({"text": lines}).with_row_index("line", offset=first)
    width = len(COLUMNS)
    right = pl.col("text").str.count_matches(separator, literal=True) == width - 1
    parts = pl.col("text").str.split_exact(separator, width - 1).struct.rename_fields(COLUMNS)
    rows = frame.with_columns(right.alias("right"), parts.alias("parts")).unnest("parts")
    empty = {c: pl.col(c).is_null() | (pl.col(c) == "") for c in COLUMNS}
    typed = rows.with_columns(
        pl.col("label").cast(pl.Int8, strict=False),
        *(pl.col(c).cast(pl.Float64, strict=False) for c in NUMBERS),
        *(pl.when(~empty[c]).then(pl.col(c)).alias(c) for c in CATEGORIES),
        *(empty[c].alias(f"empty_{c}") for c in NUMBERS),
    )
    checks = [
        (~pl.col("right"), f"expected {width} fields separated by {separator!r}"),
        (~pl.col("label").is_in([0, 1]).fill_null(False), "label is neither 0 nor 1"),
        *((pl.col(c).is_null() & ~pl.col(f"empty_{c}"), f"{c} is no number") for c in NUMBERS),
        *(
            (~pl.col(c).str.contains("^[0-9a-f]{1,8}$"), f"{c} is not 1 to 8 hexadecimal digits")
            for c in CATEGORIES
        ),
    ]
    reason: pl.Expr = pl.lit(None, dtype=pl.String)
    for condition, said in reversed(checks):
        reason = pl.when(condition.fill_null(False)).then(pl.lit(said)).otherwise(reason)
    return typed.select(pl.col("line").cast(pl.Int64), "text", reason.alias("reason"), *COLUMNS)
