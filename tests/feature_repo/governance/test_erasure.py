"""Erasing a user: nothing of the id is left anywhere, everybody else stays, nobody comes back."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from feature_repo.governance.erasures import Erased, erasures
from feature_repo.governance.errors import GovernanceError
from feature_repo.metadata import connect
from feature_repo.sources import Frame
from feature_repo.store import open_store
from tests.conftest import ROOT
from tests.feature_repo.governance.conftest import Company
from tests.feature_repo.stores import materialization

USER, OTHER = "u0000042", "u0000043"
MOMENT = datetime(2025, 12, 31, 12, tzinfo=UTC)


def traces(root: Path) -> list[str]:
    """Files whose bytes hold the id, and Parquet files that hold it once they are unpacked."""
    found = []
    for file in (f for f in root.rglob("*") if f.is_file()):
        if USER.encode() in file.read_bytes():
            found.append(f"bytes of {file}")
        elif file.suffix == ".parquet" and ".staging" not in file.parts:
            opened = pq.ParquetFile(file)
            if USER in str(opened.read().to_pylist()) or USER in str(opened.metadata.to_dict()):
                found.append(f"rows of {file}")
    return found


def add_everything(company: Company) -> None:
    """What the shipped steps of this test would not leave: pushes, rejects, logs, a saved set."""
    pushed = company.offline("user_counters").filter(pl.col("user_id").is_in([USER, OTHER]))
    days = company.features / "offline" / "user_counters"
    for path, frame in {
        days / "day=2025-12-31" / "push-1.parquet": pushed,
        company.features / "quarantine" / "user_counters" / "20260101T000000000000.parquet":
            pushed.with_columns(reason=pl.lit("views is below 0")),
        company.features / "snapshots" / "train" / "data.parquet": pushed,
    }.items():  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        frame.write_parquet(path)
    (company.features / "snapshots" / "train" / "manifest.json").write_text("{}")
    log = company.warehouse / "predictions" / "date=2026-01-01" / "part-1.parquet"
    log.parent.mkdir(parents=True)
    table = pa.table({"user_id": [USER, OTHER, None], "items": [["a"], ["b"], []]})
    pq.write_table(table, log, use_dictionary=True, compression="none")
    with connect(company.features).begin() as connection:
        connection.exec_driver_sql("CREATE TABLE journal (message_id TEXT, user_id TEXT)")
        for n, user in enumerate([USER, OTHER, USER]):
            connection.execute(
                sa.text("INSERT INTO journal VALUES (:m, :u)"), {"m": f"m{n}", "u": user}
            )


def online(company: Company, user: str) -> list[Any]:
    features = ["user_history:item_ids", "user_statistics:views_30d", "user_counters:views"]
    found = open_store(company.features).get_online_features(features, [{"user_id": user}])
    return [v[0] for k, v in sorted(found.to_dict().items()) if k != "user_id"]


@pytest.mark.parametrize("fixture", ["company", "redis_company"])
def test_nothing_of_the_id_is_left_anywhere(request: pytest.FixtureRequest, fixture: str) -> None:
    company: Company = request.getfixturevalue(fixture)
    add_everything(company)
    if fixture == "redis_company":
        (company.features / "online.db").unlink()
    others = {v: company.offline(v).filter(pl.col("user_id") != USER) for v in (
        "user_history", "user_statistics", "user_counters")}  # fmt: skip
    here = online(company, OTHER)
    assert len(traces(company.root)) > 20
    assert online(company, USER) != [None] * 3
    report = company.erasure()(USER, "ticket 7", "ann")
    assert traces(company.root) == []
    assert report.complete
    # history, statistics, counters, profile, categories
    assert report.places["online"].found == 5
    assert online(company, USER) == [None] * 3
    assert online(company, OTHER) == here
    for view, rows in others.items():
        order = ["user_id", "event_timestamp"]
        assert company.offline(view).sort(order).equals(rows.sort(order)), view
    for place in (
        "warehouse/events", "warehouse/users", "warehouse/orders", "warehouse/predictions",
        "truth/users", "features/offline/user_history", "features/offline/user_statistics",
        "features/offline/user_counters", "features/offline/user_profile",
        "features/offline/user_categories", "features/quarantine/user_counters",
        "features/snapshots/train", "metadata/journal", "online",
    ):  # fmt: skip
        assert report.places[place].removed == report.places[place].found > 0, place
        assert report.places[place].left == 0
    assert report.places["metadata/journal"].found == 2
    assert [Path(p).name for p in report.stale] == ["train"]
    assert pq.read_table(company.warehouse / "predictions" / "date=2026-01-01" / "part-1.parquet")[
        "user_id"
    ].to_pylist() == [OTHER, None]


def test_the_next_materialization_does_not_bring_the_user_back(company: Company) -> None:
    counted = company.offline("item_statistics")["times_viewed_1d"].sum()
    report = company.erasure()(USER, "ticket 7", "ann")
    done = company.materialize()
    assert done["item_statistics"]["days"] > 0, "days that lost rows are computed again"
    assert company.offline("item_statistics")["times_viewed_1d"].sum() < counted
    assert report.places["warehouse/events"].removed > 0
    assert traces(company.root) == []
    assert company.materialize()["item_statistics"]["days"] == 0


def test_a_source_that_cannot_be_rewritten_does_not_bring_the_user_back(company: Company) -> None:
    touches = pl.read_parquet(company.warehouse / "events" / "**" / "*.parquet")
    touches = touches.filter(pl.col("item_id").is_not_null(), pl.col("user_id").is_not_null())
    touches = touches.select("user_id", "item_id", "timestamp").sort("timestamp")
    company.erasure()(USER, "ticket 7", "ann")
    run = materialization(company.features)
    run({"interactions": Frame(touches.to_arrow())}, only=["user_history"])
    users = company.offline("user_history")["user_id"].unique()
    assert USER not in users
    assert OTHER in users
    back = datetime.now(UTC) + timedelta(hours=1)
    new = pl.DataFrame({"user_id": [USER], "item_id": ["lamp"], "timestamp": [back]}).cast(
        touches.schema
    )
    run({"interactions": Frame(pl.concat([touches, new]).to_arrow())}, only=["user_history"])
    mine = company.offline("user_history").filter(pl.col("user_id") == USER)
    assert mine["item_ids"].to_list() == [["lamp"]], "a new life begins with nothing of the old"


def test_the_erasure_is_recorded_without_the_id(company: Company) -> None:
    report = company.erasure()(USER, "ticket 7", "ann")
    metadata = connect(company.features)
    with metadata.connect() as connection:
        (row,) = connection.execute(sa.select(erasures)).all()
    assert (row.asked_by, row.why, row.subject_hash) == ("ann", "ticket 7", report.subject_hash)
    assert row.rows_removed == report.removed > 0
    assert row.finished_at is not None
    erased = Erased.of(metadata)
    assert erased.covers(USER, MOMENT)
    assert not erased.covers(OTHER, MOMENT)
    assert not erased.covers(USER, datetime.now(UTC) + timedelta(minutes=1))


KILLED = """
import os, pathlib, signal, sys
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from scripts.entrypoint import CONFIGS
from feature_repo.governance import files
with initialize_config_dir(str(CONFIGS), version_base="1.3"):
    cfg = compose("govern", ["paths.root=" + sys.argv[1]])
