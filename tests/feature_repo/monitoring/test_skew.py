"""Skew between what was served and what the offline tables say: planted, and absent."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from feature_repo.monitoring.served import PredictionLog
from feature_repo.monitoring.skew import Skew, SkewTest
from feature_repo.store import StoreError, open_store
from feature_repo.view import View
from feature_repo.views import USER_COUNTERS, USER_HISTORY, USER_STATISTICS, VIEWS
from serving.gateway.prediction_log import PredictionLog as GatewayLog
from serving.gateway.user_features import UserFeatures
from tests.serving.features.stores import client_of

T = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def offline(
    store: Path, view: View, rows: Sequence[dict[str, Any]], name: str = "part-0.parquet"
) -> None:
    """Rows with `user_id`, `at` and `created`, and the features that matter; others are 0."""
    blank: dict[str, Any] = {f.name: [] if f.name == "item_ids" else 0 for f in view.features}
    frame = pl.DataFrame(
        [{**blank, **{k: v for k, v in r.items() if k not in ("at", "created")},
          "event_timestamp": r["at"], "created_timestamp": r["created"]} for r in rows]
    ).with_columns(
        pl.col("event_timestamp", "created_timestamp").cast(pl.Datetime("us", "UTC")),
        pl.col("^spend.*$").cast(pl.Float64),
    )  # fmt: skip
    path = view.folder(store) / "day=2026-03-01" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(path)


def history(items: list[str], at: datetime, created: datetime) -> dict[str, Any]:
    """A row of Ann's."""
    return {
        "user_id": "ann", "item_ids": items, "length": len(items), "at": at, "created": created,
    }  # fmt: skip


def logged(folder: Path, answers: Sequence[dict[str, Any]]) -> Path:
    """Answers with `user`, `at` and `features`, as the gateway writes them."""
    rows = [
        {
            "request_id": f"r{n}",
            "timestamp": a["at"],
            "user_id": a["user"],
            "version": "1",
            "features": None if a["features"] is None else json.dumps(a["features"]),
            "feature_timestamp": a.get("feature_timestamp", a["at"]),
        }
        for n, a in enumerate(answers)
    ]
    moment = pl.Datetime("us", "UTC")
    schema = {"features": pl.String, "timestamp": moment, "feature_timestamp": moment}
    path = folder / "date=2026-03-01" / "part-0.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(rows, schema_overrides=schema).write_parquet(path)
    return folder


def skew(store: Path, log: Path, **settings: Any) -> Skew:
    return SkewTest(PredictionLog(log), **settings)(store, VIEWS)


def ratios(found: Skew) -> dict[str, float | None]:
    return {f"{f.view}:{f.feature}": f.mismatch_ratio for f in found.features}


def test_an_honest_log_has_none(tmp_path: Path) -> None:
    offline(tmp_path, USER_HISTORY, [
        history(["a"], T - 5 * HOUR, T - 4 * HOUR),
        history(["a", "b"], T - 2 * HOUR, T - HOUR),
    ])  # fmt: skip
    offline(tmp_path, USER_STATISTICS, [
        {"user_id": "ann", "views_7d": 3, "spend_30d": 0.1 + 0.2,
         "at": T - HOUR, "created": T - HOUR},
    ])  # fmt: skip
    new = {"user_history:item_ids": ["a", "b"], "user_history:length": 2}
    old = {"user_history:item_ids": ["a"], "user_history:length": 1}
    log = logged(tmp_path / "log", [
        {"user": "ann", "at": T, "features": {**new, "user_statistics:spend_30d": 0.3,
                                              "user_statistics:views_7d": 3.0}},
        {"user": "ann", "at": T - 3 * HOUR, "features": old},
        {"user": "new", "at": T, "features": {"user_history:item_ids": None}},
        {"user": "ann", "at": T, "features": None},
    ])  # fmt: skip
    found = skew(tmp_path, log)
    assert found.answers == 3
    assert set(ratios(found).values()) == {0.0}
    assert found.examples == []
    compared = {f"{f.view}:{f.feature}": f.compared for f in found.features}
    assert compared == {
        "user_history:item_ids": 3,
        "user_history:length": 2,
        "user_statistics:spend_30d": 1,
        "user_statistics:views_7d": 1,
    }


