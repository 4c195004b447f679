"""The door: every guarded route asks here who is calling and whether they may."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Protocol

from starlette.requests import HTTPConnection

from serving.gateway.access.database import Database
from serving.gateway.access.refusals import bad_credentials, no_credentials, not_permitted
from serving.gateway.access.roles import ANY, Permission, Principal, Role

ANONYMOUS = "anonymous"  # what everybody is called behind an open door


class OpenDoorError(ValueError):
    """Anybody on the network could do anything."""

    exit_code = 78  # EX_CONFIG


class Verifier(Protocol):
    """One kind of credentials."""

    @property
    def accepts(self) -> str: ...  # what to send, for error messages

    async def open(self, database: Database) -> None: ...

    async def close(self) -> None: ...

    def knows(self, credential: str) -> bool: ...

    def recall(self, credential: str) -> Principal | None: ...

    async def verify(self, credential: str) -> Principal: ...


class Access(Protocol):
    """What the routes ask."""

    def check_host(self, host: str) -> None: ...

    async def open(self, database: Database) -> None: ...

    async def close(self) -> None: ...

    def recall(self, request: HTTPConnection) -> Principal | None: ...

    async def identify(self, request: HTTPConnection) -> Principal: ...


class OpenAccess:
    """Everybody may do everything: for a gateway that only this machine can reach.

    Args:
        allow_remote: let the gateway listen on a network all the same.
    """

    def __init__(self, allow_remote: bool) -> None:
        self.allow_remote = allow_remote
        self.anybody = Principal(ANONYMOUS, {ANY: Role.ADMIN})

    def check_host(self, host: str) -> None:
        """Refuse to listen where others can reach it.

        Raises:
            OpenDoorError: the host is not a loopback address.
        """
        if not self.allow_remote and not is_loopback(host):
            raise OpenDoorError(
                f"gateway.host={host} can be reached from elsewhere and gateway/access=none lets "
                "everybody do everything; choose gateway/access=keys, oidc or keys_and_oidc, or "
                "say gateway.access.allow_remote=true"
            )

    async def open(self, database: Database) -> None:
        return None

    async def close(self) -> None:
        return None

    def recall(self, request: HTTPConnection) -> Principal | None:
        return self.anybody

    async def identify(self, request: HTTPConnection) -> Principal:
        return self.anybody


class GuardedAccess:
    """Callers show credentials of one of several kinds.

    Args:
        verifiers: by name; each knows one kind.
    """

    def __init__(self, verifiers: Mapping[str, Verifier]) -> None:
        self.verifiers = list(verifiers.values())
        self.accepted = " or ".join(v.accepts for v in self.verifiers)

    def check_host(self, host: str) -> None:
        return None

    async def open(self, database: Database) -> None:
        for verifier in self.verifiers:
            await verifier.open(database)

    async def close(self) -> None:
        for verifier in self.verifiers:
            await verifier.close()

    def recall(self, request: HTTPConnection) -> Principal | None:
        """The caller, if what they show was found right a moment ago; takes microseconds."""
        credential = _credential(request)
        if credential is None:
            return None
        for verifier in self.verifiers:
            if verifier.knows(credential):
                return verifier.recall(credential)
        return None

    async def identify(self, request: HTTPConnection) -> Principal:
        """The caller.

        Raises:
            Refusal: 401 with the reason; 503 if that cannot be found out now.
        """
        credential = _credential(request)
        if credential is None:
            raise no_credentials(self.accepted)
        for verifier in self.verifiers:
            if verifier.knows(credential):
                return await verifier.verify(credential)
        raise bad_credentials(
            "malformed", "the credentials are of no kind that is accepted", accepted=self.accepted
        )


def require(principal: Principal, permission: Permission, project: str) -> None:
    """Let pass who may.

    Raises:
        Refusal: 403 that names the missing permission.
    """
    if not principal.may(permission, project):
        raise not_permitted(principal.name, permission, project)


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _credential(request: HTTPConnection) -> str | None:
    """An API key, or what follows `Bearer`."""
    headers = request.headers
    key = headers.get("x-api-key")
    if key is not None:
        return key.strip() or None
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None
