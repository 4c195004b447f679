"""Two-stage answers: who proposes, what filters remove, what a failing stage costs."""

from __future__ import annotations

import asyncio
import json
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest
from omegaconf import DictConfig, OmegaConf

from feature_repo.governance.files import rewrite
from models import artifact
from serving.features.errors import UnknownNameError
from serving.gateway.recommendations.rankers.ranked import given_of
from serving.gateway.state import GatewayState
from serving.torchserve.codecs.ranking import RankingCodec
from tests.serving.features.stores import online, write
from tests.serving.gateway.conftest import Upstream, running
from tests.serving.gateway.recommendations.conftest import (
    FIELDS,
    NOW,
    ask,
    fill,
    items,
    make_ranker,
)


def skipped(answer: dict[str, Any]) -> list[tuple[str, str]]:
    return [(s["stage"], s["reason"]) for s in answer["skipped"]]


async def metric(session: httpx.AsyncClient, line: str) -> bool:
    return line in (await session.get("/metrics")).text


async def test_sources_are_blended_by_rank_and_named(shop_config: DictConfig) -> None:
    async with running(shop_config) as session:
        answer = await ask(session, "/recommend?user_id=u4&n=3")
        # The model's first ones are neighbours of the last item too.
        assert items(answer) == ["i06", "i07", "i08"]
        assert (answer["source"], answer["reason"], answer["skipped"]) == ("model", None, [])
        scores = [row["score"] for row in answer["items"]]
        assert scores == sorted(scores, reverse=True)
        assert scores[0] > 1, "the model's first place and the neighbours' count together"
        assert await metric(session, 'recommendation_stage_seconds_count{stage="ranker"} 1.0')


async def test_reasons_name_what_was_viewed_by_its_title(shop_config: DictConfig) -> None:
    async with running(shop_config) as session:
        answer = await ask(session, "/recommend?user_id=u4&n=3")
        first = answer["items"][0]["reasons"]
        assert first[0] == {
            "kind": "because_you_viewed", "item_id": "i05", "text": "because you viewed Thing 5",
        }  # fmt: skip
        assert [r["item_id"] for r in first] == ["i05", "i04"], "the closer one first"
        unknown = await ask(session, "/recommend?user_id=nobody&n=1")
        assert unknown["items"][0]["reasons"][0]["kind"] == "popular"


async def test_out_of_stock_and_adults_items_stay_out_and_are_counted(
    shop_config: DictConfig,
) -> None:
    async with running(shop_config) as session:
        answer = await ask(session, "/recommend?user_id=u6&n=3")
        assert items(answer) == ["i08", "i10", "i11"], "i09 is out of stock"
        child = await ask(session, "/recommend?user_id=u36&n=10")
        assert not [i for i in items(child) if i >= "i40"]
        adult = await ask(session, "/recommend?user_id=u36&n=10&age=18")
        assert "i40" in items(adult)
        assert await metric(session, 'recommendation_filtered_total{filter="stock"}')


async def test_what_the_caller_says_of_the_moment_is_checked_and_counts(
    shop_config: DictConfig,
) -> None:
    async with running(shop_config) as session:
        german = await ask(session, "/recommend?user_id=u4&n=3&region=de")
        assert items(german) == ["i06", "i08", "i10"]
        again = await ask(session, "/recommend?user_id=u4&n=3&region=de")
        assert (again["source"], items(again)) == ("cache", items(german))
        assert items(await ask(session, "/recommend?user_id=u4&n=3")) == ["i06", "i07", "i08"]
        body = {"requests": [{"user_id": "u4", "n": 1, "context": {"region": "xx"}}]}
        (nowhere,) = (await ask(session, "/v1/recommendations", body))["answers"]
        assert nowhere["items"] == []
        response = await session.get("/recommend?user_id=u4&age=old")
        assert response.status_code == 422
        assert "age is 'old'" in response.json()["detail"]
        response = await session.post(
            "/v1/recommendations", json={"requests": [{"user_id": "u4", "context": 7}]}
        )
        assert response.status_code == 422