def test_a_changed_value_is_found_and_shown(tmp_path: Path) -> None:
    offline(tmp_path, USER_STATISTICS, [
        {"user_id": u, "views_7d": 3, "spend_7d": 5.0, "at": T - HOUR, "created": T - HOUR}
        for u in ("ann", "bob", "eve", "dan")
    ])  # fmt: skip
    served = [("ann", 3, 5.0), ("bob", 4, 5.0), ("eve", 3, 5.001), ("dan", None, 5.0)]
    log = logged(tmp_path / "log", [
        {"user": u, "at": T,
         "features": {"user_statistics:views_7d": v, "user_statistics:spend_7d": s}}
        for u, v, s in served
    ])  # fmt: skip
    found = skew(tmp_path, log)
    assert ratios(found) == {"user_statistics:views_7d": 0.5, "user_statistics:spend_7d": 0.25}
    shown = {(e["key"], e["feature"]): (e["served"], e["recomputed"]) for e in found.examples}
    assert shown == {
        ("bob", "views_7d"): ("4", 3),
        ("dan", "views_7d"): (None, 3),
        ("eve", "spend_7d"): ("5.001", 5.0),
    }
    assert all(e["request_id"].startswith("r") for e in found.examples)
    loose = skew(tmp_path, log, relative=1e-2)
    assert ratios(loose)["user_statistics:spend_7d"] == 0


@pytest.mark.parametrize(
    "value", [["a", "c"], ["b", "a"], ["a"], ["a", "b", "b"], [], None, "a, b", [1, 2], {"a": 1}]
)
def test_another_list_is_a_mismatch(tmp_path: Path, value: object) -> None:
    offline(tmp_path, USER_HISTORY, [
        history(["a", "b"], T - HOUR, T - HOUR),
    ])  # fmt: skip
    answer = {"user": "ann", "at": T, "features": {"user_history:item_ids": value}}
    assert ratios(skew(tmp_path, logged(tmp_path / "log", [answer]))) == {
        "user_history:item_ids": 1.0
    }


def test_what_arrived_later_was_not_known(tmp_path: Path) -> None:
    """A late row about an old moment: serving it before it arrived would be a leak."""
    offline(tmp_path, USER_HISTORY, [
        history(["a"], T - 9 * HOUR, T - 8 * HOUR),
        history(["a", "late"], T - 7 * HOUR, T - HOUR),
    ])  # fmt: skip

    def found(length: int, at: datetime) -> float | None:
        answer = {"user": "ann", "at": at, "features": {"user_history:length": length}}
        return ratios(skew(tmp_path, logged(tmp_path / "log", [answer])))["user_history:length"]

    assert found(1, T - 5 * HOUR) == 0
    assert found(2, T) == 0
    assert found(1, T) == 1.0


def test_a_value_may_be_online_a_little_after_it_was_computed(tmp_path: Path) -> None:
    offline(tmp_path, USER_HISTORY, [
        history(["a"], T - 9 * HOUR, T - 8 * HOUR),
        history(["a", "b"], T - 2 * HOUR, T),
    ])  # fmt: skip
    for length, minutes, expected in ((1, 5, 0.0), (2, 5, 0.0), (1, 15, 1.0), (2, 15, 0.0)):
        at = T + timedelta(minutes=minutes)
        answer = {"user": "ann", "at": at, "features": {"user_history:length": length}}
        found = skew(tmp_path, logged(tmp_path / "log", [answer]))
        assert ratios(found) == {"user_history:length": expected}, (length, minutes)


def test_rows_written_again_since_are_no_mismatch(tmp_path: Path) -> None:
    """A backfill after the request: equal values agree, others cannot be verified any more."""
    offline(tmp_path, USER_STATISTICS, [
        {"user_id": u, "views_7d": 3, "at": T - 9 * HOUR, "created": T + HOUR}
        for u in ("ann", "bob")
    ])  # fmt: skip
    log = logged(tmp_path / "log", [
        {"user": "ann", "at": T, "features": {"user_statistics:views_7d": 3}},
        {"user": "bob", "at": T, "features": {"user_statistics:views_7d": 2}},
    ])  # fmt: skip
    (found,) = skew(tmp_path, log).features
    assert (found.compared, found.mismatches, found.unverifiable) == (2, 0, 1)
    assert found.mismatch_ratio == 0


