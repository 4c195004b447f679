"""Each transformation against slow, obvious Python, on DuckDB and on Spark."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import ibis
import polars as pl
import pytest

from feature_repo.dates import Dates
from feature_repo.engines import Engine
from feature_repo.engines.duckdb import DuckDBEngine
from feature_repo.engines.spark import SparkEngine
from feature_repo.sources import (
    WarehouseCategoryViews,
    WarehouseInteractions,
    WarehouseTable,
    warehouse_tables,
)
from feature_repo.transformations.item_content import item_content
from feature_repo.transformations.item_review_sentiment import item_review_sentiment
from feature_repo.transformations.item_statistics import item_statistics
from feature_repo.transformations.telemetry_windows import telemetry_windows
from feature_repo.transformations.user_categories import user_categories
from feature_repo.transformations.user_counters import user_counters
from feature_repo.transformations.user_history import user_history
from feature_repo.transformations.user_profile import user_profile
from feature_repo.transformations.user_statistics import user_statistics
from models.recommender.readers.warehouse import WarehouseReader

FIRST = date(2025, 12, 1)
DAYS = 45
EVENTS = ("Product Viewed", "Product Added", "Order Completed", "Experiment Viewed")
Row = dict[str, Any]


def at(day: int, second: float = 0.0) -> datetime:
    midnight = datetime(FIRST.year, FIRST.month, FIRST.day, tzinfo=UTC)
    return midnight + timedelta(days=day, seconds=second)


def make_events() -> list[Row]:
    """Few users and items, so that quiet weeks, repeats and moments in common all occur."""
    draw = random.Random(7)
    rows = []
    for n in range(600):
        event = draw.choices(EVENTS, (6, 2, 1, 1))[0]
        bare = event == "Experiment Viewed"
        rows.append(
            {
                "message_id": f"m{draw.randrange(10**9):09d}-{n}",
                "event": event,
                "user_id": draw.choice(["ann", "bob", "cem", "dan", None]),
                "item_id": None if bare else draw.choice(["lamp", "tent", "rope"]),
                "price": None if bare else draw.choice([2.5, 10.0, 99.99]),
                "quantity": draw.choice([1, 2]) if event == "Order Completed" else None,
                # Whole hours, so that several events share a moment; some fall on midnight.
                "timestamp": at(
                    draw.choice([0, 1, 2, 3, 8, 9, 30, 31, 44]), 3600 * draw.randrange(24)
                ),
            }
        )
    rows += [dict(r) for r in rows[:40]]  # delivered twice
    return rows


SCHEMAS: dict[str, dict[str, Any]] = {
    "events": {
        "message_id": pl.String, "event": pl.String, "user_id": pl.String, "item_id": pl.String,
        "price": pl.Float64, "quantity": pl.Int64, "timestamp": pl.Datetime("us", "UTC"),
    },
    "reviews": {
        "review_id": pl.String, "item_id": pl.String, "stars": pl.Int64,
        "timestamp": pl.Datetime("us", "UTC"),
    },
    "telemetry": {
        "source": pl.String, "cpu": pl.Float64, "memory": pl.Float64, "latency_ms": pl.Float64,
        "errors": pl.Int64, "requests": pl.Int64, "timestamp": pl.Datetime("us", "UTC"),
    },
}  # fmt: skip


def make_reviews() -> list[Row]:
    draw = random.Random(8)
    return [
        {
            "review_id": f"r{n}",
            "item_id": draw.choice(["lamp", "tent"]),
            "stars": draw.randint(1, 5),
            "timestamp": at(draw.randrange(DAYS), draw.randrange(86_400)),
        }
        for n in range(30)
    ]


def make_telemetry() -> list[Row]:
    draw = random.Random(9)
    return [
        {
            "source": source,
            "cpu": draw.uniform(0, 100),
            "memory": draw.uniform(0, 100),
            "latency_ms": draw.expovariate(1 / 30),
            "errors": draw.randrange(3),
            "requests": draw.randrange(100),
            "timestamp": at(0, 85_000 + 300 * n),  # over a midnight
        }
        for source in ("host-0", "host-1")
        for n in range(40)
    ]


@pytest.fixture(scope="module")
def raw() -> dict[str, list[Row]]:
    return {"events": make_events(), "reviews": make_reviews(), "telemetry": make_telemetry()}


@pytest.fixture(scope="module")
def warehouse(raw: dict[str, list[Row]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rows as Parquet partitions, in no particular order."""
    root = tmp_path_factory.mktemp("warehouse")
    for name, rows in raw.items():
        frame = pl.DataFrame(rows, schema=SCHEMAS[name], orient="row").sample(
            fraction=1.0, shuffle=True, seed=1
        )
        for (day,), part in frame.group_by(pl.col("timestamp").dt.date()):
            path = root / name / f"date={day}" / "part-0.parquet"
            path.parent.mkdir(parents=True)
            part.write_parquet(path)
    return root


