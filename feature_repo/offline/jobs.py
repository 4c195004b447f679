"""Results of the offline store that are described now and made when they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata

from feature_repo.offline.table import JoinError


class FrameJob(RetrievalJob):
    """A data frame that a function will make.

    Args:
        make: makes it, each time that somebody asks.
        on_demand: on-demand views that Feast adds to it.
        full_names: whether its features carry their view's name.
        metadata: of the entity frame that it was made for.
    """

    def __init__(
        self,
        make: Callable[[], pl.DataFrame],
        on_demand: list[Any] | None = None,
        full_names: bool = False,
        metadata: RetrievalMetadata | None = None,
    ) -> None:
        self._make = make
        self._on_demand = on_demand or []
        self._full_names = full_names
        self._metadata = metadata

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        return self._make().to_arrow(compat_level=pl.CompatLevel.oldest())

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        frame: pd.DataFrame = self._to_arrow_internal(timeout).to_pandas()
        return frame

    @property
    def full_feature_names(self) -> bool:
        return self._full_names

    @property
    def on_demand_feature_views(self) -> list[Any]:
        return self._on_demand

    @property
    def metadata(self) -> RetrievalMetadata | None:
        return self._metadata

    def persist(
        self, storage: Any, allow_overwrite: bool = False, timeout: int | None = None
    ) -> None:
        """Write the result as one Parquet file.

        Raises:
            JoinError: the storage is no file, or is there already.
        """
        if not isinstance(storage, SavedDatasetFileStorage):
            raise JoinError(f"this store saves to files, not to {type(storage).__name__}")
        path = Path(storage.file_options.uri.removeprefix("file://"))
        if path.exists() and not allow_overwrite:
            raise JoinError(f"{path} exists; allow_overwrite=True replaces it")
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        pl.from_arrow(self.to_arrow()).write_parquet(partial)  # type: ignore[union-attr]
        partial.replace(path)