def test_a_value_beyond_its_ttl_is_null_on_both_sides(tmp_path: Path) -> None:
    offline(tmp_path, USER_COUNTERS, [
        {"user_id": "ann", "views": 3, "at": T - 30 * HOUR, "created": T - 29 * HOUR},
    ])  # fmt: skip
    for value, expected in ((None, 0.0), (3, 1.0)):
        answer = {"user": "ann", "at": T, "features": {"user_counters:views": value}}
        found = skew(tmp_path, logged(tmp_path / "log", [answer]))
        assert ratios(found) == {"user_counters:views": expected}


def test_values_that_a_caller_brought_are_left_out(tmp_path: Path) -> None:
    offline(tmp_path, USER_HISTORY, [
        history(["a"], T - HOUR, T - HOUR),
    ])  # fmt: skip
    brought = {"user_history:item_ids": ["x"]}
    log = logged(tmp_path / "log", [
        {"user": "ann", "at": T, "features": brought, "feature_timestamp": None},
        {"user": "ann", "at": T, "features": {"user_history:item_ids": ["a"]}},
    ])  # fmt: skip
    found = skew(tmp_path, log)
    assert found.answers == 1
    assert ratios(found) == {"user_history:item_ids": 0.0}


def test_what_cannot_be_computed_again_is_named(tmp_path: Path) -> None:
    offline(tmp_path, USER_HISTORY, [
        history(["a"], T - HOUR, T - HOUR),
    ])  # fmt: skip
    features = {
        "user_history:length": 1,
        "user_history:colour": "red",
        "purchase_context:price_to_usual": 1.0,
        "item_content:price": 2.0,
        "user_statistics:views_1d": 1,
    }
    log = logged(tmp_path / "log", [{"user": "ann", "at": T, "features": features}])
    found = skew(tmp_path, log)
    assert set(ratios(found)) == {"user_history:length"}
    assert set(found.not_checked) == set(features) - {"user_history:length"}


