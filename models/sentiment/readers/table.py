"""Labelled texts from files: CSV, TSV, JSON lines, Parquet, or a file for each split."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from models.sentiment.readers.damage import damage
from models.sentiment.texts import TextError

log = logging.getLogger(__name__)

_LINE = "\0line"  # a name that no column has


class MissingTextsError(FileNotFoundError):
    """No file where the config points."""

    exit_code = 66  # EX_NOINPUT


@dataclass
class TextTable:
    """Read one file, or one a split.

    Args:
        path: a file, or the folder in which `splits` lie.
        text, label: names of columns, or numbers (from 0) where a file has no header.
        splits: split → file in the folder; None: one file, whose split is made or in `split`.
        split: column that names each row's split; None: there is none.
        key: column with an id of a row; None: file and line are its id.
        header: whether the first line of a CSV or TSV names the columns.
        quoted: whether fields may be in double quotes; false for raw text.
    """

    path: str
    text: str | int = "text"
    label: str | int | None = "label"
    splits: Mapping[str, str] | None = None
    split: str | None = None
    key: str | None = None
    header: bool = True
    quoted: bool = True

    def read(self) -> pl.DataFrame:
        """Columns text, label, split, key.

        Raises:
            MissingTextsError: no such file.
            TextError: a file that cannot be parsed, or a column that it lacks.
        """
        root = Path(self.path)
        if self.splits is None:
            return self._file(root, None)
        if not root.is_dir():
            raise MissingTextsError(
                f"{root}: no such folder; expected {list(self.splits.values())}"
            )
        frames = [self._file(root / file, name) for name, file in self.splits.items()]
        return pl.concat(frames)

    def _file(self, file: Path, split: str | None) -> pl.DataFrame:
        if not file.is_file():
            near = (
                sorted(p.name for p in file.parent.glob("*"))[:10] if file.parent.is_dir() else []
            )
            raise MissingTextsError(f"{file}: no such file; there are {near}")
        raw = self._parse(file)
        label = (
            pl.lit(None, pl.String) if self.label is None else self._column(raw, self.label, file)
        )
        if split is not None:
            named = pl.lit(split)
        else:
            named = self._column(raw, self.split, file) if self.split else pl.lit("")
        if self.key is not None:
            key = self._column(raw, self.key, file).cast(pl.String)
        else:
            key = pl.format("{}:{}", pl.lit(file.name), _LINE)
        return raw.select(
            self._column(raw, self.text, file).alias("text"),
            label.cast(pl.String).alias("label"),
            named.cast(pl.String).alias("split"),
            key.alias("key"),
        )

    def _parse(self, file: Path) -> pl.DataFrame:
        """The file's columns after `_LINE`: where each row begins, or its number in a Parquet."""
        kind = file.name.removesuffix(".gz").rsplit(".", 1)[-1].lower()
        separator = "," if kind == "csv" else "\t"
        try:
            if kind == "parquet":
                return pl.read_parquet(file).with_row_index(_LINE, offset=1)
            if kind in ("jsonl", "ndjson"):
                found = pl.read_ndjson(file, infer_schema_length=None)
                return found.with_row_index(_LINE, offset=1)
            if kind not in ("csv", "tsv", "txt"):
                raise TextError(
                    f"{file}: .{kind} is not read; give csv, tsv, txt, jsonl or parquet"
                )
            table = pl.read_csv(
                file,
                separator=separator,
                has_header=self.header,
                quote_char='"' if self.quoted else None,
                infer_schema=False,
                encoding="utf8-lossy",
            )
        except (pl.exceptions.PolarsError, OSError) as error:
            plain = kind != "parquet" and not file.name.endswith(".gz")
            where = damage(file, kind, separator, self.quoted) if plain else None
            reason = where or str(error).splitlines()[0]
            raise TextError(f"{file}: cannot be read as .{kind} ({reason})") from error
        broken = table.select(pl.any_horizontal(pl.all().str.contains("\ufffd"))).to_series()
        if broken.any():
            log.warning("%s: bytes of %d rows are no UTF-8, and read as �", file, broken.sum())
        lines = 1 + pl.sum_horizontal(pl.all().str.count_matches("\n"))  # of fields in quotes
        first = 2 if self.header else 1
        return table.select((lines.cum_sum() - lines + first).alias(_LINE), pl.all())

    def _column(self, frame: pl.DataFrame, name: str | int, file: Path) -> pl.Expr:
        columns = frame.columns[1:]  # the first is the line
        if isinstance(name, int):
            if name >= len(columns):
                raise TextError(f"{file}: no column {name}; it has {len(columns)}, from 0")
            return pl.col(columns[name])
        if name not in columns:
            raise TextError(f"{file}: no column {name!r}; it has {columns}")
        return pl.col(name)
