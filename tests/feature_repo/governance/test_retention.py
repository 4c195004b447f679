"""Retention deletes what had stopped to be true, and nothing that a later question needs."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

from feature_repo import views
from feature_repo.computation import computations
from feature_repo.dates import Dates
from feature_repo.governance import retention
from feature_repo.governance.errors import GovernanceError
from feature_repo.metadata import connect
from feature_repo.store import open_store
from tests.conftest import ROOT
from tests.feature_repo.governance.conftest import Company

HORIZON = date(2025, 12, 25)
# 730 days after the horizon: user_statistics, user_counters and item_statistics are kept that long.
NOW = datetime(2027, 12, 25, 15, tzinfo=UTC)
FEATURES = [
    "user_history:item_ids", "user_history:length", "user_statistics:views_7d",
    "user_statistics:spend_30d", "user_counters:views", "item_statistics:times_viewed_30d",
]  # fmt: skip


@pytest.fixture(autouse=True)
def history_is_kept_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """The chained view has no retention as shipped; here it has."""
    history = dataclasses.replace(views.USER_HISTORY, retention=timedelta(days=730))
    changed = tuple(history if v.name == "user_history" else v for v in views.VIEWS)
    monkeypatch.setattr(retention, "VIEWS", changed)


def joined(company: Company, hours: range) -> pd.DataFrame:
    """All users with an item each, at moments after the horizon."""
    users = [f"u{n:07d}" for n in range(200)]
    items = [f"i{n:06d}" for n in range(200)]
    start = datetime(2025, 12, 25, tzinfo=UTC)
    frame = pd.concat(
        pd.DataFrame(
            {"user_id": users, "item_id": items, "event_timestamp": start + timedelta(hours=h)}
        )
        for h in hours
    )
    found = open_store(company.features).get_historical_features(frame, FEATURES).to_df()
    return found.assign(item_ids=found["item_ids"].map(lambda x: None if x is None else tuple(x)))


def files(company: Company) -> dict[str, int]:
    return {str(f): f.stat().st_size for f in company.root.rglob("*.parquet")}


def test_questions_after_the_horizon_have_the_same_answers(company: Company) -> None:
    before = joined(company, range(0, 14 * 24, 31))
    rows = {v: len(company.offline(v)) for v in ("user_history", "user_statistics")}
    deleted = {d.place: d for d in company.retention()(NOW, dry_run=False)}
    pd.testing.assert_frame_equal(joined(company, range(0, 14 * 24, 31)), before)
    for view, was in rows.items():
        left, done = company.offline(view), deleted[f"offline/{view}"]
        assert len(left) == was - done.rows, "every row is accounted for"
        assert done.rows > 0
        assert done.before == HORIZON
        old = left.filter(pl.col("event_timestamp") < datetime(2025, 12, 25, tzinfo=UTC))
        assert old["user_id"].is_unique().all(), "one row a key holds at the horizon"
    folders = sorted((company.features / "offline" / "user_statistics").iterdir())
    assert folders[0].name == "day=2025-12-24"
    assert [f.name for f in folders[0].iterdir()] == ["carried.parquet"]


def test_who_went_quiet_keeps_the_last_values(company: Company) -> None:
    late = datetime(2028, 6, 1, tzinfo=UTC)  # every event is older than the retention by then
    last = company.offline("user_history").sort("event_timestamp").group_by("user_id").last()
    company.retention()(late + timedelta(days=1), dry_run=False)
    left = company.offline("user_history")
    assert left.sort("user_id").equals(last.select(left.columns).sort("user_id"))
    frame = pd.DataFrame({"user_id": last["user_id"].to_list(), "event_timestamp": late})
    found = open_store(company.features).get_historical_features(frame, ["user_history:length"])
    assert found.to_df()["length"].to_list() == last["length"].to_list()
    assert company.offline("user_statistics")["user_id"].is_unique().all()


def test_what_is_deleted_is_not_computed_again(
    company: Company, caplog: pytest.LogCaptureFixture
) -> None:
    company.retention()(NOW, dry_run=False)
    before = files(company)
    done = company.materialize()
    assert all(view["days"] == 0 for view in done.values())
    done = company.materialize(within=Dates(date(2025, 12, 20), date(2025, 12, 31)))
    assert done["user_history"]["days"] == 7, "from the horizon on"
    assert "retention has deleted them" in caplog.text
    assert set(files(company)) == set(before)


def test_a_chained_view_goes_on_from_what_is_carried(company: Company) -> None:
    company.retention()(NOW, dry_run=False)
    events = company.warehouse / "events"
    last = sorted(events.glob("date=*/*.parquet"))[-1]
    rows = pl.read_parquet(last).with_columns(
        pl.col("timestamp") + pl.duration(days=1), pl.col("message_id") + "x"
    )
    new = events / "date=2026-01-01" / "part-0.parquet"
    new.parent.mkdir()
    rows.write_parquet(new)
    company.materialize()
    after = company.offline("user_history").filter(
        pl.col("event_timestamp") >= datetime(2026, 1, 1, tzinfo=UTC)
    )
    fresh = Company(company.root.parent / "fresh")
    fresh.root.mkdir()
    (fresh.root / "data").mkdir()
    fresh.warehouse.symlink_to(company.warehouse)
    fresh.materialize()
    expected = fresh.offline("user_history").filter(
        pl.col("event_timestamp") >= datetime(2026, 1, 1, tzinfo=UTC)
    )
    order = ["user_id", "event_timestamp"]
    assert len(after) > 0
    assert (
        after.drop("created_timestamp").sort(order).equals(
            expected.drop("created_timestamp").sort(order)
        )
    )  # fmt: skip


def test_a_dry_run_says_the_same_and_deletes_nothing(company: Company) -> None:
    before = files(company)
    said = company.retention()(NOW, dry_run=True)
    assert files(company) == before
    assert company.retention()(NOW, dry_run=False) == said
    again = company.retention()(NOW, dry_run=False)
    assert all((d.rows, d.bytes, d.files, d.online) == (0, 0, 0, 0) for d in again)
    assert files(company) != before


@pytest.mark.parametrize("fixture", ["company", "redis_company"])
def test_values_that_nobody_can_be_served_leave_the_online_store(
    request: pytest.FixtureRequest, fixture: str
) -> None:
    company: Company = request.getfixturevalue(fixture)
    store = open_store(company.features)
    stays, goes = _old_counters(company)[:2]
    push = {"views": [9], "adds": [0], "orders": [0], "spend": [0.0]}
    newer = pd.DataFrame({"user_id": [stays], "event_timestamp": [NOW], **push})
    newer["created_timestamp"] = newer["event_timestamp"]
    store.write_to_online_store("user_counters", newer)
    deleted = {d.place: d for d in company.retention()(NOW, dry_run=False)}
    assert deleted["offline/user_counters"].online >= 1
    answer = store.get_online_features(
        ["user_counters:views", "user_statistics:views_30d"],
        [{"user_id": goes}, {"user_id": stays}],
    ).proto
    statuses = [list(r.statuses) for r in answer.results[1:]]
    not_found, present, too_old = 3, 1, 4
    assert statuses[0][0] == not_found
    assert statuses[0][1] in (present, too_old), "the newer value was not taken away"
    assert statuses[1] == [present, present], "views whose values do not age keep theirs"


def _old_counters(company: Company) -> list[str]:
    """Users whose last active day is long before the horizon."""
    last = company.offline("user_counters").group_by("user_id").agg(pl.col("event_timestamp").max())
    old = last.filter(pl.col("event_timestamp") < datetime(2025, 12, 23, tzinfo=UTC))
    return sorted(old["user_id"].to_list())


def test_quarantine_and_predictions_have_their_own(company: Company) -> None:
    row = pl.DataFrame({"user_id": ["u1"]})
    for stamp in ("20270901T101112000000", "20271201T101112000000"):
        path = company.features / "quarantine" / "user_counters" / f"{stamp}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        row.write_parquet(path)
    for day in ("2026-11-19", "2026-11-20"):
        path = company.warehouse / "predictions" / f"date={day}" / "part-1.parquet"
        path.parent.mkdir(parents=True)
        row.write_parquet(path)
    retention_ = company.retention("retention.quarantine_days=90", "retention.prediction_days=400")
    deleted = {d.place: d for d in retention_(NOW, dry_run=False)}
    assert (deleted["quarantine"].files, deleted["quarantine"].rows) == (1, 1)
    assert deleted["predictions"].files == 1
    left = [*company.features.glob("quarantine/**/*.parquet")]
    left += company.warehouse.glob("predictions/**/*.parquet")
    assert sorted(f.name for f in left) == ["20271201T101112000000.parquet", "part-1.parquet"]


KILLED = """
import os, pathlib, signal, sys
from datetime import datetime
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from scripts.entrypoint import CONFIGS
with initialize_config_dir(str(CONFIGS), version_base="1.3"):
    cfg = compose("govern", ["paths.root=" + sys.argv[1]])