def test_the_newest_answers_are_looked_at(tmp_path: Path) -> None:
    offline(tmp_path, USER_HISTORY, [
        history(["a"], T - 9 * HOUR, T - 9 * HOUR),
    ])  # fmt: skip
    log = logged(tmp_path / "log", [
        {"user": "ann", "at": T + timedelta(seconds=n), "features": {"user_history:length": n // 5}}
        for n in range(10)
    ])  # fmt: skip
    found = SkewTest(PredictionLog(log, max_rows=5))(tmp_path, VIEWS)
    assert found.answers == 5
    assert found.first == T + timedelta(seconds=5)
    assert ratios(found) == {"user_history:length": 0.0}


def test_a_log_without_features_says_so(tmp_path: Path) -> None:
    assert "no served features" in skew(tmp_path, tmp_path / "log").note
    path = tmp_path / "log" / "date=2026-03-01" / "part-0.parquet"
    path.parent.mkdir(parents=True)
    pl.DataFrame({"request_id": ["r"], "timestamp": [T]}).write_parquet(path)
    assert "no served features" in skew(tmp_path, tmp_path / "log").note


def test_a_broken_log_is_named(tmp_path: Path) -> None:
    log = logged(tmp_path / "log", [{"user": "ann", "at": T, "features": {}}])
    file = next(log.rglob("*.parquet"))
    whole = file.read_bytes()
    file.write_bytes(whole[:-40])
    with pytest.raises(StoreError, match=r"date=2026-03-01.*cannot be read"):
        skew(tmp_path, log)
    pl.read_parquet(whole).with_columns(features=pl.lit("{broken")).write_parquet(file)
    with pytest.raises(StoreError, match=r"\{broken.*no JSON object"):
        skew(tmp_path, log)


def answers_of(root: Path, users: list[str], change: Callable[[dict[str, Any]], None]) -> Path:
    """What the online store says now, logged as served."""
    names = [
        *(f"user_statistics:{f.name}" for f in USER_STATISTICS.features),
        "user_history:item_ids",
        "user_history:length",
        "user_counters:views",
    ]
    store = open_store(root / "data" / "features")
    read = store.get_online_features(names, [{"user_id": u} for u in users]).to_dict()
    served = [{n: read[n.split(":")[1]][row] for n in names} for row in range(len(users))]
    for features in served:
        change(features)
    now = datetime.now(UTC)
    answers = [{"user": u, "at": now, "features": f} for u, f in zip(users, served, strict=True)]
    return logged(root / "log", answers)


def honest(features: dict[str, Any]) -> None:
    """What was read is what was served."""


USERS = [f"u{n:07d}" for n in range(60)]


def test_a_real_stores_answers_have_none(copied: Callable[[], Path]) -> None:
    root = copied()
    log = answers_of(root, [*USERS, "stranger"], honest)
    found = skew(root / "data" / "features", log, delay_s=0)
    assert len(found.features) == 18
    assert set(ratios(found).values()) == {0.0}
    assert all(f.compared == 61 and not f.unverifiable for f in found.features)


async def test_what_the_gateway_reads_and_logs_has_none(copied: Callable[[], Path]) -> None:
    """The gateway's own reader and log, over the store that training reads."""
    root = copied()
    folder = root / "data" / "features"
    client = client_of(folder)
    await client.open()
    features = UserFeatures(client, "recommender_v1")
    written = GatewayLog(root / "log", interval_s=60, max_rows=1000)
    for number, (user, read) in enumerate(zip(USERS, await features.read(USERS), strict=True)):
        written.append(
            request_id=f"r{number}", user_id=user, model="m", version="1", variant=None,
            source="model", reason=None, features=read.features if read else None,
            feature_timestamp=read.timestamp if read else None, items=["i"], scores=[1.0],
            latency_ms=1.0,
        )  # fmt: skip
    await written.flush()
    await client.close()
    found = skew(folder, root / "log", delay_s=0)
    assert ratios(found) == {"user_history:item_ids": 0.0, "user_history:length": 0.0}
    assert all(f.compared > 50 and not f.unverifiable for f in found.features)


def test_a_value_changed_online_is_found(copied: Callable[[], Path]) -> None:
    root = copied()
    folder = root / "data" / "features"
    rows = pl.read_parquet(USER_STATISTICS.folder(folder) / "**" / "*.parquet")
    last = rows.filter(pl.col("user_id") == USERS[0]).sort("event_timestamp").tail(1)
    changed = last.with_columns(pl.col("views_30d") + 1)
    open_store(folder).write_to_online_store("user_statistics", changed.to_pandas())
    log = answers_of(root, USERS, honest)
    found = skew(folder, log, delay_s=0)
    wrong = {name: ratio for name, ratio in ratios(found).items() if ratio}
    assert wrong == {"user_statistics:views_30d": pytest.approx(1 / 60)}
    (example,) = found.examples
    assert example["key"] == USERS[0]
    assert int(example["served"]) == example["recomputed"] + 1


def test_a_window_off_by_one_is_found(copied: Callable[[], Path]) -> None:
    """Serving counts the last eight days where training counts seven."""
    root = copied()
    folder = root / "data" / "features"
    events = pl.read_parquet(root / "data" / "warehouse" / "events" / "**" / "*.parquet")
    end = datetime(2026, 1, 1, tzinfo=UTC)
    seen = events.filter(
        pl.col("event") == "Product Viewed",
        pl.col("timestamp") >= end - timedelta(days=8),
        pl.col("timestamp") < end,
    )
    eight = dict(seen.group_by("user_id").len().iter_rows())
    users = iter(USERS)

    def wrong(features: dict[str, Any]) -> None:
        user = next(users)
        if features["user_statistics:views_7d"] is not None:
            features["user_statistics:views_7d"] = eight.get(user, 0)

    found = ratios(skew(folder, answers_of(root, USERS, wrong), delay_s=0))
    ratio = found.pop("user_statistics:views_7d")
    assert ratio is not None
    assert ratio > 0.2
    assert set(found.values()) == {0.0}
