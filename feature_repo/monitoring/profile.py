"""What a feature looked like in a window of time, small enough to keep in a file.

A baseline is made of profiles: from an earlier window of the same store, or saved once and read
again (a training set's, say), so that drift is measured against what a model has learned.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from feature_repo.monitoring.bins import Bins, choose_bins, measured
from feature_repo.monitoring.distances import Counts, design_effect
from feature_repo.monitoring.outliers import Fences
from feature_repo.view import TIME, View


class BaselineError(ValueError):
    """A baseline file that is not there or not one."""

    exit_code = 66  # EX_NOINPUT


@dataclass(frozen=True)
class Profile:
    """One feature's distribution.

    Args:
        counts: rows in each of `bins`.
        fences: of its outliers; None for what is not a number.
        outliers: share outside by robust z, by quartiles; None likewise.
        effect: rows that are worth one independent row; see `design_effect`.
    """

    bins: Bins
    counts: tuple[int, ...]
    fences: Fences | None = None
    outliers: tuple[float, float] | None = None
    effect: float = 1.0

    @property
    def rows(self) -> int:
        return sum(self.counts)

    @property
    def null_share(self) -> float | None:
        return self.counts[0] / self.rows if self.rows else None


@dataclass(frozen=True)
class Profiling:
    """How profiles are made.

    Args:
        bins: quantile bins of a number.
        max_values: a column with no more values is counted value by value.
        z, reach: see `Fences`.
    """

    bins: int = 10
    max_values: int = 20
    z: float = 3.5
    reach: float = 3.0

    def __call__(self, column: pl.Series, blocks: Counts | None = None) -> Profile:
        """Args: blocks: number of each row's block of rows that may resemble one another."""
        bins = choose_bins(column, self.bins, self.max_values)
        return self._with(column, blocks, bins, self._fences(column, bins))

    def like(self, column: pl.Series, baseline: Profile, blocks: Counts | None = None) -> Profile:
        """The profile in a baseline's bins and fences.

        Raises:
            BaselineError: the baseline is of a column of another type.
        """
        try:
            return self._with(column, blocks, baseline.bins, baseline.fences)
        except (pl.exceptions.PolarsError, AttributeError, TypeError, ValueError) as error:
            raise BaselineError(
                f"the baseline of {column.name} does not fit its type, {column.dtype}; "
                "make the baseline again"
            ) from error

    def _fences(self, column: pl.Series, bins: Bins) -> Fences | None:
        if not column.dtype.is_numeric() and bins.of == "value":
            return None
        return Fences.of(measured(column, bins.of), self.z, self.reach)

    def _with(
        self, column: pl.Series, blocks: Counts | None, bins: Bins, fences: Fences | None
    ) -> Profile:
        places = bins.place(column)
        counts = tuple(int(n) for n in bins.count(places))
        outliers = fences.shares(measured(column, bins.of)) if fences else None
        effect = 1.0 if blocks is None else design_effect(places, blocks, len(counts))
        return Profile(bins, counts, fences, outliers, effect)


@dataclass(frozen=True)
class Baseline:
    """Profiles by view and feature, and where they are from."""

    source: str
    views: Mapping[str, Mapping[str, Profile]]

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> Baseline:
        """Raises: BaselineError."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            views = {
                view: {name: _profile(p) for name, p in features.items()}
                for view, features in content["views"].items()
            }
            return cls(content["source"], views)
        except OSError as error:
            raise BaselineError(
                f"{path}: no baseline file ({error.strerror}); make one with save_baseline={path}"
            ) from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise BaselineError(f"{path} is not a baseline file ({error!r})") from error


def profile_view(profiling: Profiling, view: View, rows: pl.DataFrame) -> dict[str, Profile]:
    """Profiles of all features; none without rows."""
    if rows.is_empty():
        return {}
    blocks = blocks_of(view, rows)
    return {f.name: profiling(rows[f.name], blocks) for f in view.features}


def blocks_of(view: View, rows: pl.DataFrame) -> Counts:
    """A key's rows of one day are a block."""
    block = pl.struct(view.key, pl.col(TIME).dt.date()).hash()
    numbers: Counts = rows.select(block.rank("dense").cast(pl.Int64) - 1).to_series().to_numpy()
    return numbers


def named_window(start: datetime, end: datetime) -> str:
    return f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"


def _profile(content: Mapping[str, Any]) -> Profile:
    bins = content["bins"]
    fences, outliers = content["fences"], content["outliers"]
    return Profile(
        Bins(
            bins["of"],
            None if bins["edges"] is None else tuple(bins["edges"]),
            None if bins["values"] is None else tuple(bins["values"]),
        ),
        tuple(content["counts"]),
        Fences(**fences) if fences else None,
        tuple(outliers) if outliers else None,
        content["effect"],
    )
