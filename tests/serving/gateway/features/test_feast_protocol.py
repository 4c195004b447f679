"""Feast's unmodified SDK as a client of the gateway, over a real socket."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import uvicorn
import yaml
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus

from feature_repo.metadata import connect
from feature_repo.store import feast
from serving.gateway.access.keys import ApiKeys
from serving.gateway.access.roles import Role
from serving.gateway.app import create_app
from serving.supervisor import free_port
from tests.serving.gateway.conftest import gateway_config, running


@pytest.fixture
def address(own_features: Path, tmp_path: Path) -> Iterator[str]:
    """A gateway with API keys, in a thread."""
    config = gateway_config(
        None, own_features, 9, tmp_path, "gateway/access=keys",
        "gateway.access.verifiers.keys.cooldown_s=0",
    )  # fmt: skip
    port = free_port()
    server = uvicorn.Server(
        uvicorn.Config(create_app(config), port=port, log_level="warning", loop="asyncio")
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(20)


def sdk(address: str, features: Path, folder: Path, role: Role | None) -> Any:
    """A Feast store of another machine: the same registry, values through the gateway."""
    ours = yaml.safe_load((features / "feature_store.yaml").read_text())
    auth: dict[str, Any] = {"type": "no_auth"}
    if role is not None:
        keys = ApiKeys(connect(features))
        secret = keys.create(f"sdk-{role}", {"millrace": role}, "test", None)[1]
        auth = {"type": "oidc", "token": secret}
    folder.mkdir(exist_ok=True)
    settings = {
        "project": ours["project"], "provider": "local", "registry": ours["registry"],
        "online_store": {"type": "remote", "path": address, "connection_retries": 0},
        "offline_store": {"type": "duckdb"}, "entity_key_serialization_version": 3, "auth": auth,
    }  # fmt: skip
    (folder / "feature_store.yaml").write_text(yaml.safe_dump(settings))
    return feast().FeatureStore(repo_path=str(folder))


def test_the_sdk_reads_through_the_gateway(
    address: str, own_features: Path, tmp_path: Path
) -> None:
    store = sdk(address, own_features, tmp_path / "client", Role.READER)
    names = ["user_history:item_ids", "user_history:length"]
    rows = [{"user_id": "u4"}, {"user_id": "nobody"}]
    answer = store.get_online_features(names, rows)
    assert answer.to_dict() == {
        "user_id": ["u4", "nobody"], "item_ids": [["i04", "i05"], None], "length": [2, None],
    }  # fmt: skip
    statuses = [list(result.statuses) for result in answer.proto.results]
    present, absent = FieldStatus.PRESENT, FieldStatus.NOT_FOUND
    assert statuses == [[present, present], [present, absent], [present, absent]]
    full = store.get_online_features(names, rows[:1], full_feature_names=True).to_dict()
    assert full["user_history__length"] == [2]
    service = store.get_feature_service("recommender_v1")
    assert store.get_online_features(service, rows[:1]).to_dict()["length"] == [2]


def test_the_sdk_writes_through_the_gateway(
    address: str, own_features: Path, tmp_path: Path
) -> None:
    store = sdk(address, own_features, tmp_path / "client", Role.WRITER)
    frame = pd.DataFrame(
        {
            "user_id": ["u4", "fresh"],
            "item_ids": [["i40"], ["i41", "i42"]],
            "length": [1, 2],
            "event_timestamp": [datetime(2026, 2, 1, 12), datetime(2026, 2, 1, 12)],
            "created_timestamp": [datetime(2026, 2, 1, 12), datetime(2026, 2, 1, 12)],
        }
    )
    store.push("user_history_push", frame)
    rows = [{"user_id": "u4"}, {"user_id": "fresh"}]
    answer = store.get_online_features(["user_history:item_ids"], rows).to_dict()
    assert answer["item_ids"] == [["i40"], ["i41", "i42"]]


def test_the_sdk_is_denied_as_anybody(address: str, own_features: Path, tmp_path: Path) -> None:
    names, rows = ["user_history:length"], [{"user_id": "u4"}]
    stranger = sdk(address, own_features, tmp_path / "stranger", None)
    with pytest.raises(Exception, match="401"):
        stranger.get_online_features(names, rows)
    reader = sdk(address, own_features, tmp_path / "reader", Role.READER)
    frame = pd.DataFrame(
        {
            "user_id": ["u4"], "item_ids": [["i40"]], "length": [1],
            "event_timestamp": [datetime(2026, 2, 1, 12)],
            "created_timestamp": [datetime(2026, 2, 1, 12)],
        }
    )  # fmt: skip
    with pytest.raises(Exception, match="write features"):
        reader.push("user_history_push", frame)


FRAME = {
    "user_id": ["u1"], "item_ids": [["i9"]], "length": [1],
    "event_timestamp": ["2026-02-01T12:00:00"],
}  # fmt: skip


@pytest.mark.parametrize("to", ["online", "offline", "online_and_offline"])
async def test_push_clients_choose_the_target(own_features: Path, tmp_path: Path, to: str) -> None:
    async with running(gateway_config(None, own_features, 9, tmp_path)) as client:
        body = {"push_source_name": "user_history_push", "df": FRAME, "to": to}
        answer = await client.post("/push", json=body)
        assert answer.status_code == 200, answer.text
        found = (await client.get("/feature/user_history?user_id=u1")).json()["rows"][0]
    assert (found["features"]["length"] == 1) == (to != "offline")
    pushed = list((own_features / "offline").rglob("push-*.parquet"))
    assert bool(pushed) == (to != "online")


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/push", {"push_source_name": "user_histry_push", "df": FRAME}, 404, "user_history_push"),
        ("/push", {"push_source_name": "user_history_push", "df": FRAME, "to": "x"}, 422, "'x'"),
        ("/push", {"push_source_name": "user_history_push", "df": {}}, 422, "df is {}"),
        ("/push", {"push_source_name": "user_history_push", "df": {**FRAME, "x": [1]}}, 422,
         "x is 1, which is an unknown field"),
        ("/push", {"push_source_name": "user_history_push", "df": {**FRAME, "length": []}}, 422,
         "df is"),
        ("/write-to-online-store", {"feature_view_name": "usr_history", "df": FRAME}, 404,
         "user_history"),
        ("/get-online-features", {"features": ["user_history:x"], "entities": {"user_id": ["u"]}},
         404, "no feature of user_history 'x'"),
    ],
)  # fmt: skip
async def test_bad_requests_of_feasts_protocol(
    own_features: Path, tmp_path: Path, path: str, body: Any, status: int, words: str
) -> None:
    async with running(gateway_config(None, own_features, 9, tmp_path)) as client:
        answer = await client.post(path, json=body)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["detail"]
