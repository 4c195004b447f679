"""GET /feature/{view}, POST /v1/features and the registry: answers, and bad questions named."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from omegaconf import DictConfig

from tests.serving.gateway.conftest import running

Client = httpx.AsyncClient


async def test_a_views_features_of_a_user(gateway: Client) -> None:
    answer = (await gateway.get("/feature/user_history?user_id=u4")).json()
    assert (answer["view"], answer["version"], answer["key"]) == ("user_history", 1, "user_id")
    row = answer["rows"][0]
    assert row["user_id"] == "u4"
    assert row["features"] == {"item_ids": ["i04", "i05"], "length": 2}
    assert row["statuses"] == {"item_ids": "PRESENT", "length": "PRESENT"}
    assert row["event_timestamp"].startswith("2026-01-01T00:00:09")
    assert row["event_timestamp"].endswith("+00:00")


async def test_several_keys_and_some_features(gateway: Client) -> None:
    url = "/feature/user_history?user_id=u4&user_id=nobody&user_id=u5&features=length"
    rows = (await gateway.get(url)).json()["rows"]
    assert [r["features"] for r in rows] == [{"length": 2}, {"length": None}, {"length": 2}]
    assert [r["statuses"]["length"] for r in rows] == ["PRESENT", "NOT_FOUND", "PRESENT"]
    assert rows[1]["event_timestamp"] is None


@pytest.mark.parametrize("name", ["user_history", "user_history@v1", "user_history_v1"])
async def test_version_one_has_three_names(gateway: Client, name: str) -> None:
    assert (await gateway.get(f"/feature/{name}?user_id=u4")).json()["view"] == "user_history"


@pytest.mark.parametrize(
    "body",
    [
        {"features": ["user_history:length"], "entities": {"user_id": ["u1", "x"]}},
        {"features": ["user_history:length"], "entities": [{"user_id": "u1"}, {"user_id": "x"}]},
        {"features": ["user_history@v1:length"], "entities": {"user_id": ["u1", "x"]}},
    ],
)
async def test_a_batch_by_columns_or_rows(gateway: Client, body: Any) -> None:
    answer = (await gateway.post("/v1/features", json=body)).json()
    assert (answer["rows"], answer["entities"]) == (2, {"user_id": ["u1", "x"]})
    feature = answer["features"][0]
    assert (feature["name"], feature["version"]) == ("user_history:length", 1)
    assert feature["values"] == [2, None]
    assert feature["statuses"] == ["PRESENT", "NOT_FOUND"]
    assert feature["event_timestamps"][0].startswith("2026-01-01T")
    assert feature["event_timestamps"][1] is None


@pytest.mark.parametrize(
    "wanted", [{"feature_service": "recommender_v1"}, {"features": ["user_history"]}]
)
async def test_a_service_or_a_whole_view(gateway: Client, wanted: dict[str, Any]) -> None:
    body = {**wanted, "entities": {"user_id": ["u1"]}}
    answer = (await gateway.post("/v1/features", json=body)).json()
    names = ["user_history:item_ids", "user_history:length"]
    assert [f["name"] for f in answer["features"]] == names
    assert [f["values"] for f in answer["features"]] == [[["i01", "i02"]], [2]]


ENTITIES = {"user_id": ["u1"]}
LENGTH = ["user_history:length"]


@pytest.mark.parametrize(
    ("path", "status", "kind", "words"),
    [
        ("user_histroy?user_id=u1", 404, "unknown-view", "nearest: user_history"),
        ("user_history@v7?user_id=u1", 404, "unknown-version", "there are user_history@v1"),
        ("user_history_v7?user_id=u1", 404, "unknown-version", "no version 7"),
        ("user_history?user_id=u1&features=lenght", 404, "unknown-feature", "nearest: length"),
        ("user_history", 422, "invalid-keys", "user_id is missing"),
        ("user_history?user_id=", 422, "invalid-keys", "user_id is empty"),
        ("user_history?item_id=i1", 422, "invalid-query", "unknown parameter 'item_id'"),
        ("user_history?" + "user_id=u&" * 101, 422, "invalid-keys", "101 of them"),
    ],
)
async def test_bad_queries(gateway: Client, path: str, status: int, kind: str, words: str) -> None:
    answer = await gateway.get(f"/feature/{path}")
    problem = answer.json()
    assert answer.status_code == status
    assert problem["type"] == f"urn:millrace:problem:{kind}"
    assert words in problem["detail"]
    assert problem["accepted"]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"features": ["user_histroy:length"], "entities": ENTITIES}, 404, "user_history"),
        ({"features": ["user_history:lenght"], "entities": ENTITIES}, 404, "nearest: length"),
        ({"features": ["user_history@v2:length"], "entities": ENTITIES}, 404, "no version 2"),
        ({"feature_service": "recomender_v1", "entities": ENTITIES}, 404, "recommender_v1"),
        ({"entities": ENTITIES}, 422, "neither is given"),
        ({"features": LENGTH, "feature_service": "x", "entities": ENTITIES}, 422, "both are"),
        ({"features": "user_history:length", "entities": ENTITIES}, 422, "features is"),
        ({"features": LENGTH}, 422, "entities is None"),
        ({"features": LENGTH, "entities": {}}, 422, "entities is {}"),
        ({"features": LENGTH, "entities": {"user_id": []}}, 422, "0 rows"),
        ({"features": LENGTH, "entities": {"user_id": "u1"}}, 422, "entities is"),
        ({"features": LENGTH, "entities": [{"user_id": "u1"}, {}]}, 422, "row 1 has []"),
        ({"features": LENGTH, "entities": {"user_id": ["a"], "x": []}}, 422, "different lengths"),
        ({"features": LENGTH, "entities": {"item_id": ["i1"]}}, 422, "'user_id'"),
        ({"features": LENGTH, "entities": {"user_id": [7]}}, 422, "user_id[0] is 7, a int"),
        ({"features": LENGTH, "entities": {"user_id": [None]}}, 422, "user_id[0] is None"),
        ({"features": LENGTH, "entities": {"user_id": ["u"] * 1001}}, 422, "1001 rows"),
        ({"features": LENGTH, "entities": ENTITIES, "limit": 1}, 422, "unknown field 'limit'"),
        ([], 422, "JSON list"),
    ],
)
async def test_bad_batches(gateway: Client, body: Any, status: int, words: str) -> None:
    answer = await gateway.post("/v1/features", json=body)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["detail"]


async def test_limits_come_from_the_config(feature_config: DictConfig) -> None:
    feature_config.reads.max_values = 3
    async with running(feature_config) as client:
        body = {"features": ["user_history"], "entities": {"user_id": ["u1", "u2"]}}
        answer = await client.post("/v1/features", json=body)
    assert (answer.status_code, "are 4 values" in answer.json()["detail"]) == (422, True)


async def test_a_long_body_is_cut_off(gateway: Client) -> None:
    body = {"features": LENGTH, "entities": {"user_id": ["u" * 200_000]}}
    assert (await gateway.post("/v1/features", json=body)).status_code == 413


async def test_without_an_artifact_there_are_no_recommendations(gateway: Client) -> None:
    assert (await gateway.get("/recommend?user_id=u1")).status_code == 404
    assert (await gateway.get("/health/ready")).json() == {"status": "ready", "model": "none"}
    paths = (await gateway.get("/openapi.json")).json()["paths"]
    assert "/recommend" not in paths
    assert "/v1/features" in paths


async def test_the_registry_tells_of_a_view(gateway: Client) -> None:
    view = (await gateway.get("/v1/registry/views/user_history")).json()
    assert (view["version"], view["owner"], view["key"]) == (1, "millrace", "user_id")
    assert view["features"][0]["type"] == "Array(String)"
    assert view["transformation"]["path"] == "feature_repo/transformations/user_history.py"
    freshness = view["freshness"]
    assert freshness["newest_event_timestamp"].startswith("2026-01-01T")
    assert freshness["fresh"] is (freshness["age_s"] <= freshness["promised_s"])
    assert freshness["computed_at"]
    listed = (await gateway.get("/v1/registry/views")).json()["views"]
    assert [v["view"] for v in listed] == ["user_history"]
    unknown = await gateway.get("/v1/registry/views/user_histroy")
    assert (unknown.status_code, unknown.json()["near"]) == (404, ["user_history"])


async def test_the_registry_tells_of_services(gateway: Client) -> None:
    services = (await gateway.get("/v1/registry/services")).json()["services"]
    assert [s["service"] for s in services] == ["recommender_v1"]
    assert services[0]["versions"] == {"user_history": 1}
    one = await gateway.get("/v1/registry/services/recommender_v1")
    assert one.json() == services[0]
    near = await gateway.get("/v1/registry/services/recomender_v1")
    assert (near.status_code, near.json()["near"]) == (404, ["recommender_v1"])


async def test_the_documents_examples_are_answered(gateway: Client) -> None:
    document = (await gateway.get("/openapi.json")).json()
    for path in ("/v1/features", "/v1/features/{view}/push", "/get-online-features", "/push"):
        content = document["paths"][path]["post"]["requestBody"]["content"]
        example = content["application/json"]["example"]
        answer = await gateway.post(path.format(view="user_history"), json=example)
        assert answer.status_code == 200, (path, answer.text)
