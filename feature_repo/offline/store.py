"""The point-in-time join as a Feast offline store.

`feature_store.yaml` chooses it by `type: feature_repo.offline.store.AsofOfflineStore`. Only
`get_historical_features` and the writing of pushed rows are ours; materialization and logging are
those of Feast's DuckDB store, extended through Feast's plugin interface. Sources are Parquet files
or folders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from feast.infra.offline_stores import offline_utils
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore, DuckDBOfflineStoreConfig
from feast.infra.offline_stores.file_source import FileSource, SavedDatasetFileStorage
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.on_demand_feature_view import OnDemandFeatureView

from feature_repo.offline.asof import FeatureTable, JoinError, point_in_time_join
from feature_repo.offline.pushes import PushError, append_rows


class AsofOfflineStoreConfig(DuckDBOfflineStoreConfig):
    """The `offline_store` part of `feature_store.yaml`."""

    type: Literal["feature_repo.offline.store.AsofOfflineStore"] = (
        "feature_repo.offline.store.AsofOfflineStore"
    )
    # For one part of a feature table in a join; larger tables are joined in several parts.
    memory_limit_mb: float = 1024
    # A feature row counts only if it had been created by the entity row's moment.
    known_only: bool = False


class AsofOfflineStore(DuckDBOfflineStore):
    """Feast's DuckDB store with a point-in-time join that is linear and loses no rows."""

    @staticmethod
    def get_historical_features(
        config: Any,
        feature_views: list[Any],
        feature_refs: list[str],
        entity_df: pd.DataFrame | str | None,
        registry: Any,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = False,
        **_: Any,
    ) -> RetrievalJob:
        """See Feast. The join runs when the job is executed.

        Raises:
            JoinError: the entity frame is not a data frame, or cannot be joined.
        """
        if not isinstance(entity_df, pd.DataFrame):
            raise JoinError(
                f"entity_df is a {type(entity_df).__name__}; this store takes a pandas data frame"
            )
        schema = dict(zip(entity_df.columns, entity_df.dtypes, strict=True))
        timestamp = offline_utils.infer_event_timestamp_from_entity_df(schema)
        tables = [_table(view, feature_refs, full_feature_names, config) for view in feature_views]
        on_demand = OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)
        return AsofRetrievalJob(
            entity_df,
            timestamp,
            tables,
            known_only=filter_by_created_timestamp or config.offline_store.known_only,
            memory_limit_mb=config.offline_store.memory_limit_mb,
            on_demand=on_demand,
            full_names=full_feature_names,
            feature_refs=feature_refs,
        )

    @staticmethod
    def offline_write_batch(
        config: Any,
        feature_view: Any,
        table: pa.Table,
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Keep pushed rows as small files of the view's folder; see `pushes.py`.

        Raises:
            PushError: rows that the view cannot take.
        """
        path = _folder(feature_view.batch_source, config)
        if path.suffix == ".parquet":
            raise PushError(f"view {feature_view.name} is one file, {path}; it takes no pushes")
        append_rows(path, feature_view, table)
        if progress:
            progress(len(table))

    def get_table_column_names_and_types_from_data_source(
        self, config: Any, data_source: Any
    ) -> Iterable[tuple[str, str]]:
        """Columns of the files; Feast would count the days of their folders among them."""
        path = _folder(data_source, config)
        files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
        if not files or not files[0].is_file():
            raise PushError(f"{path}: no rows yet; run scripts/materialize.py first")
        schema = pq.read_schema(files[-1])
        return [(field.name, str(field.type)) for field in schema]


class AsofRetrievalJob(RetrievalJob):
    """A join that has been described but not run."""

    def __init__(
        self,
        entity_df: pd.DataFrame,
        timestamp: str,
        tables: Sequence[FeatureTable],
        *,
        known_only: bool,
        memory_limit_mb: float,
        on_demand: list[Any],
        full_names: bool,
        feature_refs: list[str],
    ) -> None:
        self._entities = _as_polars(entity_df, timestamp)
        self._timestamp = timestamp
        self._tables = tables
        self._known_only = known_only
        self._memory_limit_mb = memory_limit_mb
        self._on_demand = on_demand
        self._full_names = full_names
        moments = self._entities[timestamp]
        self._metadata = RetrievalMetadata(
            features=feature_refs,
            keys=[c for c in entity_df.columns if c != timestamp],
            min_event_timestamp=_moment(moments.min()),
            max_event_timestamp=_moment(moments.max()),
        )

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        joined = point_in_time_join(
            self._entities,
            self._timestamp,
            self._tables,
            known_only=self._known_only,
            memory_limit_mb=self._memory_limit_mb,
        )
        return joined.to_arrow(compat_level=pl.CompatLevel.oldest())

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
    def metadata(self) -> RetrievalMetadata:
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


def _table(view: Any, feature_refs: list[str], full_names: bool, config: Any) -> FeatureTable:
    source = view.batch_source
    if not isinstance(source, FileSource):
        raise JoinError(f"view {view.name} reads a {type(source).__name__}; this store reads files")
    prefix = view.projection.name_to_use()
    wanted = [ref.split(":", 1)[1] for ref in feature_refs if ref.split(":", 1)[0] == prefix]
    shown = view.projection.name_alias or view.name
    renamed = view.projection.join_key_map or {}
    return FeatureTable(
        name=view.name,
        path=_folder(source, config),
        keys={e.name: renamed.get(e.name, e.name) for e in view.entity_columns},
        features={f: f"{shown}__{f}" if full_names else f for f in wanted},
        timestamp=source.timestamp_field,
        created=source.created_timestamp_column or None,
        ttl=view.ttl,
        renames=dict(source.field_mapping or {}),
    )


def _folder(source: Any, config: Any) -> Path:
    path = Path(source.path.removeprefix("file://"))
    return path if path.is_absolute() else Path(config.repo_path) / path


def _as_polars(frame: pd.DataFrame, timestamp: str) -> pl.DataFrame:
    """The entity frame; times written as text are parsed, as Feast does.

    Raises:
        JoinError: a column mixes types, or its times cannot be read.
    """
    try:
        if not pd.api.types.is_datetime64_any_dtype(frame[timestamp]):
            frame = frame.assign(**{timestamp: pd.to_datetime(frame[timestamp], utc=True)})
        return pl.from_pandas(frame)
    except (ValueError, TypeError, pa.ArrowException, pl.exceptions.PolarsError) as error:
        raise JoinError(f"the entity frame cannot be read: {error}") from error


def _moment(value: Any) -> datetime | None:
    return value if isinstance(value, datetime) else None
