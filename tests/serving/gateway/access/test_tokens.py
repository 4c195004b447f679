"""Bearer tokens: real signatures over real HTTP, and everything that can be wrong with them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from omegaconf import DictConfig

from serving.gateway.access.roles import Principal
from serving.gateway.access.signing_keys import InsecureIssuerError, IssuerError, SigningKeys
from serving.gateway.access.tokens import TokenSettingsError, TokenVerifier
from serving.gateway.access.verified import Verified
from tests.serving.gateway.access.conftest import bearer
from tests.serving.gateway.access.issuer import Issuer
from tests.serving.gateway.conftest import running

Client = httpx.AsyncClient
URL = "/feature/user_history?user_id=u1"


async def ask(client: Client, token: str) -> httpx.Response:
    return await client.get(URL, headers=bearer(token))


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
async def test_a_good_token_reads(guarded: Client, issuer: Issuer, algorithm: str) -> None:
    answer = await ask(guarded, issuer.token(algorithm=algorithm))
    assert answer.status_code == 200
    assert answer.json()["rows"][0]["features"]["item_ids"] == ["i01", "i02"]


async def test_one_key_without_a_kid_is_tried(guarded: Client, issuer: Issuer) -> None:
    assert (await ask(guarded, issuer.token(kid=None))).status_code == 200


def _unsigned(issuer: Issuer) -> str:
    claims = jwt.decode(issuer.token(), options={"verify_signature": False})
    return jwt.encode(claims, None, "none", {"kid": "rsa-1"})


def _hs256_with_the_public_key(issuer: Issuer) -> str:
    """The classic confusion of algorithms, made by hand: PyJWT refuses to make it."""

    def part(value: dict[str, Any]) -> bytes:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")

    claims = jwt.decode(issuer.token(), options={"verify_signature": False})
    signed = part({"alg": "HS256", "typ": "JWT", "kid": "rsa-1"}) + b"." + part(claims)
    mac = hmac.new(issuer.public_pem(), signed, hashlib.sha256).digest()
    return (signed + b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")).decode()


def _tampered(issuer: Issuer) -> str:
    head, _, signature = issuer.token().split(".")
    payload = issuer.token(roles=["admin"]).split(".")[1]
    return f"{head}.{payload}.{signature}"


_STRANGER = rsa.generate_private_key(65537, 2048)
_PAST = 3600
BAD: dict[str, tuple[Callable[[Issuer], str], str, str]] = {
    "expired": (lambda i: i.token(exp=int(time.time()) - _PAST), "expired", "expired at 20"),
    "too early": (lambda i: i.token(nbf=int(time.time()) + _PAST), "not_yet_valid", "not valid"),
    "another's key": (lambda i: i.token(key=_STRANGER), "signature", "not the issuer's"),
    "tampered": (_tampered, "signature", "not the issuer's"),
    "wrong audience": (lambda i: i.token(aud="shop"), "audience", "another audience"),
    "wrong issuer": (lambda i: i.token(iss="https://evil"), "issuer", "another issuer"),
    "unsigned": (_unsigned, "algorithm", "not allowed"),
    "public key as secret": (_hs256_with_the_public_key, "algorithm", "not allowed"),
    "wrong kind of key": (lambda i: i.token(kid="ec-1"), "signature", "not the issuer's"),
    "unknown kid": (lambda i: i.token(kid="rsa-99"), "unknown_kid", "no key of the issuer"),
    "no expiry": (lambda i: i.token(without=("exp",)), "claims", "exp"),
    "no audience": (lambda i: i.token(without=("aud",)), "claims", "aud"),
    "no subject": (lambda i: i.token(without=("sub",)), "claims", "sub"),
    "three parts of nothing": (lambda _: "a.b.c", "malformed", "not a JWT"),
    "no kind at all": (lambda _: "opensesame", "malformed", "of no kind"),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(BAD))
async def test_a_bad_token_is_told_why(guarded: Client, issuer: Issuer, case: str) -> None:
    make, reason, words = BAD[case]
    answer = await ask(guarded, make(issuer))
    problem = answer.json()
    assert answer.status_code == 401
    assert (problem["reason"], problem["type"]) == (reason, "urn:millrace:problem:unauthorized")
    assert words in problem["detail"]
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert words in answer.headers["www-authenticate"]
    metrics = (await guarded.get("/metrics")).text
    assert f'millrace_gateway_auth_failures_total{{reason="{reason}"}} 1.0' in metrics


async def test_a_forged_token_learns_nothing_of_its_claims(guarded: Client, issuer: Issuer) -> None:
    """Whose signature is wrong is not told that the audience or the time is wrong too."""
    token = issuer.token(key=_STRANGER, aud="shop", exp=1)
    assert (await ask(guarded, token)).json()["reason"] == "signature"


async def test_clocks_may_differ_a_little(guarded: Client, issuer: Issuer) -> None:
    assert (await ask(guarded, issuer.token(exp=int(time.time()) - 5))).status_code == 200


async def test_no_credentials_are_asked_for(guarded: Client) -> None:
    answer = await guarded.get(URL)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="millrace"'
    assert "X-API-Key" in answer.json()["accepted"]
    for path in ("/health/live", "/health/ready", "/metrics", "/openapi.json"):
        assert (await guarded.get(path)).status_code == 200, path


async def test_rotated_keys_are_fetched_once(guarded: Client, issuer: Issuer) -> None:
    assert (await ask(guarded, issuer.token())).status_code == 200
    await asyncio.sleep(0.25)
    issuer.rotate()
    before = issuer.asked.count("/keys")
    tokens = [issuer.token(sub=f"user{n}") for n in range(20)]
    answers = await asyncio.gather(*(ask(guarded, t) for t in tokens))
    assert {a.status_code for a in answers} == {200}
    assert issuer.asked.count("/keys") == before + 1


async def test_invented_kids_do_not_flood_the_issuer(guarded: Client, issuer: Issuer) -> None:
    started = time.monotonic()
    for n in range(50):
        assert (await ask(guarded, issuer.token(kid=f"no-{n}"))).status_code == 401
    most = 2 + (time.monotonic() - started) / 0.2  # one a cooldown
    assert issuer.asked.count("/keys") <= most


async def test_a_missing_issuer_is_not_noticed_by_known_keys(
    guarded: Client, issuer: Issuer
) -> None:
    assert (await ask(guarded, issuer.token())).status_code == 200
    issuer.away = True
    state = guarded.app.state.gateway  # type: ignore[attr-defined]
    keys = next(v.keys for v in state.access.verifiers if isinstance(v, TokenVerifier))
    keys.lifetime_s = 0  # old: they are fetched again behind the answers
    await asyncio.sleep(0.25)
    for n in range(3):
        assert (await ask(guarded, issuer.token(sub=f"user{n}"))).status_code == 200


async def test_without_any_keys_the_answer_is_to_come_back(
    guarded_config: DictConfig, issuer: Issuer
) -> None:
    issuer.away = True
    async with running(guarded_config) as client:
        answer = await ask(client, issuer.token())
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        issuer.away = False
        await asyncio.sleep(0.25)
        assert (await ask(client, issuer.token())).status_code == 200


async def test_too_old_keys_are_not_believed(issuer: Issuer) -> None:
    now = [0.0]
    keys = SigningKeys(issuer.url, keep_s=100, cooldown_s=0, clock=lambda: now[0])
    assert len(await keys.candidates(None)) == 2
    issuer.away, now[0] = True, 101.0
    with pytest.raises(IssuerError):
        await keys.candidates(None)
    await keys.close()


async def test_a_discovery_document_of_another_issuer_is_refused(issuer: Issuer) -> None:
    keys = SigningKeys(issuer.url.replace("127.0.0.1", "localhost"))
    with pytest.raises(IssuerError):
        await keys.candidates(None)


async def test_roles_come_from_the_claim(guarded_config: DictConfig, issuer: Issuer) -> None:
    oidc = guarded_config.access.verifiers.oidc
    oidc.roles_claim = "realm_access.roles"
    oidc.roles = {"data-team": "millrace:writer", "ops": "*:admin"}
    async with running(guarded_config) as client:

        async def may(*names: str) -> dict[str, Any]:
            token = issuer.token(realm_access={"roles": list(names)})
            codes = [
                (await client.request(method, path, headers=bearer(token))).status_code
                for method, path in [
                    ("GET", URL), ("POST", "/v1/features/user_history/push"), ("GET", "/v1/audit"),
                ]
            ]  # fmt: skip
            return dict(zip(("read", "write", "manage"), codes, strict=True))

        assert await may("reader", "of-something-else") == {
            "read": 200,
            "write": 403,
            "manage": 403,
        }
        assert await may("data-team") == {"read": 200, "write": 415, "manage": 403}
        assert await may("ops") == {"read": 200, "write": 415, "manage": 200}
        assert await may("other-project:admin") == {"read": 403, "write": 403, "manage": 403}
        assert await may() == {"read": 403, "write": 403, "manage": 403}


def test_settings_under_which_tokens_could_be_forged_are_refused() -> None:
    def verifier(**changed: Any) -> TokenVerifier:
        settings: dict[str, Any] = {
            "keys": SigningKeys("https://issuer.example"), "audience": "millrace",
            "algorithms": ["RS256"], "leeway_s": 0, "roles_claim": "roles", "roles": {},
            "default_project": "millrace", "name_claim": "sub", "verified": Verified(10, 10),
        }  # fmt: skip
        return TokenVerifier(**settings | changed)

    for algorithms in (["HS256"], ["none"], ["RS256", "HS512"], []):
        with pytest.raises(TokenSettingsError, match="signed by RS256"):
            verifier(algorithms=algorithms)
    with pytest.raises(TokenSettingsError, match="audience"):
        verifier(audience="")
    with pytest.raises(InsecureIssuerError, match="https"):
        SigningKeys("http://login.example.com")
    with pytest.raises(InsecureIssuerError, match=r"set gateway\.access.*issuer"):
        SigningKeys(None)


async def test_a_token_is_verified_once(guarded: Client, issuer: Issuer) -> None:
    state = guarded.app.state.gateway  # type: ignore[attr-defined]
    verifier = next(v for v in state.access.verifiers if isinstance(v, TokenVerifier))
    token = issuer.token()
    await ask(guarded, token)
    assert verifier.recall(token) is not None
    verifier.keys._keys.clear()  # nothing can be verified any more
    assert (await ask(guarded, token)).status_code == 200


def test_what_is_remembered_ends_and_is_bounded() -> None:
    now = [0.0]
    known, who = Verified(2, 60, clock=lambda: now[0]), Principal("user:ada", {})
    known.put("a", who, until=10)
    known.put("b", who, until=1000)
    now[0] = 10.0
    assert known.get("a") is None, "its own end"
    now[0] = 59.0
    assert known.get("b") == who
    now[0] = 61.0
    assert known.get("b") is None, "the longest that is believed"
    for token in "cde":
        known.put(token, who, until=1000)
    assert [known.get(t) is not None for t in "cde"] == [False, True, True]
