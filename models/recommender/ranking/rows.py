"""Rows to learn from, as readers give them: labelled, in order of time, with their origin."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import polars as pl

from models.recommender.interactions import DataError, Ints
from models.recommender.ranking.fields import Field, Fields


@dataclass(frozen=True)
class Rows:
    """N rows.

    Args:
        frame: `label` (0 or 1), `timestamp` (microseconds, UTC), and a column for every field.
        service: the feature service that the columns came from; None: no feature store.
        features: view → its version, schema and code; see `models.artifact.Signature`.
        source: the names in messages.
    """

    frame: pl.DataFrame
    source: str
    service: str | None = None
    features: Mapping[str, Any] = field(default_factory=dict)

    @property
    def timestamp(self) -> Ints:
        """[N] microseconds since 1970, for splits by time."""
        moments: Ints = self.frame["timestamp"].dt.epoch("us").to_numpy()
        return moments

    def require(self, fields: Fields) -> None:
        """Raises `DataError` for a field without a column, or of the wrong type, or no rows."""
        require_columns(self.source, self.frame, fields)
        for each in fields.all:
            self._require_feature(each)

    def _require_feature(self, asked: Field) -> None:
        """The rows must have been made with what the field says it reads."""
        view, _, name = (asked.feature or "").partition(":")
        if self.service is None or not view:
            return
        there = self.features.get(view, {}).get("features", {})
        if name not in there:
            raise DataError(
                f"{self.source}: field {asked.name} reads {asked.feature}, which the rows were not "
                f"made with; view {view} has {', '.join(there) or 'nothing there'}"
            )

    def sha256(self) -> str:
        """Of labels and moments: the same rows have the same hash."""
        digest = hashlib.sha256(self.timestamp.tobytes())
        digest.update(self.frame["label"].cast(pl.Int8).to_numpy().astype(np.int8).tobytes())
        return digest.hexdigest()


def require_columns(source: str, frame: pl.DataFrame, fields: Fields) -> None:
    """Raises `DataError` for a field without a column, or of the wrong type, or no rows."""
    if frame.is_empty():
        raise DataError(f"{source}: no rows are left; at least 1 is needed")
    missing = [f.name for f in fields.all if f.name not in frame.columns]
    if missing:
        raise DataError(
            f"{source}: no column for the fields {', '.join(missing)}; it has "
            f"{', '.join(frame.columns)}. data.fields.{missing[0]}=null leaves a field out"
        )
    for each in fields.all:
        dtype = frame.schema[each.name]
        inner = dtype.inner if isinstance(dtype, pl.List) else dtype
        wrong = {
            "dense": not (dtype.is_numeric() or dtype == pl.Null),
            "categorical": dtype.is_nested() or dtype.is_float(),
            "multi_hot": inner is dtype or inner == pl.Float64 or inner == pl.Float32,
        }[each.kind]
        if wrong:
            raise DataError(
                f"{source}: column {each.name} is {dtype}; a {each.kind} field needs "
                f"{_NEEDS[each.kind]}"
            )


_NEEDS = {
    "dense": "a number",
    "categorical": "text, a whole number, true or false",
    "multi_hot": "a list of text or whole numbers",
}


class RowReader(Protocol):
    """Anything that reads rows."""

    def read(self) -> Rows: ...
