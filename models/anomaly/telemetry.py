"""Telemetry: rows of numbers with a time and a source, and the windows that end in each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

NORMAL, ANOMALOUS, UNKNOWN = 0, 1, -1
DOUBTED = -2  # unknown, but it raised an alarm: what nobody has judged must not be learnt as normal


class TelemetryError(ValueError):
    """Telemetry that cannot be learnt from or scored; the text names the place and the value."""

    exit_code = 65  # EX_DATAERR


@dataclass(frozen=True)
class Telemetry:
    """Rows in time order within each source.

    Args:
        fields: names of the F columns of `values`.
        values: [N, F] float32; NaN is a missing value; never infinite.
        time: [N] int64, seconds since 1970 UTC; the row's number where the data has no time.
        source: [N] int32, index into `sources`.
        sources: names.
        label: [N] int8: `NORMAL`, `ANOMALOUS`, `UNKNOWN`, and before a training `DOUBTED`.

    Raises:
        TelemetryError: shapes that do not agree, no rows, an infinite value, times out of order.
    """

    fields: tuple[str, ...]
    values: NDArray[np.float32]
    time: NDArray[np.int64]
    source: NDArray[np.int32]
    sources: tuple[str, ...]
    label: NDArray[np.int8]

    def __post_init__(self) -> None:
        rows, width = self.values.shape
        if rows == 0:
            raise TelemetryError("no rows of telemetry; at least one is needed")
        if width != len(self.fields):
            raise TelemetryError(f"{width} columns of values, but {len(self.fields)} field names")
        for name in ("time", "source", "label"):
            if len(getattr(self, name)) != rows:
                raise TelemetryError(f"{rows} rows of values, {len(getattr(self, name))} of {name}")
        infinite = np.argwhere(np.isinf(self.values))
        if len(infinite):
            row, column = infinite[0]
            raise TelemetryError(
                f"row {row}, field {self.fields[column]!r} is infinite; it must be a number or "
                "missing"
            )
        same = self.source[1:] == self.source[:-1]
        back = np.flatnonzero(same & (self.time[1:] < self.time[:-1]))
        if len(back):
            raise TelemetryError(
                f"row {back[0] + 1} is older than the row before it of the same source; rows must "
                "be sorted by time"
            )

    def __len__(self) -> int:
        return len(self.values)

    @classmethod
    def of(
        cls,
        values: NDArray[np.floating],
        fields: Sequence[str] | None = None,
        time: NDArray[np.integer] | None = None,
        source: Sequence[str] | None = None,
        label: NDArray[np.integer] | None = None,
    ) -> Telemetry:
        """Telemetry from a plain matrix: what is not given gets a default, rows are sorted."""
        rows, width = np.shape(values)
        moments = np.arange(rows) if time is None else np.asarray(time)
        named = np.asarray(["default"] * rows if source is None else list(source))
        sources, codes = np.unique(named, return_inverse=True)
        labels = np.full(rows, UNKNOWN) if label is None else np.asarray(label)
        order = np.lexsort((moments, codes))
        return cls(
            fields=tuple(fields or (f"x{i}" for i in range(width))),
            values=np.asarray(values, dtype=np.float32)[order],
            time=moments[order].astype(np.int64),
            source=codes[order].astype(np.int32),
            sources=tuple(str(s) for s in sources),
            label=labels[order].astype(np.int8),
        )

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> Telemetry:
        """Some rows, in order: numbers must rise, or be a mask."""
        return Telemetry(
            self.fields,
            self.values[rows],
            self.time[rows],
            self.source[rows],
            self.sources,
            self.label[rows],
        )

    def learnable(self) -> Telemetry:
        """Without doubted rows.

        Raises:
            TelemetryError: no row is left.
        """
        doubted = self.label == DOUBTED
        return self.take(~doubted) if doubted.any() else self

    def undoubted(self) -> Telemetry:
        """All rows; doubted ones are unknown like others."""
        doubted = self.label == DOUBTED
        if not doubted.any():
            return self
        return replace(self, label=np.where(doubted, UNKNOWN, self.label).astype(np.int8))

    def hidden(self) -> Telemetry:
        """No label is known; what is doubted stays so."""
        doubted = self.label == DOUBTED
        return replace(self, label=np.where(doubted, DOUBTED, UNKNOWN).astype(np.int8))

    def windows(self, length: int) -> NDArray[np.float32]:
        """[N, T, F]: for each row, the last T rows of its source, itself last.

        Where a source has fewer, the front is NaN. T = 1 gives a view, longer windows a copy.
        """
        if length == 1:
            return self.values[:, None, :]
        rows = np.arange(len(self))[:, None] - np.arange(length - 1, -1, -1)  # [N, T]
        inside = rows >= 0
        rows = np.maximum(rows, 0)
        inside &= self.source[rows] == self.source[:, None]
        windows: NDArray[np.float32] = self.values[rows]
        windows[~inside] = np.nan
        return windows