async def test_a_filter_that_removes_everything_leaves_a_marked_empty_list(
    shop_config: DictConfig,
) -> None:
    async with running(shop_config) as session:
        answer = await ask(session, "/recommend?user_id=u4&region=atlantis")
        assert (answer["items"], answer["reason"]) == ([], "all_filtered")
        assert await metric(session, 'fallbacks_total{reason="all_filtered"} 1.0')
        again = await ask(session, "/recommend?user_id=u4&region=atlantis")
        assert (again["source"], again["reason"]) == ("cache", "all_filtered"), "kept with its mark"


async def test_a_rule_that_may_give_way_does_and_says_so(shop_config: DictConfig) -> None:
    shop_config.recommendations.filters.region.relax = True
    async with running(shop_config) as session:
        answer = await ask(session, "/recommend?user_id=u4&n=2&region=atlantis")
    assert items(answer) == ["i06", "i07"]
    assert skipped(answer) == [("filters.region", "would_leave_nothing")]


async def test_filters_that_leave_too_little_are_filled_up_from_the_popular(
    shop_config: DictConfig,
) -> None:
    shop_config.recommendations.filters.cheap = {
        "_target_": "serving.gateway.recommendations.filters.rule.Rule",
        "item": "item_content:price", "test": "below", "value": 8,
    }  # fmt: skip
    shop_config.recommendations.candidates.popular.k = 1
    async with running(shop_config) as session:
        answer = await ask(session, "/recommend?user_id=u4&n=6")
    assert set(items(answer)) == {"i00", "i01", "i02", "i03", "i06", "i07"}


async def test_stock_that_runs_out_is_seen_before_a_kept_list_ends(
    shop_config: DictConfig,
) -> None:
    async with running(shop_config) as session:
        first = await ask(session, "/recommend?user_id=u4&n=3")
        memory = session.app.state.gateway.features.memory  # type: ignore[attr-defined]
        (table,) = memory._tables.values()
        stock, _ = table.columns["item_availability:stock"]
        stock[table.place["i06"]] = 0
        second = await ask(session, "/recommend?user_id=u4&n=3")
    assert items(first)[0] == "i06"
    assert (second["source"], items(second)) == ("cache", ["i07", "i08", "i10"])


async def test_a_changed_profile_is_answered_anew(
    shop_config: DictConfig, ranker: Path, upstream: Upstream, tmp_path: Path
) -> None:
    """The ranker reads the age; nobody reads the orders, so that they change nothing."""
    store = fill(tmp_path / "shop", online("sqlite", ""))
    shop_config.features = str(tmp_path / "shop")
    shop_config.artifacts.ranker = str(ranker)
    later = NOW + timedelta(seconds=1)
    async with running(shop_config) as session:

        async def source() -> str:
            return str((await ask(session, "/recommend?user_id=u1&n=4"))["source"])

        assert [await source() for _ in range(2)] == ["model", "cache"]
        write(store, "user_statistics", [
            {"user_id": "u1", "spend_30d": 9.0, "orders_30d": 3, "ts": later}
        ])  # fmt: skip
        assert await source() == "cache"
        write(store, "user_profile", [{"user_id": "u1", "age": 31, "ts": later}])
        assert [await source() for _ in range(2)] == ["model", "cache"]
    assert [asked["user"]["age"] for asked in upstream.ranked] == [30, 31]


async def test_without_the_model_its_neighbours_answer(
    shop_config: DictConfig, upstream: Upstream
) -> None:
    upstream.mood = "broken"
    async with running(shop_config) as session:
        answer = await ask(session, "/recommend?user_id=u4&n=3")
        assert items(answer) == ["i06", "i07", "i08"]
        assert (answer["source"], answer["reason"]) == ("neighbours", "model_unavailable")
        assert skipped(answer) == [("candidates.sequential", "model_unavailable")]
        line = 'skipped_total{reason="model_unavailable",stage="candidates.sequential"} 1.0'
        assert await metric(session, line)


