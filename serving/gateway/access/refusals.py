"""Why a request is not let in: 401, 403 and 503 as problem details.

A reason helps whoever holds the credentials to mend them, and tells nothing to others: what a token
or key says is looked at only after its signature or secret has been found right.
"""

from __future__ import annotations

from typing import Any

from serving.gateway.problems import Problem

REALM = "millrace"


class Refusal(Problem):
    """A request that is not let in.

    Args:
        reason: one of a few words, for metrics and the audit log.
        who: the caller, if known.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        detail: str,
        headers: dict[str, str] | None = None,
        who: str | None = None,
        **extensions: Any,
    ) -> None:
        kinds = {401: "unauthorized", 403: "forbidden", 503: "access-unavailable"}
        super().__init__(status, kinds[status], detail, headers, reason=reason, **extensions)
        self.reason = reason
        self.who = who


def no_credentials(accepted: str) -> Refusal:
    """401 without an error code, as RFC 6750 asks for requests that carry nothing."""
    return Refusal(
        401,
        "missing",
        "the request carries no credentials",
        {"WWW-Authenticate": f'Bearer realm="{REALM}"'},
        accepted=accepted,
    )


def bad_credentials(reason: str, detail: str, who: str | None = None, **more: Any) -> Refusal:
    """401 with RFC 6750's error code and the reason."""
    shown = detail.replace("\\", "").replace('"', "'")
    challenge = f'Bearer realm="{REALM}", error="invalid_token", error_description="{shown}"'
    headers = {"WWW-Authenticate": challenge.encode("ascii", "replace").decode()}
    return Refusal(401, reason, detail, headers, who, **more)


def not_permitted(who: str, permission: str, project: str) -> Refusal:
    """403 that names what is missing."""
    return Refusal(
        403,
        "permission",
        f"{who} lacks the permission '{permission}' in project {project!r}",
        who=who,
        missing_permission=permission,
        project=project,
    )


def unavailable(what: str) -> Refusal:
    """503: credentials cannot be checked at this moment."""
    return Refusal(503, "unavailable", f"{what}; try again in a few seconds", {"Retry-After": "5"})
