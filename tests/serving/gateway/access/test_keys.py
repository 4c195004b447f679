"""API keys: only a hash is kept, they end, and each role may what it may."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from omegaconf import DictConfig

from feature_repo.metadata import connect
from serving.gateway.access.keys import ApiKeyError, ApiKeys, api_keys
from serving.gateway.access.roles import Permission, Principal, Role, RoleError, parse_role
from tests.conftest import ROOT
from tests.serving.gateway.access.conftest import bearer
from tests.serving.gateway.conftest import running

Client = httpx.AsyncClient
URL = "/feature/user_history?user_id=u1"


@pytest.fixture
def keys(own_features: Path) -> ApiKeys:
    return ApiKeys(connect(own_features))


def made(keys: ApiKeys, name: str, lifetime: timedelta | None = None, **roles: str) -> str:
    """The secret of a new key with these roles by project (`any` stands for `*`)."""
    held = {"*" if p == "any" else p: Role(r) for p, r in roles.items()}
    return keys.create(name, held, "test", lifetime)[1]


async def test_a_key_works_in_both_headers(guarded: Client, keys: ApiKeys) -> None:
    secret = made(keys, "batch", millrace="reader")
    await asyncio.sleep(0.3)
    assert secret.startswith("mk_")
    assert (await guarded.get(URL, headers={"X-API-Key": secret})).status_code == 200
    assert (await guarded.get(URL, headers=bearer(secret))).status_code == 200


async def test_the_secret_is_nowhere_on_disk(
    guarded: Client, keys: ApiKeys, own_features: Path, tmp_path: Path
) -> None:
    secret = made(keys, "batch", millrace="writer")
    await asyncio.sleep(0.3)
    push = "/v1/features/user_history/push"
    await guarded.post(push, json={"rows": []}, headers={"X-API-Key": secret})
    await guarded.get("/v1/audit", headers={"X-API-Key": secret})
    await asyncio.to_thread(guarded.app.state.gateway.audit.flush)  # type: ignore[attr-defined]
    password = secret.split("_", 2)[2].encode()
    assert len(password) >= 32
    for file in [*own_features.rglob("*"), *tmp_path.rglob("*")]:
        if file.is_file():
            assert password not in file.read_bytes(), file
    row = keys.stored()[0]
    assert len(row.hash) == 64


async def test_wrong_revoked_and_expired_keys(guarded: Client, keys: ApiKeys) -> None:
    good = made(keys, "good", millrace="reader")
    revoked = made(keys, "revoked", millrace="reader")
    expired = made(keys, "expired", timedelta(seconds=-1), millrace="reader")
    keys.revoke("revoked", "test")
    await asyncio.sleep(0.15)

    async def reason(secret: str) -> tuple[int, str]:
        answer = await guarded.get(URL, headers={"X-API-Key": secret})
        return answer.status_code, answer.json().get("reason", "")

    assert await reason(good) == (200, "")
    assert await reason(revoked) == (401, "revoked")
    assert await reason(expired) == (401, "expired")
    assert await reason(good + "x") == (401, "unknown_key")
    assert await reason("mk_000000000000_abc") == (401, "unknown_key")
    assert await reason("mk_") == (401, "malformed")
    wrong = revoked[:-1] + ("a" if revoked[-1] != "a" else "b")
    assert await reason(wrong) == (401, "unknown_key"), "only the holder is told that it ended"


async def test_a_running_gateway_notices_new_and_revoked_keys(
    guarded: Client, keys: ApiKeys
) -> None:
    secret = made(keys, "late", millrace="reader")
    headers = {"X-API-Key": secret}
    await asyncio.sleep(0.3)
    assert (await guarded.get(URL, headers=headers)).status_code == 200
    keys.revoke("late", "test")
    await asyncio.sleep(0.5)
    assert (await guarded.get(URL, headers=headers)).status_code == 401


async def test_known_keys_outlive_the_database(guarded: Client, keys: ApiKeys) -> None:
    secret = made(keys, "steady", millrace="reader")
    await asyncio.sleep(0.3)
    assert (await guarded.get(URL, headers={"X-API-Key": secret})).status_code == 200
    with keys.database.begin() as connection:
        connection.execute(sa.text("ALTER TABLE api_keys RENAME TO gone"))
    await asyncio.sleep(0.3)
    assert (await guarded.get(URL, headers={"X-API-Key": secret})).status_code == 200
    state = guarded.app.state.gateway  # type: ignore[attr-defined]
    state.access.verifiers[0].keep_s = 0.1
    answer = await guarded.get(URL, headers={"X-API-Key": secret})
    assert (answer.status_code, answer.json()["reason"]) == (503, "unavailable")


MATRIX = [
    # role, project, may read, write, manage
    ("reader", "millrace", (True, False, False)),
    ("writer", "millrace", (True, True, False)),
    ("admin", "millrace", (True, True, True)),
    ("reader", "any", (True, False, False)),
    ("admin", "any", (True, True, True)),
    ("admin", "other", (False, False, False)),
]
ROUTES = [
    ("GET", URL, 0),
    ("POST", "/v1/features", 0),
    ("POST", "/get-online-features", 0),
    ("GET", "/v1/registry/services", 0),
    ("POST", "/v1/features/user_history/push", 1),
    ("POST", "/push", 1),
    ("POST", "/write-to-online-store", 1),
    ("GET", "/v1/audit", 2),
    ("GET", "/v1/keys", 2),
    ("POST", "/v1/keys", 2),
    ("DELETE", "/v1/keys/nobody", 2),
]


async def test_every_route_asks_for_its_permission(guarded: Client, keys: ApiKeys) -> None:
    for number, (role, project, may) in enumerate(MATRIX):
        headers = {"X-API-Key": made(keys, f"k{number}", **{project: role})}
        await asyncio.sleep(0.15)
        for method, path, needs in ROUTES:
            answer = await guarded.request(method, path, headers=headers)
            where = f"{role} in {project}: {method} {path}"
            if may[needs]:
                assert answer.status_code not in (401, 403), where
                continue
            problem = answer.json()
            assert answer.status_code == 403, where
            permission = list(Permission)[needs]
            assert problem["missing_permission"] == permission, where
            assert f"lacks the permission '{permission}'" in problem["detail"]
            assert f"key:k{number}" in problem["detail"]


async def test_recommendations_are_for_readers_too(
    guarded_config: DictConfig, tiny_artifact: Path, keys: ApiKeys
) -> None:
    guarded_config.artifacts.recommender = str(tiny_artifact)
    secret = made(keys, "shop", millrace="reader")
    async with running(guarded_config) as client:
        assert (await client.get("/recommend?user_id=u1")).status_code == 401
        good = await client.get("/recommend?user_id=u1", headers={"X-API-Key": secret})
        assert good.status_code == 200


async def test_admins_manage_keys_over_http(guarded: Client, keys: ApiKeys) -> None:
    headers = {"X-API-Key": made(keys, "root", any="admin"), "X-Reason": "a new job"}
    await asyncio.sleep(0.3)
    body = {"name": "job", "roles": {"millrace": "writer"}, "expires_days": 30}
    created = await guarded.post("/v1/keys", json=body, headers=headers)
    assert created.status_code == 201
    assert created.json()["created_by"] == "key:root"
    listed = (await guarded.get("/v1/keys", headers=headers)).json()["keys"]
    assert [(k["name"], k["state"]) for k in listed] == [("root", "active"), ("job", "active")]
    assert created.json()["key"] not in str(listed)
    assert "hash" not in listed[0]
    again = await guarded.post("/v1/keys", json=body, headers=headers)
    assert (again.status_code, "another name" in again.json()["detail"]) == (422, True)
    gone = await guarded.delete("/v1/keys/job", headers=headers)
    assert gone.json()["state"] == "revoked"
    near = await guarded.delete("/v1/keys/jobb", headers=headers)
    assert near.status_code == 404
    assert "nearest: job" in near.json()["detail"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"roles": {"millrace": "reader"}}, "name ''"),
        ({"name": "x"}, "roles is None"),
        ({"name": "x", "roles": {"millrace": "wirter"}}, "did you mean writer"),
        ({"name": "x", "roles": {"millrace": "reader"}, "expires_days": -1}, "expires_days is -1"),
        ({"name": "x", "roles": {"millrace": "reader"}, "age": 1}, "unknown field 'age'"),
        ([], "JSON list"),
    ],
)
async def test_bad_keys_over_http(guarded: Client, keys: ApiKeys, body: Any, words: str) -> None:
    headers = {"X-API-Key": made(keys, "root", any="admin")}
    await asyncio.sleep(0.3)
    answer = await guarded.post("/v1/keys", json=body, headers=headers)
    assert answer.status_code == 422
    assert words in answer.json()["detail"]


async def test_nobody_gives_more_than_they_have(guarded: Client, keys: ApiKeys) -> None:
    headers = {"X-API-Key": made(keys, "local", millrace="admin")}
    made(keys, "root", any="admin")
    await asyncio.sleep(0.3)
    for roles in ({"*": "reader"}, {"other": "reader"}, {"millrace": "reader", "other": "admin"}):
        body = {"name": "more", "roles": roles}
        answer = await guarded.post("/v1/keys", json=body, headers=headers)
        assert (answer.status_code, answer.json()["missing_permission"]) == (403, "manage")
    assert (await guarded.delete("/v1/keys/root", headers=headers)).status_code == 403
    listed = (await guarded.get("/v1/keys", headers=headers)).json()["keys"]
    assert [k["name"] for k in listed] == ["local"]


def test_roles_include_one_another() -> None:
    admin = Principal("user:ada", {"*": Role.ADMIN})
    assert all(admin.may(p, "anything") for p in Permission)
    mixed = Principal("user:bob", {"a": Role.WRITER, "*": Role.READER})
    assert mixed.may(Permission.WRITE, "a")
    assert not mixed.may(Permission.WRITE, "b")
    with pytest.raises(RoleError, match=r"did you mean admin\?"):
        parse_role("admni")


def test_names_are_given_once(keys: ApiKeys) -> None:
    made(keys, "once", millrace="reader")
    keys.revoke("once", "test")
    with pytest.raises(ApiKeyError, match="there is or was a key named 'once'"):
        made(keys, "once", millrace="reader")
    with pytest.raises(ApiKeyError, match="was revoked at"):
        keys.revoke("once", "test")


def test_the_script_makes_lists_and_revokes(own_features: Path, tmp_path: Path) -> None:
    def script(*arguments: str) -> subprocess.CompletedProcess[str]:
        place = [f"paths.features={own_features}", f"output_dir={tmp_path}/o"]
        command = [sys.executable, "scripts/access.py", *arguments, *place]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)

    result = script("create", "name=nightly", "role=writer", "why=the nightly job")
    assert result.returncode == 0, result.stderr
    secret = result.stdout.strip()
    database = connect(own_features)
    stored = ApiKeys(database).stored()[0]
    assert stored.matches(secret.split("_", 2)[2])
    assert stored.key.expires_at is not None
    assert stored.key.expires_at > datetime.now(UTC) + timedelta(days=89)
    listed = script("list").stdout
    assert "nightly" in listed
    assert f"{stored.key.id} │ millrace:writer" in listed, "whole, however narrow the screen"
    assert secret not in listed
    assert script("revoke", "name=nightly").returncode == 0
    wrong = script("create", "name=x", "role=wirter")
    assert (wrong.returncode, "did you mean writer" in wrong.stderr) == (2, True)
    assert "Traceback" not in wrong.stderr
    events = script("audit", "action=keys.*").stdout
    assert '"action": "keys.create"' in events
    assert '"why": "the nightly job"' in events
    assert secret not in events
    with database.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(api_keys)).scalar() == 1
