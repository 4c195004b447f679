"""Child: one point-in-time join through Feast's SDK with one offline store.

`python benchmarks/pit_join_rate.py '<json: folder, store, type, features, ttl_days, options>'`
prints seconds (on the clock and of the processor), peak memory, rows, and how often each feature
is null.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from datetime import timedelta
from pathlib import Path

import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float64


def main() -> None:
    task = json.loads(sys.argv[1])
    folder = Path(task["folder"])
    user = Entity(name="user_id", join_keys=["user_id"], value_type=ValueType.INT64)
    names = [f"f{n}" for n in range(task["features"])]
    view = FeatureView(
        name="view",
        entities=[user],
        ttl=timedelta(days=task["ttl_days"]),
        schema=[Field(name=n, dtype=Float64) for n in names],
        source=FileSource(
            name="table",
            path=str(folder / "features.parquet"),
            timestamp_field="event_timestamp",
            created_timestamp_column="created",
        ),
    )
    registry = folder / f"{task['store']}.db"
    registry.unlink(missing_ok=True)
    store = FeatureStore(
        config=RepoConfig(
            project="benchmark",
            provider="local",
            registry=str(registry),
            online_store={"type": "sqlite", "path": str(registry) + ".online"},
            offline_store={"type": task["type"], **task["options"]},
            entity_key_serialization_version=3,
        )
    )
    store.apply([user, view])
    entities = pd.read_parquet(folder / "entities.parquet")
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    started, cpu = time.perf_counter(), time.process_time()
    found = store.get_historical_features(entities, [f"view:{n}" for n in names]).to_df()
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    report = {
        "seconds": seconds,
        "cpu_seconds": cpu,  # of all threads: what other programs on the machine hardly change
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "before_mb": base,
        "rows": len(found),
        "lost_rows": len(entities) - len(found),
        "sum": float(found["f0"].sum()),
        "null": int(found["f0"].isna().sum()),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
