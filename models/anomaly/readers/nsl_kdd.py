"""NSL-KDD: network connections, each normal or one of several attacks.

Tavallaee et al., "A Detailed Analysis of the KDD CUP 99 Data Set", 2009.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from models.anomaly.telemetry import ANOMALOUS, NORMAL, Telemetry, TelemetryError
from models.recommender.readers.files import find

_ATTRIBUTE = re.compile(r"@attribute\s+'(?P<name>[^']+)'\s+(?P<kind>real|\{.*\})", re.IGNORECASE)


@dataclass
class NSLKDDReader:
    """Read one `.txt` file; columns and their words come from the `.arff` header beside it.

    A column of words becomes one field of 0 and 1 for each word, `name=word`; a column of the words
    0 and 1 stays one. The row's number is its time.

    Args:
        path: the file, such as `KDDTest+.txt`.
        columns: the file with the `@attribute` lines; null: the one beside `path`.
    """

    path: str | Path
    columns: str | Path | None = None

    def read(self) -> Telemetry:
        """Raises:
        MissingInputError: no such file, or no header.
        TelemetryError: columns that do not agree, a value that is no number, an unknown word.
        """
        file = find(self.path, ("*.txt",))
        kinds = _kinds(find(self.columns or file.parent, ("*.arff", "*.arff.txt")))
        frame = pl.read_csv(file, has_header=False, infer_schema=False)
        # After the class comes how many of 21 classifiers were right: no property of a connection.
        if frame.width not in (len(kinds), len(kinds) + 1):
            raise TelemetryError(f"{file}: {frame.width} columns, but {len(kinds)} are described")
        names = [*kinds, "difficulty"][: frame.width]
        frame = frame.rename(dict(zip(frame.columns, names, strict=True)))
        label = np.where(frame["class"].to_numpy() == "normal", NORMAL, ANOMALOUS)
        columns: dict[str, np.ndarray] = {}
        for name, words in list(kinds.items())[:-1]:
            columns |= _fields(file, name, frame[name], words)
        values = np.column_stack(list(columns.values()))
        return Telemetry.of(values, list(columns), label=label.astype(np.int8))


def _kinds(header: Path) -> dict[str, list[str]]:
    """Column → its words; none: numbers."""
    kinds = {}
    for line in header.read_text("utf-8").splitlines():
        found = _ATTRIBUTE.match(line.strip())
        if found:
            words = [w.strip().strip("'") for w in found["kind"].strip("{}").split(",")]
            kinds[found["name"]] = [] if found["kind"].lower() == "real" else words
    if not kinds or list(kinds)[-1] != "class":
        raise TelemetryError(f"{header}: no @attribute lines that end in 'class'")
    return kinds


def _fields(file: Path, name: str, column: pl.Series, words: list[str]) -> dict[str, np.ndarray]:
    if len(words) > 2:
        unknown = column.filter(~column.is_in(words))
        if len(unknown):
            raise TelemetryError(
                f"{file}: {name} is {unknown[0]!r}, none of the {len(words)} words"
            )
        return {f"{name}={word}": (column == word).to_numpy().astype(np.float32) for word in words}
    numbers = column.cast(pl.Float32, strict=False)
    if numbers.null_count():
        row = int(numbers.is_null().arg_max() or 0)
        raise TelemetryError(f"{file}: row {row}: {name} is {column[row]!r}, not a number")
    return {name: numbers.to_numpy()}
