"""From looking to buying: clicks, carts, orders, reviews, and an experiment that changes them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from pipelines.simulator.population import Population, item_ids, user_ids
from pipelines.simulator.reviews import write_reviews
from pipelines.simulator.sessions import Views

EXPERIMENT = "checkout-button"
_REVIEW_LAG_DAYS = 10


@dataclass(frozen=True)
class Rates:
    """Probabilities of one step after another; the treatment multiplies the order's."""

    click: float = 0.5
    add: float = 0.18
    order: float = 0.45
    review: float = 0.35
    treatment_lift: float = 1.2


@dataclass(frozen=True)
class Day:
    """Tables of one day; reviews carry the day on which they are written, later ones included."""

    events: pl.DataFrame
    orders: pl.DataFrame
    reviews: pl.DataFrame
    sentiments: pl.DataFrame


def trade(
    people: Population,
    views: Views,
    day: int,
    midnight_us: int,
    rates: Rates,
    rng: np.random.Generator,
) -> Day:
    """Draw what follows from the views of a day. Times are microseconds since 1970."""
    n = len(views.user)
    time = midnight_us + np.round(views.second * 1e6).astype(np.int64)
    ids = {
        "user": views.user,
        "session": views.session,
        "item": views.item,
        "price": people.price[views.item],
    }
    clicked = rng.random(n) < rates.click
    liking = people.quality[views.item] * np.where(views.on_ring, 1.0, 0.6)
    added = rng.random(n) < 2 * rates.add * liking
    lift = np.where(people.treated[views.user], rates.treatment_lift, 1.0)
    ordered = added & (rng.random(n) < np.minimum(rates.order * lift, 1.0))
    session_end = np.maximum.reduceat(time, _starts(views.session))[_rank(views.session)]
    quantity = 1 + (rng.random(n) < 0.12)
    exposed = np.zeros(n, dtype=bool)
    exposed[_starts(views.session)] = True

    parts = [
        _rows("Experiment Viewed", time - 1_000, ids, exposed, bare=True),
        _rows("Product Viewed", time, ids, np.ones(n, dtype=bool)),
        _rows("Product Clicked", time + 400_000, ids, clicked),
        _rows("Product Added", time + 900_000, ids, added, quantity=quantity),
        _rows("Order Completed", session_end + 30_000_000, ids, ordered, quantity=quantity),
    ]
    events = pl.concat([p for p in parts if len(p)], how="diagonal")
    orders = _orders(parts[4], day)
    reviews, sentiments = write_reviews(people, orders, day, rates.review, _REVIEW_LAG_DAYS, rng)
    return Day(events, orders, reviews, sentiments)


def label(events: pl.DataFrame, people: Population, day: int) -> pl.DataFrame:
    """Order a day's events by time and give them the warehouse's columns and ids."""
    limit = (pl.col("time") // 86_400_000_000 + 1) * 86_400_000_000 - 1
    ordered = events.sort("time", "user", "event", maintain_order=True).with_row_index("row")
    exposed = pl.col("event") == "Experiment Viewed"
    variant = pl.Series(
        np.where(people.treated[ordered["user"].to_numpy()], "treatment", "control")
    )
    return ordered.with_columns(pl.min_horizontal("time", limit).alias("time")).select(
        pl.format("m{}-{}", pl.lit(f"{day:05d}"), pl.col("row").cast(pl.String).str.zfill(9)).alias(
            "message_id"
        ),
        pl.lit("track").alias("type"),
        "event",
        user_ids(ordered["user"].to_numpy()).alias("user_id"),
        pl.lit(None, pl.String).alias("anonymous_id"),
        pl.format("s{}-{}", pl.lit(f"{day:05d}"), "session").alias("session_id"),
        pl.when(exposed)
        .then(None)
        .otherwise(item_ids(ordered["item"].to_numpy()))
        .alias("item_id"),
        pl.lit(None, pl.Int64).alias("position"),
        pl.when(exposed).then(None).otherwise(pl.col("price")).alias("price"),
        pl.col("quantity").cast(pl.Int64),
        pl.when(pl.col("event") == "Order Completed")
        .then(pl.format("o{}-{}", pl.lit(f"{day:05d}"), "session"))
        .alias("order_id"),
        pl.when(exposed).then(pl.lit(EXPERIMENT)).alias("experiment_id"),
        pl.when(exposed).then(variant).alias("variation_id"),
        pl.col("time").cast(pl.Datetime("us", "UTC")).alias("timestamp"),
        (pl.col("time") + 250_000).cast(pl.Datetime("us", "UTC")).alias("received_at"),
    )


def _rows(
    event: str,
    time: np.ndarray,
    ids: dict[str, np.ndarray],
    mask: np.ndarray,
    quantity: np.ndarray | None = None,
    bare: bool = False,
) -> pl.DataFrame:
    columns = {name: values[mask] for name, values in ids.items()}
    amount = np.ones(int(mask.sum()), dtype=np.int64) if quantity is None else quantity[mask]
    frame = pl.DataFrame({"time": time[mask], **columns, "quantity": amount})
    return frame.with_columns(
        pl.lit(event).alias("event"),
        pl.when(pl.lit(bare or quantity is None))
        .then(None)
        .otherwise("quantity")
        .alias("quantity"),
    )


def _orders(lines: pl.DataFrame, day: int) -> pl.DataFrame:
    return lines.sort("time", "session", maintain_order=True).select(
        pl.format("o{}-{}", pl.lit(f"{day:05d}"), "session").alias("order_id"),
        "user",
        "item",
        "quantity",
        "price",
        "time",
    )


def _starts(session: np.ndarray) -> np.ndarray:
    """Where each session's run begins."""
    return np.flatnonzero(np.r_[True, session[1:] != session[:-1]]) if len(session) else session


def _rank(session: np.ndarray) -> np.ndarray:
    """0 for rows of the first session, 1 for the second, …"""
    return np.cumsum(np.r_[False, session[1:] != session[:-1]]) if len(session) else session
