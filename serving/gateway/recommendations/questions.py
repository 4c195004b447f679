"""What callers ask of recommendations beside a user's list: baskets, picks, the moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from starlette.datastructures import QueryParams
from starlette.requests import Request

from serving.gateway.bodies import read_object
from serving.gateway.problems import Problem
from serving.gateway.questions import Limits, check_history, parse_n, parse_user, refuse_unknown

TYPES: Mapping[str, Callable[[Any], Any]] = {"int": int, "float": float, "str": str}
_WORDS = {"int": "a whole number", "float": "a number", "str": "a text"}


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
                422, "invalid-context", f"{name} is {str(value)[:40]!r}", accepted=_WORDS[kind]
            ) from error
    return context


def parse_query(
    request: Request, types: Mapping[str, str], *own: str
) -> tuple[QueryParams, dict[str, Any]]:
    """A query string of `own` parameters and what the caller says of the moment.

    Raises:
        Problem: 422 for a name that is none of these, or a value of another type.
    """
    query = request.query_params
    refuse_unknown(query, (*own, *types))
    return query, parse_context(query, types)


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
    refuse_unknown(given, types, "context")
    return parse_context(given, types)


async def parse_items(
    request: Request, field: str, limits: Limits, types: Mapping[str, str]
) -> ListQuestion:
    """A body {field: [item id, …], "user_id": …?, "n": …?, "context": {…}?}.

    Raises:
        Problem: 4xx with what would be accepted.
    """
    body = await read_object(request, f'{{"{field}": [item ids], "n": a number}}')
    refuse_unknown(body, (field, "user_id", "n", "context"), "field")
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