async def test_a_slow_source_is_left_behind_at_its_own_deadline(
    shop_config: DictConfig, upstream: Upstream
) -> None:
    shop_config.recommendations.deadlines_ms.candidates = 300
    upstream.mood = "slow"
    async with running(shop_config) as session:
        answer = await asyncio.wait_for(ask(session, "/recommend?user_id=u4&n=3"), 4)
    assert (answer["source"], answer["reason"]) == ("neighbours", "deadline")
    assert skipped(answer) == [("candidates.sequential", "deadline")]


async def test_a_part_that_breaks_costs_its_own_share_only(
    shop_config: DictConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(shop_config) as session:
        pipeline = session.app.state.gateway.recommendations.pipeline  # type: ignore[attr-defined]

        def breaks(*_: Any, **__: Any) -> Any:
            raise ZeroDivisionError("a defect")

        monkeypatch.setattr(pipeline.diversity, "arrange", breaks)
        monkeypatch.setattr(pipeline.exploration, "choose", breaks)
        monkeypatch.setattr(pipeline.reasons, "explain", breaks)
        monkeypatch.setattr(pipeline.filters["stock"], "keep", breaks)
        answer = await ask(session, "/recommend?user_id=u4&n=2")
    assert items(answer) == ["i06", "i07"]
    stages = ["filters.stock", "diversity", "exploration", "reasons"]
    assert [s for s, r in skipped(answer) if r == "failed"] == stages
    assert answer["items"][0]["reasons"] == []


async def test_a_ranker_orders_the_candidates_of_all_sources(
    shop_config: DictConfig, ranker: Path, upstream: Upstream
) -> None:
    shop_config.artifacts.ranker = str(ranker)
    async with running(shop_config) as session:
        answer = await ask(session, "/recommend?user_id=u1&n=4")
        assert items(answer) == ["i00", "i03", "i04", "i05"], "the lowest numbers, seen ones out"
        assert answer["ranker"] == {"model": "ranker", "version": "20260102-000000-000"}
        kept = await ask(session, "/recommend?user_id=u1&n=4")
        assert (kept["source"], kept["ranker"]) == ("cache", answer["ranker"])
        (asked,) = upstream.ranked
        assert asked["user"] == {"user_id": "u1", "item_ids": ["i01", "i02"], "age": 30}
        understood = RankingCodec(artifact.load(ranker)).check(asked)
        assert (understood.missing, understood.ignored) == ([], []), "as TorchServe's side has it"
        at = asked["items"]["item_id"].index("i07")
        assert asked["items"]["price"][at] == 7.0
        models = (await ask(session, "/health/ready"))["models"]
        assert models["ranker"] == {"state": "ok", "version": "20260102-000000-000"}


def logged(config: DictConfig) -> list[dict[str, Any]]:
    files = sorted(Path(config.prediction_log.folder).glob("date=*/part-*.parquet"))
    return sorted(
        (row for file in files for row in pq.read_table(file).to_pylist()),
        key=lambda row: row["timestamp"],
    )


async def test_the_log_has_what_the_ranker_was_asked_with_of_items_shown(
    shop_config: DictConfig, ranker: Path, upstream: Upstream
) -> None:
    shop_config.artifacts.ranker = str(ranker)
    # The ranker sees more than is shown, and in another order: the last one is the best.
    upstream.scores = lambda columns: [float(n) for n, _ in enumerate(columns["item_id"])]
    async with running(shop_config) as session:
        told = [await ask(session, f"/recommend?user_id=u1&n={n}") for n in (4, 2)]
        body = {"requests": [{"history": ["i07"], "n": 3}]}
        told += (await ask(session, "/v1/recommendations", body))["answers"]
    assert [answer["source"] for answer in told] == ["model", "cache", "model"]
    rows = logged(shop_config)
    assert [row["request_id"] for row in rows] == [answer["request_id"] for answer in told]
    asked = [upstream.ranked[0], upstream.ranked[0], upstream.ranked[1]]
    assert len(upstream.ranked) == 2
    places: list[list[int]] = []
    for row, answer, question in zip(rows, told, asked, strict=True):
        assert (row["ranker"], row["ranker_version"]) == ("ranker", "20260102-000000-000")
        given = json.loads(row["ranker_features"])
        shown = items(answer)
        assert given["items"]["item_id"] == row["items"] == shown
        place = {item: n for n, item in enumerate(question["items"]["item_id"])}
        assert len(place) > len(shown)
        places.append([place[i] for i in shown])
        assert given == {
            "user": question["user"],
            "items": {
                name: [column[place[i]] for i in shown]
                for name, column in question["items"].items()
            },
        }
        understood = RankingCodec(artifact.load(ranker)).check(given)
        assert (understood.missing, understood.ignored) == ([], []), "it can be asked again"
    assert all(found == sorted(found, reverse=True) for found in places)


async def test_items_that_no_ranker_saw_have_no_features_in_the_log(
    shop_config: DictConfig, ranker: Path, upstream: Upstream
) -> None:
    shop_config.artifacts.ranker = str(ranker)
    upstream.moods["ranker"] = "broken"
    async with running(shop_config) as session:
        await ask(session, "/recommend?user_id=u4&n=3")
        upstream.moods.clear()
        shown = items(await ask(session, "/recommend?user_id=u1&n=3"))
    broken, whole = logged(shop_config)
    assert [broken[n] for n in ("ranker", "ranker_version", "ranker_features")] == [None] * 3
    assert json.loads(whole["ranker_features"])["items"]["item_id"] == shown
    given = {"user": {}, "items": {"item_id": ["a", "b"], "price": [1, 2]}}
    part = given_of(given, ["c", "b"])
    assert part == {"user": {}, "items": {"item_id": ["b"], "price": [2]}}


async def test_the_log_goes_without_the_rankers_features_if_asked_to(
    shop_config: DictConfig, ranker: Path
) -> None:
    shop_config.artifacts.ranker = str(ranker)
    shop_config.prediction_log.ranker_features = False
    async with running(shop_config) as session:
        await ask(session, "/recommend?user_id=u1&n=4")
    [row] = logged(shop_config)
    assert (row["ranker"], row["ranker_features"]) == ("ranker", None)


async def test_an_erasure_takes_a_users_ranker_features_out_of_the_log(
    shop_config: DictConfig, ranker: Path
) -> None:
    shop_config.artifacts.ranker = str(ranker)
    async with running(shop_config) as session:
        for user in ("u1", "u4"):
            await ask(session, f"/recommend?user_id={user}&n=4")
    [file] = Path(shop_config.prediction_log.folder).glob("date=*/part-*.parquet")
    assert b"u1" in b"".join(row["ranker_features"].encode() for row in logged(shop_config))
    rewrite(file, ["user_id"], "u1", keep_empty=False)
    [row] = logged(shop_config)
    assert json.loads(row["ranker_features"])["user"]["user_id"] == "u4"


async def test_fields_of_pairs_are_computed_from_what_was_read(
    shop_config: DictConfig, tmp_path: Path, upstream: Upstream
) -> None:
    pairs = [
        {"name": name, "kind": "dense", "side": "pair", "feature": f"purchase_context:{name}"}
        for name in ("price_to_usual", "item_momentum")
    ]
    shop_config.artifacts.ranker = str(make_ranker(tmp_path, [*FIELDS, *pairs]))
    async with running(shop_config) as session:
        for user in ("u1", "u4"):
            assert skipped(await ask(session, f"/recommend?user_id={user}&n=4")) == []
    known, unknown = (asked["items"] for asked in upstream.ranked)
    at = known["item_id"].index("i07")
    assert known["price_to_usual"][at] == 7 / (8 / 2), "u1 paid 8 for 2 lines"
    assert known["item_momentum"][at] == 30 / ((40 + 7) * 7 / 30)
    assert set(unknown["price_to_usual"]) == {None}, "of u4 no orders are known"


def test_a_ranker_whose_pairs_take_what_no_item_has_is_left_out(
    shop_config: DictConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pair = {
        "name": "price_to_usual", "kind": "dense", "side": "pair",
        "feature": "purchase_context:price_to_usual",
    }  # fmt: skip
    shop_config.artifacts.ranker = str(make_ranker(tmp_path, [*FIELDS, pair]))
    shop_config.recommendations.ranker.sent = {}
    with caplog.at_level("INFO"):
        GatewayState(shop_config)
    assert "ranker.sent says of no item's feature that it is 'offered_price'" in caplog.text


async def test_without_the_ranker_the_blend_is_the_order(
    shop_config: DictConfig, ranker: Path, upstream: Upstream
) -> None:
    shop_config.artifacts.ranker = str(ranker)
    upstream.moods["ranker"] = "broken"
    async with running(shop_config) as session:
        answer = await ask(session, "/recommend?user_id=u4&n=3")
        assert items(answer) == ["i06", "i07", "i08"]
        assert (answer["source"], answer["reason"]) == ("model", None)
        assert skipped(answer) == [("ranker", "model_unavailable")]
        assert answer["ranker"] is None
        upstream.moods["ranker"] = "well"
        again = await ask(session, "/recommend?user_id=u4&n=3")
        assert (again["source"], again["skipped"]) == ("model", []), "half an answer is not kept"
    upstream.scores = lambda items: [float(len(items))]
    async with running(shop_config) as session:
        short = await ask(session, "/recommend?user_id=u4&n=3")
    assert skipped(short) == [("ranker", "failed")]


def test_a_ranker_of_features_that_the_store_lacks_is_refused_at_the_start(
    shop_config: DictConfig, tmp_path: Path
) -> None:
    lost = {"name": "colour", "side": "item", "feature": "item_content:colour"}
    shop_config.artifacts.ranker = str(make_ranker(tmp_path / "lost", [*FIELDS, lost]))
    with pytest.raises(UnknownNameError, match="no feature of item_content 'colour'") as refused:
        GatewayState(shop_config)
    assert refused.value.exit_code == 66


async def test_a_model_is_told_what_it_reads_of_users(
    shop_config: DictConfig, upstream: Upstream, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A second model of users' attributes: of the store those that it has, and no others."""
    fields = [
        {"name": "years", "kind": "dense", "side": "user", "feature": "user_profile:age"},
        {"name": "mood", "kind": "categorical", "side": "user", "feature": "user_profile:mood"},
        {"name": "sent", "kind": "categorical", "side": "user", "feature": None},
    ]
    main = artifact.load(Path(shop_config.artifacts.recommender))
    parts = tmp_path / "parts"
    shutil.copytree(main.path, parts, ignore=shutil.ignore_patterns(artifact.SIGNATURE))
    (parts / "assets" / "user_fields.json").write_text(json.dumps({"fields": fields}))
    signature = replace(main.signature, name="two_tower", files={})
    shop_config.artifacts.retrieval = str(artifact.write(parts, tmp_path, signature).path)
    async with running(shop_config) as session:
        for user in ("u1", "u4"):
            assert (await ask(session, f"/recommend?user_id={user}&n=3"))["source"] == "model"
        history = {"requests": [{"history": ["i05"], "n": 3}]}
        assert (await session.post("/v1/recommendations", json=history)).status_code == 200
    told = [(q["history"], q.get("user")) for q in upstream.asked]
    assert (["i01", "i02"], {"years": 30}) in told, "the second model"
    assert (["i01", "i02"], None) in told, "the first one reads nothing of users"
    assert [user for asked, user in told if asked == ["i04", "i05"]] == [None] * 2, "no profile"
    assert [user for asked, user in told if asked == ["i05"]] == [None] * 2
    assert "two_tower 20260101-000000-000 goes without what it reads of users as 'mood': the" in (
        caplog.text
    )


async def test_new_items_are_proposed_from_the_catalogs_youngest(
    shop_config: DictConfig,
) -> None:
    own = shop_config.recommendations
    own.candidates.new.max_age_days = 53.5
    own.weights.user = {"new": 1.0}
    async with running(shop_config) as session:
        answer = await ask(session, "/recommend?user_id=nobody&n=3&age=30")
    assert items(answer)[:2] == ["i48", "i47"], "i49 is out of stock"
    assert answer["items"][0]["reasons"][0]["kind"] == "new"
    assert answer["source"] == "new"


async def test_exploration_is_logged_with_its_propensities(shop_config: DictConfig) -> None:
    shop_config.recommendations.exploration = OmegaConf.load(
        "configs/gateway/recommendations/exploration/epsilon.yaml"
    )
    shop_config.recommendations.exploration.epsilon = 0.5
    async with running(shop_config) as session:
        answers = [await ask(session, "/recommend?user_id=u4&n=3") for _ in range(30)]
        await session.app.state.gateway.log.flush()  # type: ignore[attr-defined]
    (file,) = Path(shop_config.prediction_log.folder).glob("date=*/part-*.parquet")
    rows = pq.read_table(file).to_pylist()
    assert len({tuple(items(a)) for a in answers}) > 1, "also of one kept ranking"
    assert {r["policy"] for r in rows} == {"epsilon-0.5"}
    for row, answer in zip(rows, answers, strict=True):
        assert row["items"] == items(answer)
        best = 0.5 + 0.5 / 10
        expected = best if row["items"][0] == "i06" else 0.5 / 10
        assert row["propensity"][0] == pytest.approx(expected)


async def test_a_greedy_answer_is_logged_as_certain_with_what_it_lacks(
    shop_config: DictConfig, upstream: Upstream
) -> None:
    upstream.mood = "broken"
    async with running(shop_config) as session:
        await ask(session, "/recommend?user_id=u4&n=2")
        await session.app.state.gateway.log.flush()  # type: ignore[attr-defined]
    (file,) = Path(shop_config.prediction_log.folder).glob("date=*/part-*.parquet")
    (row,) = pq.read_table(file).to_pylist()
    assert (row["policy"], row["propensity"]) == ("greedy", [1.0, 1.0])
    assert row["skipped"] == ["candidates.sequential: model_unavailable"]


async def test_a_part_without_its_needs_is_left_out_and_named_in_the_log(
    shop_config: DictConfig, caplog: pytest.LogCaptureFixture
) -> None:
    shop_config.recommendations.filters.weight = {
        "_target_": "serving.gateway.recommendations.filters.rule.Rule",
        "item": "item_content:weight", "test": "below", "value": 8,
    }  # fmt: skip
    with caplog.at_level("INFO"):
        async with running(shop_config) as session:
            assert (await ask(session, "/recommend?user_id=u4&n=1"))["source"] == "model"
    assert (
        "go without filters.weight: the feature store has no 'item_content:weight'" in caplog.text
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"test": "like"}, "test is 'like'"),
        ({"value": None}, "exactly one of value, user and context"),
        ({"context": "age"}, "exactly one of value, user and context"),
        ({"missing": "ask"}, "missing is 'ask'"),
    ],
)
def test_a_rule_that_says_nothing_is_refused_at_the_start(
    shop_config: DictConfig, change: dict[str, Any], words: str
) -> None:
    shop_config.recommendations.filters.stock.update(change)
    with pytest.raises(Exception, match=words):
        GatewayState(shop_config)
