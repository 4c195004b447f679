"""What an item's recent reviews say: how many, how many stars, how kind."""

from __future__ import annotations

import ibis
from ibis import _
from ibis.expr.types import Table

from feature_repo.dates import Dates
from feature_repo.transformations.daily import windowed

WINDOWS = (7, 30, 90)


def item_review_sentiment(reviews: Table, dates: Dates) -> Table:
    """Warehouse reviews → item_id, reviews, stars and sentiment over 7, 30 and 90 days.

    Sentiment is the `sentiment` that a model gave a review's text, from −1 to 1, where the table
    has that column; otherwise what its stars say: (stars − 3) / 2.
    """
    said = (_.stars.cast("float64") - 3) / 2
    if "sentiment" in reviews.columns:
        said = ibis.coalesce(_.sentiment.cast("float64"), said)
    amounts = {
        "reviews": _.count(),
        "stars": _.stars.cast("float64").sum(),
        "sentiment": said.sum(),
    }
    sums = windowed(reviews, "item_id", amounts, WINDOWS, dates)
    columns = {}
    for days in WINDOWS:
        n = sums[f"reviews_{days}d"]
        columns[f"reviews_{days}d"] = n
        for name in ("stars", "sentiment"):
            total = sums[f"{name}_{days}d"]
            columns[f"{name}_{days}d"] = ibis.ifelse(n > 0, total / n.cast("float64"), ibis.null())
    return sums.select("item_id", **columns, event_timestamp="event_timestamp", day="day")