made, left, unlink = instantiate(cfg.retention), [int(sys.argv[3])], pathlib.Path.unlink
def dying(self, *a, **k):
    left[0] -= 1
    if left[0] < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    unlink(self, *a, **k)
pathlib.Path.unlink = dying
made(datetime.fromisoformat(sys.argv[2]), dry_run=False)
"""


def test_killed_in_the_middle_it_is_finished_by_the_next_run(company: Company) -> None:
    before = joined(company, range(0, 14 * 24, 53))
    command = [sys.executable, "-c", KILLED, str(company.root), NOW.isoformat(), "3"]
    done = subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, check=False)
    assert done.returncode == -9
    pd.testing.assert_frame_equal(joined(company, range(0, 14 * 24, 53)), before)
    company.retention()(NOW, dry_run=False)
    pd.testing.assert_frame_equal(joined(company, range(0, 14 * 24, 53)), before)
    days = [f.name for f in (company.features / "offline" / "user_statistics").iterdir()]
    assert min(days) == "day=2025-12-24"


def test_a_broken_file_is_named(company: Company) -> None:
    path = company.features / "offline" / "user_counters" / "day=2025-12-20" / "part-0.parquet"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(GovernanceError, match=r"repair or remove the file"):
        company.retention()(NOW, dry_run=False)


def test_the_script_prints_and_writes_what_it_did(company: Company) -> None:
    done = company.script("retention", "as_of=2027-12-25", "dry_run=true")
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads((company.root / "run" / "retention.json").read_text())
    assert report["dry_run"] is True
    places = {p["place"]: p for p in report["places"]}
    assert places["offline/user_statistics"]["rows"] > 0
    assert "what would go" in done.stdout
    for place in places:
        assert f" {place} " in done.stdout, "places can be told from one another"
    assert company.script("retention", "as_of=soon").returncode == 65
    wrong = company.script("command=retain")
    assert wrong.returncode == 65
    assert "there are retention, erase" in wrong.stderr


def test_a_folder_without_a_store_is_named(tmp_path: Path) -> None:
    done = Company(tmp_path).script("retention")
    assert done.returncode == 66
    assert "no feature_store.yaml" in done.stderr


def test_days_that_are_not_online_yet_are_not_deleted(company: Company) -> None:
    with connect(company.features).begin() as connection:
        connection.execute(computations.update().values(published_at=None))
    before = files(company)
    with pytest.raises(GovernanceError, match=r"not yet online; run `python scripts/materialize"):
        company.retention()(NOW, dry_run=False)
    assert files(company) == before
    company.materialize()
    company.retention()(NOW, dry_run=False)
