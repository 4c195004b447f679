"""The feature values in the prediction log: what models were really given.

Each answer's `features` is a JSON object, "view:feature" → value, and `feature_timestamp` is the
newest moment of what was read. It is null where a caller brought the values along: those answers
are left out, for the store did not give them. Values are read without a loop over rows; a value of
another type than its feature's stays visible as text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from feature_repo.quality.schema import polars_type
from feature_repo.store import StoreError
from feature_repo.view import View

VALUE, GIVEN = "value", "given"  # the value in the feature's type; the text that was logged
_LOOKED_AT = 500  # answers whose names of features are gathered


@dataclass(frozen=True)
class PredictionLog:
    """The newest answers of the table `predictions`.

    Args:
        folder: `date=YYYY-MM-DD/*.parquet`.
        keys: its columns that are join keys of views. (`source` is not: there it means who
            answered.)
        max_rows: answers looked at, the newest ones.
    """

    folder: Path
    keys: Sequence[str] = ("user_id",)
    max_rows: int = 20_000

    def read(self) -> pl.DataFrame | None:
        """request_id, timestamp, the keys and features; None if features are not logged.

        Raises:
            StoreError: a file that cannot be read.
        """
        files = sorted(
            f for f in Path(self.folder).rglob("*.parquet") if not f.name.startswith(".")
        )
        found: list[pl.DataFrame] = []
        rows = 0
        days = sorted({f.parent for f in files}, reverse=True)
        for day in days:
            frame = self._day([f for f in files if f.parent == day])
            if frame is not None and len(frame):
                found.append(frame)
                rows += len(frame)
            if rows >= self.max_rows:
                break
        if not found:
            return None
        return pl.concat(found, how="diagonal").top_k(self.max_rows, by="timestamp")

    def _day(self, files: list[Path]) -> pl.DataFrame | None:
        lazy = pl.scan_parquet(
            files, hive_partitioning=False, missing_columns="insert", extra_columns="ignore"
        )
        try:
            schema = lazy.collect_schema()
            if "features" not in schema:
                return None
            keys = [k for k in self.keys if k in schema]
            read = pl.col("features").is_not_null()
            if "feature_timestamp" in schema:
                read &= pl.col("feature_timestamp").is_not_null()
            return (
                lazy.filter(read)
                .select("request_id", "timestamp", *keys, "features")
                .top_k(self.max_rows, by="timestamp")
                .collect(engine="streaming")
            )
        except (pl.exceptions.PolarsError, OSError) as error:
            raise StoreError(
                f"{files[0].parent}: the prediction log cannot be read "
                f"({str(error).splitlines()[0]})"
            ) from error


def names_in(log: pl.DataFrame) -> list[str]:
    """The "view:feature" names in the newest answers.

    Raises:
        StoreError: an answer whose features are no JSON object.
    """
    names: dict[str, None] = {}
    for text in log.top_k(_LOOKED_AT, by="timestamp")["features"]:
        try:
            names |= dict.fromkeys(json.loads(text))
        except (ValueError, TypeError) as error:
            raise StoreError(
                f"prediction log: features {text[:80]!r} are no JSON object"
            ) from error
    return list(names)


def served(log: pl.DataFrame, view: View, feature: str) -> pl.DataFrame:
    """`value` and `given` of one feature, and `logged`: whether the answer has it; one row each."""
    name = f"{view.full_name}:{feature}"
    dtype = {f.name: polars_type(f.dtype) for f in view.features}[feature]
    text = log["features"].str.json_path_match(f'$["{name}"]')
    if isinstance(dtype, pl.List):
        value = _lists(text, dtype)
    elif dtype == pl.Boolean:
        value = text == "true"
    else:
        value = text.cast(dtype, strict=False)
        if dtype.is_integer():  # a whole number may be logged as 2.0
            real = text.cast(pl.Float64, strict=False)
            whole = real.cast(pl.Int64, strict=False)
            value = value.zip_with(value.is_not_null() | (whole != real), whole)
    logged = log["features"].str.contains(f'"{name}":', literal=True)
    logged |= log["features"].str.contains(f'"{name}" :', literal=True)
    return pl.DataFrame({VALUE: value, GIVEN: text, "logged": logged})


def known(names: Sequence[str], views: Sequence[View], keys: Sequence[str]) -> Mapping[str, View]:
    """Those names that can be computed again: of a stored view whose key is in the log."""
    by_name = {v.full_name: v for v in views if v.key in keys}
    found = {}
    for name in names:
        view, _, feature = name.partition(":")
        if view in by_name and feature in {f.name for f in by_name[view].features}:
            found[name] = by_name[view]
    return found


def _lists(text: pl.Series, dtype: pl.List) -> pl.Series:
    """Texts that are no list become null, and so differ from any list."""
    looks = text.str.starts_with("[") & text.str.ends_with("]")
    lists = pl.select(pl.when(looks).then(text)).to_series()
    try:
        return lists.str.json_decode(dtype)
    except pl.exceptions.PolarsError:  # elements of another kind
        return pl.Series(text.name, [None] * len(text), dtype)
