"""A small market whose events come by warehouse and by stream, and what batch makes of them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from feature_repo.computation import view_files
from feature_repo.sources import WarehouseInteractions, warehouse_tables
from feature_repo.store import open_store
from feature_repo.streaming.handler import FeatureStream
from feature_repo.streaming.landing import SCHEMA
from feature_repo.view import CREATED, TIME
from feature_repo.views import USER_COUNTERS, USER_HISTORY
from scripts.entrypoint import CONFIGS

Row = dict[str, Any]
FRAME = {**SCHEMA, "timestamp": pl.Datetime("us", "UTC"), "received_at": pl.Datetime("us", "UTC")}
NAMES = ("Product Viewed", "Product Added", "Order Completed", "Experiment Viewed")
VIEWS = ["user_history", "user_counters", "user_statistics"]


def midnight() -> datetime:
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def event(
    n: int, user: str | None, item: str | None, moment: datetime, name: str = NAMES[0]
) -> Row:
    bought = name == "Order Completed"
    return {
        **dict.fromkeys(FRAME),
        "message_id": f"m{n:07d}",
        "type": "track",
        "event": name,
        "user_id": user,
        "anonymous_id": None if user else "somebody",
        "item_id": item,
        "price": None if item is None else 2.5,
        "quantity": 1 + n % 3 if bought else None,
        "order_id": f"o{n}" if bought else None,
        "timestamp": moment,
        "received_at": moment,
    }


def events(count: int, users: int, days: Sequence[int], seed: int, first: int = 0) -> list[Row]:
    """Random events on days counted from today; coarse times, so that many share a moment."""
    draw = random.Random(seed)
    latest = datetime.now(UTC) - timedelta(minutes=1)
    rows = []
    for n in range(first, first + count):
        name = draw.choices(NAMES, (8, 2, 1, 1))[0]
        item = None if name == "Experiment Viewed" else f"i{draw.randrange(5)}"
        user = None if draw.random() < 0.03 else f"u{draw.randrange(users)}"
        moment = midnight() + timedelta(days=draw.choice(days), seconds=30 * draw.randrange(2880))
        rows.append(event(n, user, item, min(moment, latest), name))
    return rows


def write_warehouse(folder: Path, rows: Iterable[Row], name: str = "part-0") -> None:
    frame = pl.DataFrame(list(rows), schema=FRAME, orient="row")
    for (day,), part in frame.group_by(pl.col("timestamp").dt.date()):
        path = folder / "events" / f"date={day}" / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_parquet(path)


def materialize(root: Path, *overrides: str) -> dict[str, dict[str, Any]]:
    """What `scripts/materialize.py` does, in this process."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose("materialize", [*settings(root), *overrides])
    events = warehouse_tables(root / "data" / "warehouse")["events"]
    touched = WarehouseInteractions(events, list(cfg.data.reader.events))
    report: dict[str, dict[str, Any]] = instantiate(cfg.features)(
        {"interactions": touched, "events": events}, only=VIEWS
    )
    return report


def settings(root: Path) -> list[str]:
    return [f"paths.root={root}", "features.engine.memory_limit=512MB", "features.history_length=8"]


def stream(root: Path, *overrides: str) -> FeatureStream:
    """The handler of `scripts/stream.py task=features`, opened."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose("stream", [*settings(root), *overrides])
    handler = instantiate(cfg.task.handler)
    assert isinstance(handler, FeatureStream)
    handler.open()
    return handler


def online(root: Path, users: Sequence[str]) -> dict[str, list[Any]]:
    """What an online read says of users: each feature of both views."""
    refs = [f"{v.full_name}:{f.name}" for v in (USER_HISTORY, USER_COUNTERS) for f in v.features]
    store = open_store(root / "data" / "features")
    found = store.get_online_features(refs, [{"user_id": u} for u in users]).to_dict()
    lists = [None if x is None else list(x) for x in found["item_ids"]]
    return {**found, "item_ids": lists}


def newest(root: Path, view: Any) -> pl.DataFrame:
    """Each user's newest offline row."""
    files = [f for _, f in view_files(view, root / "data" / "features")]
    frame = pl.concat([pl.read_parquet(f, hive_partitioning=False) for f in files])
    last = frame.sort(TIME, CREATED).unique("user_id", keep="last", maintain_order=True)
    return last.drop(CREATED).sort("user_id")


def landed(root: Path) -> list[str]:
    """Message ids of the streamed events in the warehouse."""
    folder = root / "data" / "warehouse" / "events"
    files = list(folder.rglob("stream-*.parquet"))
    return [m for f in files for m in pl.read_parquet(f)["message_id"].to_list()]


def expect_equal(root: Path, truth: Path, users: Sequence[str]) -> None:
    """Online values and newest offline rows of one store are those of the other."""
    assert online(root, users) == online(truth, users)
    for view in (USER_HISTORY, USER_COUNTERS):
        columns = ["user_id", *(f.name for f in view.features)]
        ours, theirs = newest(root, view), newest(truth, view)
        assert ours.select(columns).to_dicts() == theirs.select(columns).to_dicts()
        assert (ours[TIME] >= theirs[TIME]).all()
