"""Features of a request: computed from stored features and what the caller sends with it.

One Python function serves both sides: Feast runs it over training sets, and online over answers.
This module imports nothing heavy, so that the gateway can run it too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RequestView:
    """One function and what goes in and out of it.

    Args:
        function: columns of inputs, one entry a row → columns of outputs, numbers or null. Feast
            keeps its source and runs it by itself: it uses nothing from outside. A missing input
            makes what depends on it null, never an error.
        inputs: view → the stored features it takes.
        sent: column that the caller sends, a number → what it is.
        outputs: feature → what it means.
    """

    function: Callable[[dict[str, list[Any]]], dict[str, list[Any]]]
    inputs: Mapping[str, Sequence[str]]
    sent: Mapping[str, str]
    outputs: Mapping[str, str]
    description: str

    @property
    def name(self) -> str:
        """The view's."""
        return self.function.__name__


def purchase_context(rows: dict[str, list[float]]) -> dict[str, list[float | None]]:
    """Columns of inputs, one entry a row → columns of outputs.

    A missing input makes what depends on it null, never an error: a new user has no statistics.
    Feast keeps the source of this function and runs it by itself: it uses nothing from outside.
    """
    prices = zip(rows["offered_price"], rows["spend_30d"], rows["orders_30d"], strict=True)
    views = zip(rows["times_viewed_7d"], rows["times_viewed_30d"], strict=True)
    return {
        "price_to_usual": [
            float(price) / (spend / orders) if price is not None and spend and orders else None
            for price, spend, orders in prices
        ],
        "item_momentum": [
            week / (month * 7 / 30) if week is not None and month else None for week, month in views
        ],
    }


def category_context(rows: dict[str, list[Any]]) -> dict[str, list[float | None]]:
    """Columns of inputs, one entry a row → columns of outputs."""
    shares: list[float | None] = []
    columns = rows["categories"], rows["category_views"], rows["category"]
    for categories, views, category in zip(*columns, strict=True):
        # Where nothing is known, training sets have NaN.
        if not isinstance(category, str) or not hasattr(categories, "__len__") or not len(views):
            shares.append(None)
            continue
        own = sum(n for name, n in zip(categories, views, strict=True) if name == category)
        shares.append(float(own) / float(sum(views)))
    return {"category_share": shares}


REQUEST_VIEWS = {
    view.name: view
    for view in (
        RequestView(
            function=purchase_context,
            inputs={
                "user_statistics": ("spend_30d", "orders_30d"),
                "item_statistics": ("times_viewed_7d", "times_viewed_30d"),
            },
            sent={"offered_price": "price of the item at this moment, in the shop's currency"},
            outputs={
                "price_to_usual": "the price by what the user paid for a line in the last 30 days; "
                "null: none",
                "item_momentum": "views of the last week by those of an average week of the last "
                "30 days",
            },
            description="What a price and an item's trend mean to this user, at the request.",
        ),
        RequestView(
            function=category_context,
            inputs={
                "user_categories": ("categories", "category_views"),
                "item_content": ("category",),
            },
            sent={},
            outputs={
                "category_share": "share of the user's views of 30 days that went to the item's "
                "category; null: none are known",
            },
            description="How much of this user's attention goes to the item's category.",
        ),
    )
}
