"""The marketplace: reproducible, whole, ordered, and with the structure that was planted."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from pipelines.simulator.commerce import Rates
from pipelines.simulator.incident_log import IncidentLog
from pipelines.simulator.overview import draw
from pipelines.simulator.simulation import SettingsError, Simulation, WarehouseExistsError
from scripts.entrypoint import CONFIGS
from tests.conftest import ROOT

SEGMENT_NAMES = {
    "Product Viewed",
    "Product Clicked",
    "Product Added",
    "Order Completed",
    "Product Reviewed",
    "Experiment Viewed",
}


NOTICED = {"correlated": 0.9, "plateau": 0.8, "drift": 0.7, "spike": 0.5}
LOG = IncidentLog(NOTICED, start_late=0.2, end_late_s=300, entered_late_h=8)


def simulation(folder: Path, **changes: object) -> Simulation:
    settings: dict[str, object] = {
        "warehouse": folder / "warehouse",
        "truth": folder / "truth",
        "seed": 7,
        "users": 600,
        "items": 300,
        "categories": 5,
        "ring_size": 20,
        "days": 14,
        "last_day": "2026-01-01",
        "sessions_per_day": 0.6,
        "noise": 0.35,
        "sources": 8,
        "telemetry_interval_s": 300,
        "incident_rate": 0.3,
        "rates": Rates(),
        "log": LOG,
    }
    return Simulation(**{**settings, **changes})  # type: ignore[arg-type]


def quiet(_done: int, _days: int) -> None:
    pass


def read(folder: Path, table: str) -> pl.DataFrame:
    return pl.read_parquet(folder / "warehouse" / table / "**" / "*.parquet")


@pytest.fixture(scope="module")
def marketplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("marketplace")
    simulation(folder).run(quiet)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(
    marketplace: Path, tmp_path: Path
) -> None:
    simulation(tmp_path / "again").run(quiet)
    simulation(tmp_path / "other", seed=8).run(quiet)
    assert contents(tmp_path / "again") == contents(marketplace)
    assert not read(tmp_path / "other", "events").equals(read(marketplace, "events"))


def test_the_report_counts_what_was_written(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = simulation(tmp_path, days=3).run(lambda done, days: seen.append((done, days)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    for table, rows in report["rows"].items():
        assert len(read(tmp_path, table)) == rows, table
    manifest = json.loads((tmp_path / "warehouse" / "_manifest.json").read_text())
    assert manifest["rows"] == report["rows"]


def test_events_are_segment_messages_in_order_of_time(marketplace: Path) -> None:
    events = read(marketplace, "events")
    assert set(events["event"].unique()) == SEGMENT_NAMES
    assert events.schema["timestamp"] == pl.Datetime("us", "UTC")
    assert events["message_id"].is_unique().all()
    assert events["user_id"].null_count() == 0
    assert (events["received_at"] > events["timestamp"]).all()
    for file in sorted((marketplace / "warehouse" / "events").rglob("*.parquet")):
        part = pl.read_parquet(file)
        assert part["timestamp"].is_sorted(), file
        assert set(part["timestamp"].dt.date().cast(pl.String)) == {
            file.parent.name.removeprefix("date=")
        }
    products = events.filter(pl.col("event") != "Experiment Viewed")
    assert products["item_id"].null_count() == 0
    exposures = events.filter(pl.col("event") == "Experiment Viewed")
    assert set(exposures["variation_id"]) == {"control", "treatment"}
    assert (
        exposures.group_by("user_id").agg(pl.col("variation_id").n_unique())["variation_id"].max()
        == 1
    ), "a user stays in one variant"


def test_every_id_leads_somewhere(marketplace: Path) -> None:
    users, items = read(marketplace, "users"), read(marketplace, "items")
    events, orders = read(marketplace, "events"), read(marketplace, "orders")
    reviews = read(marketplace, "reviews")
    for table in (events, orders, reviews):
        assert table.join(users, on="user_id", how="anti").is_empty()
        assert table.drop_nulls("item_id").join(items, on="item_id", how="anti").is_empty()
    completed = events.filter(pl.col("event") == "Order Completed")
    key = ["order_id", "item_id", "user_id"]
    assert completed.select(key).sort(key).equals(orders.select(key).sort(key))
    bought = orders.group_by("user_id", "item_id").agg(first=pl.col("timestamp").min())
    written = reviews.join(bought, on=["user_id", "item_id"], how="left")
    assert (written["timestamp"] > written["first"]).all(), "nobody reviews before buying"
    sentiments = pl.read_parquet(marketplace / "truth" / "sentiments" / "*.parquet")
    assert reviews.join(sentiments, on="review_id", how="anti").is_empty()


def test_models_cannot_read_the_truth_in_the_warehouse(marketplace: Path) -> None:
    columns = {
        column
        for table in ("users", "items", "events", "orders", "reviews", "telemetry")
        for column in read(marketplace, table).columns
    }
    planted = {"favourites", "weights", "treated", "ring", "position", "quality", "sentiment"}
    assert columns & planted == {"position"}, "events have a list position, always empty here"
    assert read(marketplace, "events")["position"].null_count() == len(read(marketplace, "events"))


def test_sessions_follow_rings_and_users_their_tastes(marketplace: Path) -> None:
    truth_items = pl.read_parquet(marketplace / "truth" / "items" / "*.parquet")
    truth_users = pl.read_parquet(marketplace / "truth" / "users" / "*.parquet")
    views = read(marketplace, "events").filter(pl.col("event") == "Product Viewed")
    walked = views.join(truth_items, on="item_id").sort("timestamp")
    pairs = walked.with_columns(
        same_ring=pl.col("ring") == pl.col("ring").shift(1).over("session_id")
    )["same_ring"].drop_nulls()
    # A step stays on the ring if neither of its ends wandered: (1 − .35)², and a little by chance.
    assert 0.40 < pairs.mean() < 0.60
    tasted = walked.join(truth_users, on="user_id").with_columns(
        liked=pl.col("category").is_in(pl.col("favourites").arr.to_list())
    )
    assert tasted["liked"].mean() > 0.7, "three of five categories, and most views on the walk"


def test_quality_shows_in_stars_and_stars_in_words(marketplace: Path) -> None:
    reviews = read(marketplace, "reviews")
    quality = pl.read_parquet(marketplace / "truth" / "items" / "*.parquet")
    joined = reviews.join(quality.select("item_id", "quality"), on="item_id")
    assert joined.select(pl.corr("quality", "stars")).item() > 0.3
    angry = reviews.filter(pl.col("text").str.contains("Broke within|Worst purchase|Terrible"))
    happy = reviews.filter(pl.col("text").str.contains("Absolutely love|Could not be happier"))
    assert happy["stars"].mean() - angry["stars"].mean() > 2


def test_the_treatment_sells_more(tmp_path: Path) -> None:
    rates = Rates(treatment_lift=1.6)
    simulation(tmp_path, users=3000, rates=rates).run(quiet)
    events = read(tmp_path, "events")
    treated = pl.read_parquet(tmp_path / "truth" / "users" / "*.parquet")
    by_user = events.join(treated.select("user_id", "treated"), on="user_id")
    shares = by_user.group_by("treated").agg(
        rate=(pl.col("event") == "Order Completed").sum()
        / (pl.col("event") == "Product Added").sum()
    )
    rate = dict(shares.iter_rows())
    assert 1.35 < rate[True] / rate[False] < 1.85
    effect = json.loads((tmp_path / "truth" / "effects.json").read_text())
    assert effect["order_lift"] == 1.6


def test_incidents_stand_out_of_the_telemetry(marketplace: Path) -> None:
    telemetry = read(marketplace, "telemetry")
    incidents = pl.read_parquet(marketplace / "truth" / "incidents" / "*.parquet")
    assert set(incidents["kind"]) == {"spike", "drift", "plateau", "correlated"}
    shows_in = {"spike": "latency_ms", "drift": "memory", "plateau": "cpu", "correlated": "errors"}
    for incident in incidents.iter_rows(named=True):
        rows = telemetry.filter(
            pl.col("source") == incident["source"],
            pl.col("timestamp").dt.date() == incident["start"].date(),
        )
        inside = pl.col("timestamp").is_between(incident["start"], incident["end"], closed="left")
        signal_name = shows_in[incident["kind"]]
        within = rows.filter(inside)[signal_name]
        without = rows.filter(~inside)[signal_name]
        assert within.max() > without.max(), incident
    hosts = telemetry.group_by("source").len()
    assert len(hosts) == 8
    assert set(hosts["len"]) == {14 * 288}


def test_memory_holds_one_day(tmp_path: Path) -> None:
    """Ten times the days do not need more than a little more memory."""
    peak = {}
    for days in (4, 40):
        code = (
            "import resource, pathlib, sys; sys.path.insert(0, '.')\n"
            "from tests.pipelines.simulator.test_simulation import simulation, quiet\n"
            f"path = pathlib.Path({str(tmp_path / str(days))!r})\n"
            f"s = simulation(path, users=6000, days={days})\n"
            "print(s.run(quiet)['peak_mb'])"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        )
        peak[days] = int(done.stdout)
    assert peak[40] < peak[4] + 120, peak


def test_a_killed_run_leaves_no_warehouse_and_can_be_repeated(tmp_path: Path) -> None:
    command = [
        sys.executable, "scripts/simulate.py", "size=small", f"paths.root={tmp_path}",
        f"output_dir={tmp_path / 'run'}", "plot=false",
    ]  # fmt: skip
    process = subprocess.Popen([*command, "size.days=100000"], cwd=ROOT)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("data/.simulation-1/warehouse/events/*")):
        assert time.monotonic() < deadline, "the simulation did not start"
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "data" / "warehouse").exists()
    subprocess.run([*command, "size.days=2"], cwd=ROOT, check=True, capture_output=True)
    assert len(list((tmp_path / "data" / "warehouse" / "events").iterdir())) == 2
    assert [p.name for p in (tmp_path / "data").iterdir() if p.name.startswith(".")] == []


def test_a_warehouse_is_never_replaced_unasked(tmp_path: Path) -> None:
    simulation(tmp_path, days=1).run(quiet)
    before = contents(tmp_path)
    with pytest.raises(WarehouseExistsError, match="overwrite=true"):
        simulation(tmp_path, days=2).run(quiet)
    assert contents(tmp_path) == before
    simulation(tmp_path, days=2, overwrite=True).run(quiet)
    assert len(list((tmp_path / "warehouse" / "events").iterdir())) == 2


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("users", 0, "users is 0"),
        ("days", -1, "days is -1"),
        ("seed", -5, "seed is -5"),
        ("noise", 1.0, r"noise is 1\.0"),
        ("items", 50, "50 items do not fill 5 categories"),
    ],
)
def test_settings_that_cannot_be(tmp_path: Path, setting: str, value: float, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        simulation(tmp_path, **{setting: value}).run(quiet)
    assert not (tmp_path / "warehouse").exists()


def test_the_operators_log_knows_part_of_the_truth_late(tmp_path: Path) -> None:
    simulation(tmp_path, sources=60, users=3).run(quiet)
    entries = read(tmp_path, "incidents")
    truth = pl.read_parquet(tmp_path / "truth" / "incidents" / "*.parquet")
    assert 0.55 < len(entries) / len(truth) < 0.9, "some are never noticed"
    met = entries.join(truth, on="source", suffix="_true").filter(
        pl.col("start").is_between(
            pl.col("start_true") - pl.duration(minutes=1), pl.col("end_true")
        )
    )
    assert met["incident_id"].n_unique() == len(entries), "each speaks of a real one"
    assert (met["end"] >= met["end_true"] - timedelta(minutes=1)).all()
    late = (met["start"] - met["start_true"]).dt.total_seconds()
    length = (met["end_true"] - met["start_true"]).dt.total_seconds()
    assert (late <= 0.2 * length).all()
    assert (late > 0).mean() > 0.5, "the start is noted late"
    assert (entries["timestamp"] > entries["end"]).all(), "entered after the end"
    assert entries["timestamp"].max() < datetime(2026, 1, 1, tzinfo=UTC)  # type: ignore[operator]
    last = truth.filter(pl.col("end") > datetime(2025, 12, 31, 12, tzinfo=UTC))
    missed = len(last.join(met, left_on=["source", "start"], right_on=["source", "start_true"],
                           how="anti"))  # fmt: skip
    assert missed > len(last) / 2, "most of the newest are not entered yet"
    assert "kind" not in entries.columns
    for file in (tmp_path / "warehouse" / "incidents").rglob("*.parquet"):
        days = pl.read_parquet(file)["timestamp"].dt.date().cast(pl.String)
        assert set(days) == {file.parent.name.removeprefix("date=")}


def test_a_day_without_visitors(tmp_path: Path) -> None:
    report = simulation(tmp_path, sessions_per_day=0.0, days=2, users=3).run(quiet)
    assert report["rows"]["telemetry"] == 2 * 8 * 288
    assert "events" not in report["rows"]


def test_the_picture_is_drawn(marketplace: Path, tmp_path: Path) -> None:
    draw(marketplace / "warehouse", marketplace / "truth", tmp_path / "overview.png")
    assert (tmp_path / "overview.png").read_bytes().startswith(b"\x89PNG")


def test_every_size_is_a_valid_simulation(tmp_path: Path) -> None:
    """The large one is only composed: 100 million events."""
    expected = {}
    for size in ("tiny", "small", "medium", "large"):
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            cfg = compose("simulate", [f"size={size}", f"paths.root={tmp_path}"])
        made = instantiate(cfg.simulation)
        views = made.users * made.sessions_per_day * made.days * 5
        expected[size] = views * (1 + 0.5 + 0.2)
    assert list(expected.values()) == sorted(expected.values())
    assert np.isclose(expected["large"], 1e8, rtol=0.3), expected


def test_users_take_up_a_series_where_they_left_it(marketplace: Path) -> None:
    """Leaving out detours, a user's next view in a category is the next item of its series."""
    items = pl.read_parquet(marketplace / "truth" / "items" / "*.parquet")
    tastes = pl.read_parquet(marketplace / "truth" / "users" / "*.parquet")
    views = read(marketplace, "events").filter(pl.col("event") == "Product Viewed")
    first = (
        views.drop("position").sort("timestamp").group_by("session_id", maintain_order=True).first()
    )
    opened = (
        first.join(items, on="item_id")
        .join(tastes, on="user_id")
        .filter(pl.col("category").is_in(pl.col("favourites").arr.to_list()))
        .sort("timestamp")
    )

    def before(column: str) -> pl.Expr:
        return pl.col(column).shift(1).over("user_id", "category")

    step = (pl.col("position").cast(pl.Int64) - before("position")) % 20
    moved = opened.with_columns(step=step, same=pl.col("ring") == before("ring"))
    moved = moved.filter("same")["step"]
    assert len(moved) > 500
    # A session has 1 + 4 × .65 steps on average, so the next one opens that much further on.
    assert moved.mean() == pytest.approx(1 + 4 * 0.65, abs=0.4)
