"""What a ranker answers, and what it was asked with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

# {"user": {field: value}, "items": {"item_id": [one an item], field: [one an item]}}
Given = Mapping[str, Mapping[str, Any]]


class Ranked(NamedTuple):
    """One score an item, in the pool's order.

    Args:
        given: what the model was asked with; None: no model was asked.
    """

    scores: list[float]
    given: Given | None = None


def given_of(given: Given | None, items: Sequence[str]) -> Given | None:
    """Of what a ranker was asked with, the part of these items, in their order.

    Items that it was not asked about, such as popular ones that fill up a list, are left out.
    """
    if given is None:
        return None
    columns = given["items"]
    place = {item: p for p, item in enumerate(columns["item_id"])}
    kept = [place[item] for item in items if item in place]
    return {
        "user": given["user"],
        "items": {name: [column[p] for p in kept] for name, column in columns.items()},
    }
