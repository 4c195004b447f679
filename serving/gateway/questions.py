"""What callers ask, checked: user ids, list lengths, batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from starlette.requests import Request

from serving.gateway.bodies import read_json
from serving.gateway.problems import Problem

MAX_ID = 256  # characters of an id


class Limits(NamedTuple):
    """What the config and the model allow."""

    default_n: int
    max_n: int
    max_batch: int
    max_history: int


class UserQuestion(NamedTuple):
    """Recommend `n` items to a known user, or after a history that the caller brings.

    `context` is what the caller says of the moment, such as a region.
    """

    user_id: str | None
    history: list[str] | None
    n: int
    context: dict[str, Any]


def parse_n(value: Any, limits: Limits) -> int:
    """A list length from a query string or JSON; 422 says what is accepted."""
    if value is None:
        return limits.default_n
    try:
        if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
            raise ValueError
        if isinstance(value, str) and "_" in value:  # Python's own: 1_0 is 10
            raise ValueError
        n = int(value)
    except (TypeError, ValueError):
        n = 0
    if not 1 <= n <= limits.max_n:
        raise Problem(
            422,
            "invalid-n",
            f"n is {str(value)[:40]!r}",
            accepted=f"a whole number from 1 to {limits.max_n}",
        )
    return n


def refuse_unknown(given: Iterable[str], accepted: Iterable[str], what: str = "parameter") -> None:
    """Names that nothing reads are mistyped ones: a region that is not read filters nothing.

    Raises:
        Problem: 422, naming what is accepted.
    """
    accepted = list(accepted)
    strange = next((name for name in given if name not in accepted), None)
    if strange is not None:
        raise Problem(
            422,
            f"unknown-{what}",
            f"{what} {strange[:40]!r} is not known here",
            accepted=", ".join(accepted) or "none",
        )


def parse_user(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_ID:
        shown = repr(value[:40]) if isinstance(value, str) else repr(value)
        raise Problem(
            422,
            "invalid-user-id",
            "user_id is missing" if value is None else f"user_id is {shown}",
            accepted=f"a non-empty string of at most {MAX_ID} characters",
        )
    return value


async def parse_batch(
    request: Request, limits: Limits, context: Callable[[dict[str, Any]], dict[str, Any]]
) -> list[UserQuestion]:
    """The body of POST /v1/recommendations.

    Args:
        context: finds in a row what its caller says of the moment.
    """
    body = await read_json(request)
    rows = body.get("requests") if isinstance(body, dict) else None
    if not isinstance(rows, list) or not 1 <= len(rows) <= limits.max_batch:
        found = f"{len(rows)} requests" if isinstance(rows, list) else "no list `requests`"
        raise Problem(
            422,
            "invalid-batch",
            f"the body holds {found}",
            accepted=f'{{"requests": [1 to {limits.max_batch} objects]}}',
        )
    return [_question(row, index, limits, context) for index, row in enumerate(rows)]


def _question(
    row: Any,
    index: int,
    limits: Limits,
    context: Callable[[dict[str, Any]], dict[str, Any]],
) -> UserQuestion:
    try:
        if not isinstance(row, dict):
            raise Problem(422, "invalid-request", f"it is {row!r:.40}", accepted="an object")
        refuse_unknown(row, ("user_id", "history", "n", "context"), "field")
        n = parse_n(row.get("n"), limits)
        said = context(row)
        history = row.get("history")
        if history is None:
            return UserQuestion(parse_user(row.get("user_id")), None, n, said)
        if row.get("user_id") is not None:
            raise Problem(
                422,
                "invalid-request",
                "it has both user_id and history",
                accepted="user_id, or a history instead of the stored one",
            )
        check_history(history, limits)
        return UserQuestion(None, history, n, said)
    except Problem as problem:
        problem.detail = f"requests[{index}]: {problem.detail}"
        raise


def check_history(history: Any, limits: Limits, name: str = "history") -> None:
    """A list of item ids.

    Args:
        name: of the field, for the message.
    """
    if history is None:
        found = f"{name} is missing"
    elif not isinstance(history, list):
        found = f"{name} is {history!r:.40}"
    elif len(history) > limits.max_history:
        found = f"{name} has {len(history)} items"
    else:
        wrong = next(((i, v) for i, v in enumerate(history) if not isinstance(v, str)), None)
        if wrong is None:
            return
        found = f"{name}[{wrong[0]}] is {wrong[1]!r:.40}"
    raise Problem(
        422,
        f"invalid-{name}",
        found,
        accepted=f"a list of at most {limits.max_history} item id strings",
    )
