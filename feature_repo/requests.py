"""Features of a request: computed from stored features and what the caller sends with it.

One Python function serves both sides: Feast runs it over training sets, and online over answers.
This module imports nothing heavy, so that the gateway can run it too.
"""

from __future__ import annotations

NAME = "purchase_context"
INPUTS = {
    "user_statistics": ("spend_30d", "orders_30d"),
    "item_statistics": ("times_viewed_7d", "times_viewed_30d"),
}
SENT = {"offered_price": "price of the item at this moment, in the shop's currency"}
OUTPUTS = {
    "price_to_usual": "the price by what the user paid for a line in the last 30 days; null: none",
    "item_momentum": "views of the last week by those of an average week of the last 30 days",
}


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