@pytest.fixture(scope="module", params=["duckdb", "spark"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    if request.param == "duckdb":
        yield DuckDBEngine("1GB", 2)
        return
    if shutil.which("java") is None:
        pytest.skip("Spark needs a system Java; on Debian: apt-get install openjdk-17-jre-headless")
    spark = SparkEngine(
        "local[1]", {"spark.ui.enabled": "false", "spark.sql.shuffle.partitions": "1"}
    )
    yield spark
    spark.close()


def computed(engine: Engine, table: ibis.Table, folder: Path, *order: str) -> list[Row]:
    """What the engine writes, read back; `day` from the path."""
    engine.write(table, folder)
    frame = pl.read_parquet(folder / "**/*.parquet", hive_partitioning=True)
    moment = pl.col("event_timestamp")
    if frame.schema["event_timestamp"] == pl.Datetime("us"):
        moment = moment.dt.replace_time_zone("UTC")
    return frame.with_columns(moment).sort(*order).to_dicts()


def unique(rows: list[Row]) -> list[Row]:
    return list({r["message_id"]: r for r in rows}.values())


def recent(rows: list[Row], key: str, value: str, until: datetime, days: int) -> list[Row]:
    since = until - timedelta(days=days)
    return [r for r in rows if r[key] == value and since <= r["timestamp"] < until]


EVERY = Dates(FIRST, FIRST + timedelta(days=DAYS + 40))


def test_user_statistics(
    engine: Engine, warehouse: Path, raw: dict[str, list[Row]], tmp_path: Path
) -> None:
    events = warehouse_tables(warehouse)["events"].read(engine, EVERY)
    found = computed(
        engine, user_statistics(events, EVERY), tmp_path / "out", "user_id", "event_timestamp"
    )
    rows = unique(raw["events"])
    assert {r["user_id"] for r in found} == {"ann", "bob", "cem", "dan"}
    for row in found:
        for days in (1, 7, 30):
            mine = recent(rows, "user_id", row["user_id"], row["event_timestamp"], days)
            bought = [r for r in mine if r["event"] == "Order Completed"]
            assert row[f"views_{days}d"] == sum(r["event"] == "Product Viewed" for r in mine)
            assert row[f"adds_{days}d"] == sum(r["event"] == "Product Added" for r in mine)
            assert row[f"orders_{days}d"] == len(bought)
            spent = sum(r["price"] * r["quantity"] for r in bought)
            assert row[f"spend_{days}d"] == pytest.approx(spent)
            active = len({r["timestamp"].date() for r in mine})
            assert row[f"active_days_{days}d"] == active
        assert row["event_timestamp"] == datetime.combine(
            row["day"] + timedelta(days=1), datetime.min.time(), UTC
        )


def test_the_newest_row_before_any_midnight_is_exact(
    engine: Engine, warehouse: Path, raw: dict[str, list[Row]], tmp_path: Path
) -> None:
    """Also for somebody who has been quiet for weeks: no row missing where a value changes."""
    events = warehouse_tables(warehouse)["events"].read(engine, EVERY)
    found = computed(
        engine, user_statistics(events, EVERY), tmp_path / "out", "user_id", "event_timestamp"
    )
    rows = unique(raw["events"])
    for user in ("ann", "bob"):
        mine = [r for r in found if r["user_id"] == user]
        for day in range(1, DAYS + 35):
            known = [r for r in mine if r["event_timestamp"] <= at(day)]
            if not known:
                continue
            for days in (1, 7, 30):
                views = recent(rows, "user_id", user, at(day), days)
                expected = sum(r["event"] == "Product Viewed" for r in views)
                assert known[-1][f"views_{days}d"] == expected, (user, day, days)


def test_a_range_of_days_equals_the_same_days_of_everything(
    engine: Engine, warehouse: Path, tmp_path: Path
) -> None:
    table = warehouse_tables(warehouse)["events"]
    order = ("item_id", "event_timestamp")
    whole = computed(
        engine, item_statistics(table.read(engine, EVERY), EVERY), tmp_path / "a", *order
    )
    some = Dates(FIRST + timedelta(days=8), FIRST + timedelta(days=32))
    part = computed(
        engine, item_statistics(table.read(engine, some.widened(30)), some), tmp_path / "b", *order
    )
    assert part == [r for r in whole if some.first <= r["day"] <= some.last]
    assert part


def test_item_statistics(
    engine: Engine, warehouse: Path, raw: dict[str, list[Row]], tmp_path: Path
) -> None:
    events = warehouse_tables(warehouse)["events"].read(engine, EVERY)
    found = computed(
        engine, item_statistics(events, EVERY), tmp_path / "out", "item_id", "event_timestamp"
    )
    rows = unique(raw["events"])
    assert {r["item_id"] for r in found} == {"lamp", "tent", "rope"}
    for row in found:
        for days in (1, 7, 30):
            mine = recent(rows, "item_id", row["item_id"], row["event_timestamp"], days)
            views = sum(r["event"] == "Product Viewed" for r in mine)
            orders = sum(r["event"] == "Order Completed" for r in mine)
            visitors = {(r["timestamp"].date(), r["user_id"]) for r in mine if r["user_id"]}
            assert row[f"times_viewed_{days}d"] == views
            assert row[f"times_ordered_{days}d"] == orders
            assert row[f"visitor_days_{days}d"] == len(visitors)
            assert row[f"conversion_{days}d"] == pytest.approx(orders / views if views else 0.0)


def test_user_counters(
    engine: Engine, warehouse: Path, raw: dict[str, list[Row]], tmp_path: Path
) -> None:
    events = warehouse_tables(warehouse)["events"].read(engine, EVERY)
    found = computed(engine, user_counters(events, EVERY), tmp_path / "out", "user_id", "day")
    rows = unique(raw["events"])
    assert len(found) == len({(r["user_id"], r["timestamp"].date()) for r in rows if r["user_id"]})
    for row in found:
        mine = [
            r
            for r in rows
            if r["user_id"] == row["user_id"] and r["timestamp"].date() == row["day"]
        ]
        assert row["views"] == sum(r["event"] == "Product Viewed" for r in mine)
        assert row["event_timestamp"] == max(r["timestamp"] for r in mine)
        spent = sum(r["price"] * r["quantity"] for r in mine if r["event"] == "Order Completed")
        assert row["spend"] == pytest.approx(spent)


def test_user_categories(
    engine: Engine, warehouse: Path, raw: dict[str, list[Row]], tmp_path: Path
) -> None:
    """Counts of the 30 days up to each row's moment, from any stretch of days."""
    catalog = {"lamp": "light", "tent": "camping", "rope": "camping"}
    frame = pl.DataFrame([{"item_id": i, "category": c} for i, c in catalog.items()])
    (tmp_path / "items").mkdir()
    frame.write_parquet(tmp_path / "items" / "part-0.parquet")
    views = WarehouseCategoryViews(
        warehouse_tables(warehouse)["events"], WarehouseTable(tmp_path / "items")
    )
    order = ("user_id", "day")
    table = user_categories(views.read(engine, EVERY), EVERY)
    found = computed(engine, table, tmp_path / "a", *order)
    mine = [r for r in unique(raw["events"]) if r["event"] == "Product Viewed" and r["user_id"]]
    mine = [r for r in mine if r["item_id"] in catalog]
    days = {(r["user_id"], r["timestamp"].date()) for r in mine}
    assert [(r["user_id"], r["day"]) for r in found] == sorted(days)
    for row in found:
        since = row["day"] - timedelta(days=29)
        counts = Counter(
            catalog[r["item_id"]]
            for r in mine
            if r["user_id"] == row["user_id"] and since <= r["timestamp"].date() <= row["day"]
        )
        best = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        assert list(zip(row["categories"], row["category_views"], strict=True)) == best
    some = Dates(FIRST + timedelta(days=8), FIRST + timedelta(days=32))
    part = user_categories(views.read(engine, some.widened(30)), some)
    assert computed(engine, part, tmp_path / "b", *order) == [
        r for r in found if some.first <= r["day"] <= some.last
    ]


@pytest.mark.parametrize("collapse", [True, False])
def test_histories_follow_from_day_to_day_and_equal_what_training_reads(
    engine: Engine, warehouse: Path, tmp_path: Path, collapse: bool
) -> None:
    """Computed in three stretches, each from the rows of those before."""
    length = 7
    names = ["Product Viewed", "Order Completed"]
    source = WarehouseInteractions(warehouse_tables(warehouse)["events"], names)
    seen = WarehouseReader(warehouse, names, collapse_repeats=collapse).read()
    no_rows = pl.DataFrame(
        schema={"user_id": pl.String, "item_ids": pl.List(pl.String), "length": pl.Int64}
    )
    previous, found = engine.arrow(no_rows.to_arrow()), []
    for n, (first, last) in enumerate([(0, 2), (3, 9), (10, DAYS)]):
        dates = Dates(FIRST + timedelta(days=first), FIRST + timedelta(days=last))
        table = user_history(source.read(engine, dates), previous, dates, length, collapse)
        found += computed(engine, table, tmp_path / str(n), "user_id", "event_timestamp")
        newest = {r["user_id"]: r for r in sorted(found, key=lambda r: r["event_timestamp"])}
        kept = [{k: r[k] for k in ("user_id", "item_ids", "length")} for r in newest.values()]
        previous = engine.arrow(pl.DataFrame(kept, schema=no_rows.schema).to_arrow())
    for row in found:
        known = seen.filter(
            pl.col("user_id") == row["user_id"], pl.col("timestamp") <= row["event_timestamp"]
        )
        assert row["item_ids"] == known["item_id"].to_list()[-length:]
        assert row["length"] == len(known)
    last_touch = seen.group_by("user_id").agg(pl.col("timestamp").max())
    assert {(r["user_id"], r["event_timestamp"]) for r in found} >= set(last_touch.iter_rows())


def test_touches_of_one_moment_keep_the_order_in_which_they_came(engine: Engine) -> None:
    frame = pl.DataFrame(
        {
            "user_id": ["ann"] * 10,
            "item_id": list("qwertyuiop"),
            "timestamp": [at(1)] * 10,
            "sequence": range(10),
        },
        schema_overrides={"timestamp": pl.Datetime("us", "UTC")},
    )
    none = pl.DataFrame(
        schema={"user_id": pl.String, "item_ids": pl.List(pl.String), "length": pl.Int64}
    )
    dates = Dates(FIRST, FIRST + timedelta(days=3))
    table = user_history(
        engine.arrow(frame.to_arrow()), engine.arrow(none.to_arrow()), dates, 100, False
    )
    ((items, length),) = table.select("item_ids", "length").to_pandas().itertuples(index=False)
    assert (list(items), length) == (list("qwertyuiop"), 10)


def test_item_review_sentiment(
    engine: Engine, warehouse: Path, raw: dict[str, list[Row]], tmp_path: Path
) -> None:
    every = Dates(FIRST, FIRST + timedelta(days=DAYS + 100))
    reviews = warehouse_tables(warehouse)["reviews"].read(engine, every)
    found = computed(
        engine, item_review_sentiment(reviews, every), tmp_path / "out", "item_id", "day"
    )
    for row in found:
        for days in (7, 30, 90):
            mine = recent(raw["reviews"], "item_id", row["item_id"], row["event_timestamp"], days)
            assert row[f"reviews_{days}d"] == len(mine)
            if not mine:
                assert row[f"stars_{days}d"] is None
                continue
            mean = sum(r["stars"] for r in mine) / len(mine)
            assert row[f"stars_{days}d"] == pytest.approx(mean)
            assert row[f"sentiment_{days}d"] == pytest.approx((mean - 3) / 2)
    assert found[-1]["reviews_90d"] == 0, "a last row says that all reviews are old"


def test_a_models_sentiment_goes_before_the_stars(engine: Engine) -> None:
    frame = pl.DataFrame(
        {
            "item_id": ["lamp", "lamp"],
            "stars": [5, 5],
            "sentiment": [-0.5, None],
            "timestamp": [at(1), at(1, 5)],
        },
        schema_overrides={"timestamp": pl.Datetime("us", "UTC")},
    )
    dates = Dates(FIRST, FIRST + timedelta(days=2))
    table = item_review_sentiment(engine.arrow(frame.to_arrow()), dates)
    (value,) = table.to_pandas()["sentiment_7d"]
    assert value == pytest.approx((-0.5 + 1.0) / 2)


def test_reviews_come_with_what_was_said_of_them_last(engine: Engine, tmp_path: Path) -> None:
    """A model's second opinion, and a stream's, replace the first; no opinion leaves the stars."""

    def put(table: str, name: str, rows: list[Row], schema: dict[str, Any]) -> None:
        path = tmp_path / table / f"date={FIRST}" / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pl.DataFrame(rows, schema=schema, orient="row").write_parquet(path)

    def said(review: str, sentiment: float | None, version: str, hour: int) -> Row:
        return {
            "review_id": review, "item_id": "lamp", "timestamp": at(0, 5), "sentiment": sentiment,
            "sentiment_version": version, "scored_at": at(9, 3600 * hour),
        }  # fmt: skip

    moment = pl.Datetime("us", "UTC")
    reviews = [
        {"review_id": f"r{n}", "item_id": "lamp", "stars": 5, "timestamp": at(0, 5)}
        for n in range(4)
    ]
    put("reviews", "part-0", reviews, SCHEMAS["reviews"])
    table = warehouse_tables(tmp_path)["reviews"]
    (bare,) = table.partitions().values()
    assert "sentiment" not in table.read(engine, EVERY).columns
    schema = {
        "review_id": pl.String, "item_id": pl.String, "timestamp": moment, "sentiment": pl.Float64,
        "sentiment_version": pl.String, "scored_at": moment,
    }  # fmt: skip
    first = [said("r0", -1.0, "b", 1), said("r1", -1.0, "b", 1), said("r2", None, "b", 1)]
    put("review_sentiment", "part-0", first, schema)
    put("review_sentiment", "stream-1", [said("r1", 0.5, "a", 2)], schema)
    (scored,) = table.partitions().values()
    assert (scored.rows, scored.fingerprint != bare.fingerprint) == (4, True)
    rows = table.read(engine, EVERY)
    found = rows.select("review_id", "sentiment", "sentiment_version").to_pandas()
    by_review = {r: (None if v is None or v != v else v, w) for r, v, w in found.to_numpy()}
    assert by_review["r0"] == (-1.0, "b")
    assert by_review["r1"] == (0.5, "a")
    assert by_review["r2"][0] is None
    assert by_review["r3"][0] is None
    (row,) = computed(
        engine, item_review_sentiment(rows, Dates(FIRST, FIRST)), tmp_path / "out", "item_id"
    )
    assert (row["reviews_7d"], row["sentiment_7d"]) == (4, pytest.approx((-1 + 0.5 + 1 + 1) / 4))


def test_telemetry_windows(
    engine: Engine, warehouse: Path, raw: dict[str, list[Row]], tmp_path: Path
) -> None:
    tomorrow = Dates(FIRST + timedelta(days=1), FIRST + timedelta(days=1))
    telemetry = warehouse_tables(warehouse)["telemetry"].read(engine, tomorrow.widened(1))
    found = computed(
        engine,
        telemetry_windows(telemetry, tomorrow),
        tmp_path / "out",
        "source",
        "event_timestamp",
    )
    assert {r["day"] for r in found} == {tomorrow.first}
    for row in found:
        for minutes in (15, 60):
            since = row["event_timestamp"] - timedelta(minutes=minutes)
            mine = [
                r
                for r in raw["telemetry"]
                if r["source"] == row["source"] and since < r["timestamp"] <= row["event_timestamp"]
            ]
            for metric in ("cpu", "errors"):
                values = [r[metric] for r in mine]
                assert row[f"{metric}_max_{minutes}m"] == pytest.approx(max(values))
                mean = sum(values) / len(values)
                assert row[f"{metric}_mean_{minutes}m"] == pytest.approx(mean)


def test_user_profile(engine: Engine, tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {"user_id": ["ann"], "age": [31], "gender": [None], "created_at": [at(-400, 5)]},
        schema_overrides={"created_at": pl.Datetime("us", "UTC"), "gender": pl.String},
    )
    table = user_profile(engine.arrow(frame.to_arrow()), EVERY)
    (row,) = computed(engine, table, tmp_path / "out", "user_id")
    assert row["region"] is None  # the table has no such column
    assert (row["age"], row["gender"], row["event_timestamp"]) == (31, None, at(-400, 5))


def test_item_content(engine: Engine, tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "item_id": ["lamp"], "title": ["A lamp"], "description": [None], "category": ["light"],
            "brand": ["Lux"], "price": [12], "created_at": [at(-400, 5)],
        },
        schema_overrides={"created_at": pl.Datetime("us", "UTC"), "description": pl.String},
    )  # fmt: skip
    table = item_content(engine.arrow(frame.to_arrow()), EVERY)
    (row,) = computed(engine, table, tmp_path / "out", "item_id")
    assert (row["title"], row["price"], row["event_timestamp"]) == ("A lamp", 12.0, at(-400, 5))
