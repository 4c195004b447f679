"""The point-in-time join as a Feast offline store.

`feature_store.yaml` chooses it by `type: feature_repo.offline.store.AsofOfflineStore`. Joins,
reads and pushed rows are ours; logging is that of Feast's DuckDB store, which it extends through
Feast's plugin interface. Sources are Parquet files or folders of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from feast.infra.offline_stores import offline_utils
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore, DuckDBOfflineStoreConfig
from feast.infra.offline_stores.file_source import FileSource
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.on_demand_feature_view import OnDemandFeatureView

from feature_repo.offline.asof import point_in_time_join
from feature_repo.offline.jobs import FrameJob
from feature_repo.offline.pushes import PushError, append_rows
from feature_repo.offline.table import TIME, FeatureTable, JoinError, utc


class AsofOfflineStoreConfig(DuckDBOfflineStoreConfig):
    """The `offline_store` part of `feature_store.yaml`."""

    type: Literal["feature_repo.offline.store.AsofOfflineStore"] = (
        "feature_repo.offline.store.AsofOfflineStore"
    )
    # For the feature rows that are in memory at a time in a join.
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
        entities = _as_polars(entity_df, timestamp)
        moments = entities[timestamp]

        def make() -> pl.DataFrame:
            return point_in_time_join(
                entities,
                timestamp,
                tables,
                known_only=filter_by_created_timestamp or config.offline_store.known_only,
                memory_limit_mb=config.offline_store.memory_limit_mb,
            )

        metadata = RetrievalMetadata(
            features=feature_refs,
            keys=[c for c in entity_df.columns if c != timestamp],
            min_event_timestamp=_moment(moments.min()),
            max_event_timestamp=_moment(moments.max()),
        )
        on_demand = OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)
        return FrameJob(make, on_demand, full_feature_names, metadata)

    @staticmethod
    def pull_latest_from_table_or_query(
        config: Any,
        data_source: Any,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> RetrievalJob:
        """Each key's newest row of the time between, both ends included; Feast materializes it."""
        columns = [*join_key_columns, *feature_name_columns, timestamp_field]
        columns += [created_timestamp_column] if created_timestamp_column else []
        rows = _rows(config, data_source, columns, timestamp_field, start_date, end_date)
        order = [timestamp_field, *([created_timestamp_column] if created_timestamp_column else [])]
        newest = pl.exclude(join_key_columns).sort_by(order).last()
        if join_key_columns:
            return FrameJob(
                lambda: rows().group_by(join_key_columns).agg(newest).collect(engine="streaming")
            )
        return FrameJob(lambda: rows().sort(order).tail(1).collect())

    @staticmethod
    def pull_all_from_table_or_query(
        config: Any,
        data_source: Any,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """Every row of the time between, both ends included; without times, every row."""
        columns = [*join_key_columns, *feature_name_columns, timestamp_field]
        columns += [created_timestamp_column] if created_timestamp_column else []
        rows = _rows(config, data_source, columns, timestamp_field, start_date, end_date)
        return FrameJob(lambda: rows().collect(engine="streaming"))

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
        path = _path(feature_view.batch_source, config)
        if path.suffix == ".parquet":
            raise PushError(f"view {feature_view.name} is one file, {path}; it takes no pushes")
        append_rows(path, feature_view, table)
        if progress:
            progress(len(table))

    def get_table_column_names_and_types_from_data_source(
        self, config: Any, data_source: Any
    ) -> Iterable[tuple[str, str]]:
        """Columns of the files; Feast would count the days of their folders among them."""
        path = _path(data_source, config)
        files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
        if not files or not files[0].is_file():
            raise PushError(f"{path}: no rows yet; run scripts/materialize.py first")
        schema = pq.read_schema(files[-1])
        return [(field.name, str(field.type)) for field in schema]


def _rows(
    config: Any,
    source: Any,
    columns: Sequence[str],
    timestamp: str,
    start: datetime | None,
    end: datetime | None,
) -> Callable[[], pl.LazyFrame]:
    """A function that scans a source's rows between two moments; times without zone are UTC."""
    path = _path(source, config)

    def scan() -> pl.LazyFrame:
        table = FeatureTable(
            name=source.name or str(path),
            path=path,
            keys={},
            features=dict.fromkeys(columns, ""),
            timestamp=timestamp,  # Feast asks for the file's own names here
        )
        moment = utc(pl.col(timestamp), table.schema[timestamp])
        rows = table.scan(dict.fromkeys(columns))
        if start is not None:
            rows = rows.filter(moment >= _aware(start))
        return rows if end is None else rows.filter(moment <= _aware(end))

    return scan


def _aware(moment: datetime) -> pl.Expr:
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return pl.lit(moment.astimezone(UTC), TIME)


def _path(source: Any, config: Any) -> Path:
    if not isinstance(source, FileSource):
        raise JoinError(f"{source.name} is a {type(source).__name__}; this store reads files")
    path = Path(source.path.removeprefix("file://"))
    return path if path.is_absolute() else Path(config.repo_path) / path


def _table(view: Any, feature_refs: list[str], full_names: bool, config: Any) -> FeatureTable:
    source = view.batch_source
    prefix = view.projection.name_to_use()
    wanted = [ref.split(":", 1)[1] for ref in feature_refs if ref.split(":", 1)[0] == prefix]
    shown = view.projection.name_alias or view.name
    renamed = view.projection.join_key_map or {}
    return FeatureTable(
        name=view.name,
        path=_path(source, config),
        keys={e.name: renamed.get(e.name, e.name) for e in view.entity_columns},
        features={f: f"{shown}__{f}" if full_names else f for f in wanted},
        timestamp=source.timestamp_field,
        created=source.created_timestamp_column or None,
        ttl=view.ttl,
        renames=dict(source.field_mapping or {}),
    )


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
