"""Bearer tokens of an OpenID Connect issuer (JWT, RFC 7519), verified as RFC 8725 advises."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import jwt

from serving.gateway.access.database import Database
from serving.gateway.access.refusals import Refusal, bad_credentials, unavailable
from serving.gateway.access.roles import Principal, Role, higher
from serving.gateway.access.signing_keys import IssuerError, SigningKeys
from serving.gateway.access.verified import Verified

# Signatures whose keys are public. Shared secrets (HS…) and `none` can never be allowed.
ASYMMETRIC = {
    "RS256": "RSA", "RS384": "RSA", "RS512": "RSA", "PS256": "RSA", "PS384": "RSA", "PS512": "RSA",
    "ES256": "EC", "ES384": "EC", "ES512": "EC", "EdDSA": "OKP",
}  # fmt: skip


class TokenSettingsError(ValueError):
    """Settings under which a token could be forged."""

    exit_code = 78  # EX_CONFIG


class TokenVerifier:
    """Knows principals by their bearer tokens.

    Args:
        keys: of the issuer.
        audience: what `aud` must name; one of several is enough.
        algorithms: of signatures; only those with public keys.
        leeway_s: by which clocks may differ.
        roles_claim: the claim that holds roles; dots lead into nested claims.
        roles: what a value of the claim means: `{team-a: "millrace:writer"}`. Values that are
            roles themselves, alone or after `<project>:`, need no entry.
        default_project: of a role without a project.
        name_claim: who it is; the audit log shows it.
        verified: tokens that were found right a moment ago.

    Raises:
        TokenSettingsError: an algorithm with a shared secret, or no audience.
    """

    accepts = "Authorization: Bearer <token of the issuer>"

    def __init__(
        self,
        keys: SigningKeys,
        audience: str | Sequence[str],
        algorithms: Sequence[str],
        leeway_s: float,
        roles_claim: str,
        roles: Mapping[str, str],
        default_project: str,
        name_claim: str,
        verified: Verified,
    ) -> None:
        refused = [name for name in algorithms if name not in ASYMMETRIC]
        if refused or not algorithms:
            raise TokenSettingsError(
                f"algorithms {', '.join(refused) or '(none)'}: tokens are signed by "
                f"{', '.join(ASYMMETRIC)}"
            )
        if not audience:
            raise TokenSettingsError("no audience: tokens for anybody else would be accepted")
        self.keys = keys
        self.audience = [audience] if isinstance(audience, str) else list(audience)
        self.algorithms = list(algorithms)
        self.leeway_s = leeway_s
        self.roles_claim = roles_claim.split(".")
        self.roles = dict(roles)
        self.default_project = default_project
        self.name_claim = name_claim
        self.verified = verified

    async def open(self, database: Database) -> None:
        """Have the keys early; an issuer that is away now is asked again by the first token."""
        try:
            await self.keys.candidates(None)
        except IssuerError:
            return

    async def close(self) -> None:
        await self.keys.close()

    def knows(self, credential: str) -> bool:
        """Whether this is for us to judge: what looks like three parts of a JWT."""
        return credential.count(".") == 2

    def recall(self, credential: str) -> Principal | None:
        return self.verified.get(credential)

    async def verify(self, credential: str) -> Principal:
        """The principal of a token.

        Raises:
            Refusal: 401 with the reason, 503 if no keys can be had.
        """
        algorithm, kid = self._header(credential)
        try:
            candidates = await self.keys.candidates(kid)
        except IssuerError as error:
            raise unavailable("the issuer's keys cannot be had") from error
        if not candidates:
            raise bad_credentials("unknown_kid", "the token's kid is no key of the issuer")
        claims = self._claims(credential, algorithm, candidates)
        name = claims.get(self.name_claim)
        if not isinstance(name, str) or not name:
            raise bad_credentials("claims", f"the token lacks the claim {self.name_claim}")
        principal = Principal(f"user:{name}", self._roles(claims))
        self.verified.put(credential, principal, float(claims["exp"]) + self.leeway_s)
        return principal

    def _header(self, credential: str) -> tuple[str, str | None]:
        try:
            header = jwt.get_unverified_header(credential)
        except jwt.InvalidTokenError as error:
            raise bad_credentials("malformed", "the token is not a JWT") from error
        algorithm = header.get("alg")
        if algorithm not in self.algorithms:
            raise bad_credentials(
                "algorithm",
                "the token's algorithm is not allowed",
                accepted=", ".join(self.algorithms),
            )
        return str(algorithm), header.get("kid")

    def _claims(
        self, credential: str, algorithm: str, candidates: Iterable[jwt.PyJWK]
    ) -> dict[str, Any]:
        wrong: Refusal = bad_credentials("signature", "the token's signature is not the issuer's")
        for key in candidates:
            if key.key_type != ASYMMETRIC[algorithm]:
                continue
            try:
                return self._decode(credential, algorithm, key)
            except (jwt.InvalidSignatureError, jwt.InvalidKeyError):
                continue
        raise wrong

    def _decode(self, credential: str, algorithm: str, key: jwt.PyJWK) -> dict[str, Any]:
        try:
            claims: dict[str, Any] = jwt.decode(
                credential,
                key=key.key,
                algorithms=[algorithm],
                audience=self.audience,
                issuer=self.keys.issuer,
                leeway=self.leeway_s,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
            return claims
        except (jwt.InvalidSignatureError, jwt.InvalidKeyError):
            raise
        except jwt.ExpiredSignatureError as error:
            raise bad_credentials("expired", f"the token {_ended(credential)}") from error
        except jwt.ImmatureSignatureError as error:
            raise bad_credentials("not_yet_valid", "the token is not valid yet") from error
        except jwt.InvalidAudienceError as error:
            raise bad_credentials(
                "audience",
                "the token is for another audience",
                accepted=" or ".join(self.audience),
            ) from error
        except jwt.InvalidIssuerError as error:
            raise bad_credentials(
                "issuer", "the token is of another issuer", accepted=self.keys.issuer
            ) from error
        except jwt.MissingRequiredClaimError as error:
            raise bad_credentials("claims", f"the token lacks the claim {error.claim}") from error
        except jwt.InvalidTokenError as error:
            raise bad_credentials("malformed", f"the token is not valid: {error}") from error

    def _roles(self, claims: Mapping[str, Any]) -> dict[str, Role]:
        """Roles by project; what the claim says besides is somebody else's."""
        value: Any = claims
        for part in self.roles_claim:
            value = value.get(part) if isinstance(value, Mapping) else None
        names = value.split() if isinstance(value, str) else value
        held: dict[str, list[Role]] = {}
        for name in names if isinstance(names, list) else []:
            project, _, role = str(self.roles.get(name, name)).rpartition(":")
            if role in list(Role):
                held.setdefault(project or self.default_project, []).append(Role(role))
        return {place: higher(all_of) for place, all_of in held.items()}


def _ended(credential: str) -> str:
    """When a token whose signature is right has expired."""
    claims = jwt.decode(credential, options={"verify_signature": False})
    moment = datetime.fromtimestamp(int(claims["exp"]), UTC)
    return f"expired at {moment:%Y-%m-%dT%H:%M:%SZ}"
