"""Similar items, baskets, trends, onboarding: over HTTP, on the small shop."""

from __future__ import annotations

from typing import Any

import pytest
from omegaconf import DictConfig

from tests.serving.gateway.conftest import Upstream, running
from tests.serving.gateway.recommendations.conftest import ask, items


async def test_similar_items_are_neighbours_that_may_be_shown(shop_config: DictConfig) -> None:
    async with running(shop_config) as session:
        answer = await ask(session, "/v1/items/i06/similar?n=3")
        assert items(answer) == ["i07", "i08", "i10"], "i09 is out of stock"
        assert answer["item_id"] == "i06"
        assert [row["score"] for row in answer["items"]] == [0.5, 0.4, 0.2]
        assert items(await ask(session, "/v1/items/i06/similar?region=de")) == ["i08", "i10"]
        nowhere = await ask(session, "/v1/items/i06/similar?region=atlantis")
        assert (nowhere["items"], nowhere["reason"]) == ([], "all_filtered")
        unknown = await session.get("/v1/items/no/such/similar")
        assert unknown.status_code == 404
        assert "'no/such'" in unknown.json()["detail"]


async def test_a_basket_gets_what_goes_with_it(shop_config: DictConfig) -> None:
    body = {"items": ["i20", "i22", "i20"], "n": 3, "context": {"age": 30}}
    async with running(shop_config) as session:
        answer = await ask(session, "/v1/recommend/basket", body)
        assert items(answer) == ["i23", "i24", "i25"]
        assert answer["items"][0]["reasons"][0] == {
            "kind": "goes_with", "item_id": "i22", "text": "goes with Thing 22",
        }  # fmt: skip
        assert answer["source"] == "neighbours"
        theirs = await ask(session, "/v1/recommend/basket", {**body, "user_id": "u23"})
        assert not {"i23", "i24"} & set(items(theirs)), "the user has seen them"


async def test_a_basket_of_unknown_items_is_answered_with_popular_ones(
    shop_config: DictConfig,
) -> None:
    async with running(shop_config) as session:
        answer = await ask(session, "/v1/recommend/basket", {"items": ["?"], "n": 2})
    assert items(answer) == ["i00", "i01"]
    assert (answer["source"], answer["reason"]) == ("popular", "no_known_items")


async def test_what_is_trending_now_comes_first(shop_config: DictConfig) -> None:
    async with running(shop_config) as session:
        answer = await ask(session, "/v1/trending?n=3&age=99")
        assert items(answer)[0] == "i21", "viewed today"
        assert items(answer)[1:] == ["i48", "i47"], "then what was viewed most this week"
        nothing = await ask(session, "/v1/trending?region=atlantis")
        assert (nothing["items"], nothing["reason"]) == ([], "all_filtered")


async def test_without_statistics_popular_items_stand_in_for_trends(
    shop_config: DictConfig,
) -> None:
    shop_config.recommendations.trending = None
    async with running(shop_config) as session:
        answer = await ask(session, "/v1/trending?n=2")
    assert [(r["item_id"], r["score"]) for r in answer["items"]] == [("i00", 0.0), ("i01", 0.0)]


async def test_somebody_new_is_offered_different_items_and_picks_a_few(
    shop_config: DictConfig, upstream: Upstream
) -> None:
    async with running(shop_config) as session:
        offer = await ask(session, "/v1/onboarding?n=4")
        assert items(offer) == ["i00", "i07", "i14", "i20"], "no neighbours, all categories"
        assert offer["reason"] is None
        nowhere = await ask(session, "/v1/onboarding?region=atlantis")
        assert (nowhere["items"], nowhere["reason"]) == ([], "all_filtered")
        answer = await ask(session, "/v1/onboarding", {"picks": ["i10", "i30"], "n": 4})
        assert "i31" in items(answer)
        assert not {"i10", "i30"} & set(items(answer))
        kinds = {row["reasons"][0]["kind"] for row in answer["items"]}
        assert "because_you_picked" in kinds
        texts = {r["text"] for row in answer["items"] for r in row["reasons"]}
        assert not any("looked at lately" in text for text in texts), "somebody new looked at none"


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/v1/recommend/basket", {}, 422, "items is missing"),
        ("/v1/recommend/basket", {"items": []}, 422, "items is empty"),
        ("/v1/recommend/basket", {"items": ["a", 7]}, 422, "items[1] is 7"),
        ("/v1/recommend/basket", {"items": ["a"], "n": 0}, 422, "n is '0'"),
        ("/v1/recommend/basket", {"items": ["a"], "user_id": ""}, 422, "user_id is ''"),
        ("/v1/recommend/basket", {"items": ["a"] * 1001}, 422, "items has 1001 items"),
        ("/v1/recommend/basket", {"items": ["a"], "context": {"age": []}}, 422, "age is"),
        ("/v1/recommend/basket", ["a"], 422, "the body is a JSON list"),
        ("/v1/onboarding", {"picks": "a"}, 422, "picks is 'a'"),
        ("/v1/onboarding", {"pick": ["a"]}, 422, "field 'pick' is not known here"),
        (
            "/v1/recommend/basket",
            {"items": ["a"], "context": {"land": "de"}},
            422,
            "context 'land'",
        ),
        ("/v1/recommendations", {"requests": [{"user_id": "u4", "nn": 2}]}, 422, "[0]: field 'nn'"),
    ],
)
async def test_bad_lists_say_what_is_accepted(
    shop_config: DictConfig, path: str, body: Any, status: int, words: str
) -> None:
    async with running(shop_config) as session:
        response = await session.post(path, json=body)
    assert response.status_code == status
    assert words in response.json()["detail"]
    assert response.json()["accepted"]


@pytest.mark.parametrize(
    "path", ["/recommend?user_id=u4", "/v1/trending?n=2", "/v1/onboarding?n=2"]
)
async def test_a_mistyped_parameter_is_not_taken_for_none(
    shop_config: DictConfig, path: str
) -> None:
    async with running(shop_config) as session:
        response = await session.get(f"{path}&regoin=de")
    assert response.status_code == 422
    assert response.json()["detail"] == "parameter 'regoin' is not known here"
    assert "region" in response.json()["accepted"]
