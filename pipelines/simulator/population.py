"""Who is there and what is sold: users with tastes, a catalog in categories and series.

Every category is cut into series, rings of items that belong together in an order (the parts of a
saga, the lenses of a camera). Users go along a series from session to session, which is what a
sequential model can learn and a popularity list cannot.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

FAVOURITES = 3  # categories that a user keeps coming back to

_NOUNS = [
    "Lamp",
    "Kettle",
    "Backpack",
    "Novel",
    "Headphones",
    "Sneaker",
    "Chair",
    "Watch",
    "Blanket",
    "Camera",
    "Puzzle",
    "Jacket",
    "Keyboard",
    "Skillet",
    "Tent",
    "Perfume",
    "Guitar",
    "Bottle",
    "Desk",
    "Scarf",
]
_QUALITIES = [
    "Classic",
    "Compact",
    "Nordic",
    "Vintage",
    "Ultra",
    "Quiet",
    "Bold",
    "Gentle",
    "Urban",
    "Alpine",
]
_BRANDS = [
    "Arvo",
    "Belmont",
    "Corvid",
    "Dellwood",
    "Ekko",
    "Fenwick",
    "Garnet",
    "Holm",
    "Isla",
    "Juno",
    "Karsk",
    "Lumen",
]
_REGIONS = ("north", "south", "east", "west")


@dataclass(frozen=True)
class Population:
    """U users and V items as arrays; ids are `u000000…` and `i000000…`.

    `rings` [R, S] holds item numbers in ring order; `ring_category` [R] their category.
    """

    favourites: Ints  # [U, FAVOURITES] categories
    weights: Floats  # [U, FAVOURITES] how strongly, summing to 1
    activity: Floats  # [U] expected sessions a day
    treated: npt.NDArray[np.bool_]  # [U] in the experiment's treatment group
    age: Ints  # [U]
    region: Ints  # [U]
    rings: Ints
    ring_category: Ints
    rings_of: Ints  # [C, K] ring numbers of each category
    position: Ints  # [V] place in its ring
    category: Ints  # [V]
    quality: Floats  # [V] from 0 to 1: drives conversion and stars
    price: Floats  # [V]
    popularity: Floats  # [V] cumulative share, for sampling by search

    @property
    def n_users(self) -> int:
        return len(self.activity)

    @property
    def n_items(self) -> int:
        return len(self.category)


def populate(
    rng: np.random.Generator,
    users: int,
    items: int,
    categories: int,
    ring_size: int,
    sessions_per_day: float,
    days: int,
) -> Population:
    """Draw users and a catalog; `items` is rounded down to whole rings for every category.

    Raises:
        ValueError: the catalog is too small for one ring a category.
    """
    per_category = items // (categories * ring_size)
    if per_category < 1:
        raise ValueError(
            f"{items} items do not fill {categories} categories with a ring of {ring_size} each; "
            f"at least {categories * ring_size} are needed"
        )
    n_rings = per_category * categories
    n_items = n_rings * ring_size
    rings = rng.permutation(n_items).reshape(n_rings, ring_size)
    ring_category = np.repeat(np.arange(categories), per_category)
    category = np.empty(n_items, dtype=np.int64)
    position = np.empty(n_items, dtype=np.int64)
    category[rings] = ring_category[:, None]
    position[rings] = np.arange(ring_size)[None]
    share = 1.0 / np.arange(1, n_items + 1) ** 0.8  # Zipf-like, as in real catalogs
    share = share[rng.permutation(n_items)]
    return Population(
        favourites=np.argsort(rng.random((users, categories)), axis=1)[:, :FAVOURITES]
        if users * categories <= 20_000_000
        else rng.integers(0, categories, (users, FAVOURITES)),
        weights=rng.dirichlet(np.full(FAVOURITES, 1.2), users),
        activity=rng.gamma(2.0, sessions_per_day / 2.0, users),
        treated=rng.random(users) < 0.5,
        age=np.clip(rng.normal(38, 13, users), 18, 90).astype(np.int64),
        region=rng.integers(0, len(_REGIONS), users),
        rings=rings,
        ring_category=ring_category,
        rings_of=np.arange(n_rings).reshape(categories, per_category),
        position=position,
        category=category,
        quality=rng.beta(4, 2, n_items),
        price=np.round(np.exp(rng.normal(3.2, 0.8, n_items)), 2).astype(np.float64),
        popularity=np.cumsum(share / share.sum()),
    )


def user_ids(numbers: Ints) -> pl.Series:
    return _ids("u", numbers, 7)


def item_ids(numbers: Ints) -> pl.Series:
    return _ids("i", numbers, 6)


def _ids(letter: str, numbers: Ints, digits: int) -> pl.Series:
    padded = pl.Series(numbers).cast(pl.String).str.zfill(digits)
    return padded.to_frame("n").select(pl.lit(letter) + pl.col("n")).to_series()


def users_table(people: Population, start: datetime, rng: np.random.Generator) -> pl.DataFrame:
    """The warehouse's `users`."""
    joined = rng.integers(0, 365 * 86_400, people.n_users)
    return pl.DataFrame(
        {
            "user_id": user_ids(np.arange(people.n_users)),
            "age": people.age,
            "gender": np.array(["f", "m", "x"])[
                rng.choice(3, people.n_users, p=[0.49, 0.49, 0.02])
            ],
            "region": np.array(_REGIONS)[people.region],
            "joined": joined,
        }
    ).select(
        pl.exclude("joined"),
        (pl.lit(start - timedelta(days=365)) + pl.duration(seconds="joined"))
        .cast(pl.Datetime("us", "UTC"))
        .alias("created_at"),
    )


def items_table(people: Population, start: datetime, rng: np.random.Generator) -> pl.DataFrame:
    """The warehouse's `items`: titles name category, brand and place in the series."""
    n = people.n_items
    ring_of = np.empty(n, dtype=np.int64)
    ring_of[people.rings] = np.arange(len(people.rings))[:, None]
    noun = np.array(_NOUNS)[people.category % len(_NOUNS)]
    quality = np.array(_QUALITIES)[ring_of % len(_QUALITIES)]
    brand = np.array(_BRANDS)[ring_of % len(_BRANDS)]
    age_days = rng.integers(30, 900, n)
    return pl.DataFrame(
        {
            "item_id": item_ids(np.arange(n)),
            "noun": noun,
            "style": quality,
            "brand": brand,
            "part": people.position + 1,
            "category_number": people.category,
            "price": people.price,
            "age_days": age_days,
        }
    ).select(
        "item_id",
        pl.format("{} {} {} No. {}", "brand", "style", "noun", "part").alias("title"),
        pl.format(
            "A {} {} by {}, number {} of its series.",
            pl.col("style").str.to_lowercase(),
            pl.col("noun").str.to_lowercase(),
            "brand",
            "part",
        ).alias("description"),
        pl.format("{}-{}", pl.col("noun").str.to_lowercase(), "category_number").alias("category"),
        "brand",
        "price",
        (pl.lit(start) - pl.duration(days="age_days"))
        .cast(pl.Datetime("us", "UTC"))
        .alias("created_at"),
    )
