"""A snapshot of the feature store: rows as of their moments, and the versions of their features.

`scripts/impressions.py` makes one of the warehouse's events; `scripts/features.py snapshot` of any
file of keys, moments and labels.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from models.recommender.interactions import DataError
from models.recommender.ranking.rows import Rows
from models.recommender.readers.files import MissingInputError


@dataclass
class SnapshotReader:
    """Read a snapshot's rows and what they were made of.

    Args:
        path: its folder, with `data.parquet` and `manifest.json`.
        label: column of 0 and 1 (or false and true); rows without a label are left out.
        time: column of the moments by which rows are split.
    """

    path: str | Path
    label: str = "label"
    time: str = "event_timestamp"

    def read(self) -> Rows:
        """Rows in order of time.

        Raises:
            MissingInputError: the folder is no snapshot.
            DataError: the snapshot was changed, or it has no such label or time.
        """
        folder = Path(self.path)
        manifest = self._manifest(folder)
        data = folder / "data.parquet"
        try:
            with data.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise DataError(f"{data}: cannot be read ({error})") from error
        if found != manifest["data"]["sha256"]:
            raise DataError(
                f"{data}: SHA-256 is {found}, manifest.json says {manifest['data']['sha256']}; "
                f"`python scripts/features.py verify {folder}` tells what was changed"
            )
        frame = pl.read_parquet(data, hive_partitioning=False)
        for column in (self.label, self.time):
            if column not in frame.columns:
                raise DataError(f"{data}: no column {column!r}; it has {', '.join(frame.columns)}")
        frame = frame.filter(pl.col(self.label).is_not_null())
        strange = frame.filter(~pl.col(self.label).cast(pl.Float64, strict=False).is_in([0.0, 1.0]))
        if len(strange):
            raise DataError(
                f"{data}: {self.label} is {strange[self.label][0]!r} in {len(strange)} rows; it "
                "must be 0 or 1"
            )
        frame = frame.with_columns(
            pl.col(self.label).cast(pl.Int8).alias("label"),
            pl.col(self.time).cast(pl.Datetime("us", "UTC")).alias("timestamp"),
        ).sort("timestamp", maintain_order=True)
        service = manifest["query"].get("service")
        return Rows(frame, str(folder), service, self._features(folder, manifest))

    @staticmethod
    def _manifest(folder: Path) -> dict[str, Any]:
        path = folder / "manifest.json"
        if not path.is_file():
            raise MissingInputError(
                f"{folder}: no manifest.json; give a snapshot's folder, such as "
                "`python scripts/impressions.py output=…` makes"
            )
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            content["data"]["sha256"], content["query"], content["views"]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: not a snapshot's manifest ({error!r})") from error
        return content

    @staticmethod
    def _features(folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
        """View → what a signature keeps of it."""
        kept = ("version", "revision", "schema", "code", "key", "features")
        views: dict[str, Any] = {}
        for name, view in manifest["views"].items():
            if "features" not in view:
                raise DataError(
                    f"{folder}: its manifest does not say which features {name} had; take the "
                    "snapshot again"
                )
            views[name] = {key: view.get(key) for key in kept}
        return views