made, left, replace = instantiate(cfg.erasure), [int(sys.argv[3])], pathlib.Path.replace
def dying(self, *a, **k):
    left[0] -= 1
    if left[0] < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(self, *a, **k)
pathlib.Path.replace = dying
made(sys.argv[2], "ticket 7", "ann")
"""


@pytest.mark.parametrize("after", [0, 7, 25])
def test_killed_in_the_middle_it_is_finished_by_the_next_run(company: Company, after: int) -> None:
    command = [sys.executable, "-c", KILLED, str(company.root), USER, str(after)]
    done = subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, check=False)
    assert done.returncode == -9
    assert traces(company.root) != []
    assert list(company.root.rglob("*.erasing")) != []
    assert company.erasure()(USER, "ticket 7", "ann").complete
    assert traces(company.root) == []
    assert list(company.root.rglob("*.erasing")) == []
    company.materialize()
    assert traces(company.root) == []


def test_the_script_reports_and_leaves_no_id(company: Company) -> None:
    done = company.script("erase", f"user={USER}", "why=ticket 7", "by=ann")
    assert done.returncode == 0, done.stderr
    report = json.loads((company.root / "run" / "erasure.json").read_text())
    assert report["complete"] is True
    for place in report["places"]:
        assert f" {place} " in done.stdout, "places can be told from one another"
    assert "memory for 60 s" in " ".join(done.stdout.split())
    assert traces(company.root) == [], "neither configuration nor report nor log"
    assert USER not in done.stdout + done.stderr


def test_an_unknown_user_gives_zeros(company: Company) -> None:
    before = {f: f.stat().st_mtime_ns for f in company.root.rglob("*.parquet")}
    done = company.script("erase", "user=nobody", "why=ticket 8", "by=ann")
    assert done.returncode == 0, done.stderr
    report = json.loads((company.root / "run" / "erasure.json").read_text())
    assert {n for p in report["places"].values() for n in p.values()} == {0}
    assert "warehouse/events" in report["places"]
    assert {f: f.stat().st_mtime_ns for f in company.root.rglob("*.parquet")} == before


def test_what_cannot_be_read_is_named_and_the_rest_is_done(company: Company) -> None:
    broken = company.warehouse / "events" / "date=2025-12-20" / "part-0.parquet"
    broken.write_bytes(broken.read_bytes()[:-30])
    fresh = company.features / "offline" / ".staging" / "x" / "rows.parquet"
    fresh.parent.mkdir(parents=True)
    fresh.write_bytes(b"half")
    done = company.script("erase", f"user={USER}", "why=ticket 7", "by=ann")
    assert done.returncode == 75, done.stderr
    assert "date=2025-12-20/part-0.parquet: not a whole Parquet file" in done.stderr
    assert "rows.parquet is being written" in done.stderr
    assert traces(company.features) == []
    assert company.erasure("erasure.leftover_s=0")("nobody", "t", "a").unfinished != []
    assert not fresh.exists(), "what a stopped writer left is removed"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("", "ticket", "ann"), "user is empty"),
        ((USER, " ", "ann"), "why is empty"),
        ((USER, "ticket", ""), "by is empty"),
        ((USER, f"{USER} asked", "ann"), "why repeats the user's id"),
    ],
)
def test_what_is_refused_is_named(
    made_company: Path, given: tuple[str, str, str], message: str
) -> None:
    with pytest.raises(GovernanceError, match=message):
        Company(made_company).erasure()(*given)


def test_rows_of_others_that_name_the_user_are_told(company: Company) -> None:
    with connect(company.features).begin() as connection:
        connection.exec_driver_sql("CREATE TABLE audit (who TEXT, what TEXT)")
        connection.execute(
            sa.text("INSERT INTO audit VALUES ('bob', :w)"), {"w": f"read user_id={USER}"}
        )
    assert company.erasure()(USER, "ticket 7", "ann").mentions == {"metadata/audit.what": 1}


def test_a_former_online_store_that_names_the_user_is_told(redis_company: Company) -> None:
    report = redis_company.erasure()(USER, "ticket 7", "ann")
    (said,) = report.unfinished
    assert said.endswith("online.db names the user, and the store does not use it: remove it")
    assert not report.complete
