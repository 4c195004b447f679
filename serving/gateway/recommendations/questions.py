"""What callers ask of recommendations beside a user's list: baskets, picks, the moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from starlette.requests import Request

from serving.gateway.bodies import read_object
from serving.gateway.problems import Problem
from serving.gateway.questions import Limits, check_history, parse_n, parse_user

TYPES: Mapping[str, Callable[[Any], Any]] = {"int": int, "float": float, "str": str}


class ListQuestion(NamedTuple):
    """Recommend `n` items to go with some."""

    items: list[str]
    user_id: str | None
    n: int
    context: dict[str, Any]


def parse_context(given: Mapping[str, Any], types: Mapping[str, str]) -> dict[str, Any]:
    """What the caller says of the moment, as the config's `context` names it.

    Raises:
        Problem: 422 for a value of another type.
    """
    context = {}
    for name, kind in types.items():
        value = given.get(name)
        if value is None:
            continue
        try:
            if isinstance(value, bool | list | dict) or value == "":
                raise ValueError
            context[name] = TYPES[kind](value)
        except (TypeError, ValueError) as error:
            raise Problem(
                422, "invalid-context", f"{name} is {str(value)[:40]!r}", accepted=f"of type {kind}"
            ) from error
    return context


def parse_nested_context(body: Mapping[str, Any], types: Mapping[str, str]) -> dict[str, Any]:
    """The member `context` of a body."""
    given = body.get("context")
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise Problem(
            422,
            "invalid-context",
            f"context is {given!r:.40}",
            accepted=f"an object of {', '.join(types) or 'nothing'}",
        )
    return parse_context(given, types)


async def parse_items(
    request: Request, field: str, limits: Limits, types: Mapping[str, str]
) -> ListQuestion:
    """A body {field: [item id, …], "user_id": …?, "n": …?, "context": {…}?}.

    Raises:
        Problem: 4xx with what would be accepted.
    """
    body = await read_object(request, f'{{"{field}": [item ids], "n": a number}}')
    items = body.get(field)
    if isinstance(items, list) and not items:
        raise Problem(
            422, "invalid-items", f"{field} is empty", accepted="at least one item id string"
        )
    check_history(items, limits, field)
    user = body.get("user_id")
    return ListQuestion(
        list(dict.fromkeys(items)),  # type: ignore[arg-type]
        None if user is None else parse_user(user),
        parse_n(body.get("n"), limits),
        parse_nested_context(body, types),
    )
