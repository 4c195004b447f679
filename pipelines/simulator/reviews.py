"""Reviews: stars that follow an item's quality, and text that says so, more or less plainly.

Some texts are mixed, negated or ironic-sounding, and some stars do not match their text, as in
life; the planted sentiment of each text is kept apart, as truth.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from pipelines.simulator.population import Population

_OPEN = np.array(
    [
        "",
        "Bought this for my sister. ",
        "After two weeks of use: ",
        "Honestly, ",
        "Arrived on a Tuesday. ",
        "My third one. ",
        "I had my doubts. ",
    ]
)
_TEXTS = {
    1: [
        "Broke within days, a complete waste of money.",
        "Terrible quality and the support never answered.",
        "I would not wish this on anyone.",
        "Nothing about it works as described.",
        "Worst purchase this year, sent it straight back.",
    ],
    2: [
        "Not what I hoped for, it feels cheap.",
        "It works, but not well and not for long.",
        "Looks nice, though the finish is disappointing.",
        "Hardly worth the price.",
        "I wanted to like it and could not.",
    ],
    3: [
        "It is okay, nothing special.",
        "Does what it says, no more.",
        "Some good ideas, some bad ones.",
        "Neither great nor terrible.",
        "Fine for the price, but I have seen better.",
    ],
    4: [
        "Quite good, I have no real complaints.",
        "Well made and pleasant to use.",
        "Not perfect, but I would buy it again.",
        "Better than I expected.",
        "A solid choice, delivery was quick too.",
    ],
    5: [
        "Absolutely love it, best one I ever had!",
        "Could not be happier, highly recommended.",
        "Fantastic quality and a beautiful design.",
        "Not a single flaw, a joy every day.",
        "Exceeded everything I hoped for.",
    ],
}
_CLOSE = {
    -1: np.array(
        ["", " Avoid.", " Never again.", " Save your money.", " Two friends say the same."]
    ),
    0: np.array(["", " Your mileage may vary.", " We will see.", " That is all.", ""]),
    1: np.array(
        ["", " Thank you!", " Recommended.", " Will buy again.", " Five friends ask for it."]
    ),
}
_TITLES = {-1: "Disappointed", 0: "Okay", 1: "Happy with it"}
_TABLE = np.array([_TEXTS[stars] for stars in range(1, 6)])  # [5, 5]


def write_reviews(
    people: Population,
    orders: pl.DataFrame,
    day: int,
    rate: float,
    longest_lag: int,
    rng: np.random.Generator,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Some orders are reviewed one to `longest_lag` days later.

    Returns reviews (with `due`, the day they are written) and their planted sentiment (−1, 0, 1).
    """
    chosen = np.flatnonzero(rng.random(len(orders)) < rate)
    lines = orders[chosen]
    n = len(lines)
    lag = rng.integers(1, longest_lag + 1, n)
    feeling = people.quality[lines["item"].to_numpy()] * 5 + rng.normal(0.6, 0.9, n)
    told = np.clip(np.round(feeling), 1, 5).astype(np.int64)  # what the text says
    slip = np.where(rng.random(n) < 0.06, rng.integers(-2, 3, n), 0)  # stars set carelessly
    stars = np.clip(told + slip, 1, 5)
    sentiment = np.sign(told - 3)
    close = np.select(
        [sentiment == s for s in _CLOSE],
        [c[rng.integers(0, len(c), n)] for c in _CLOSE.values()],
        default="",
    )
    body = _TABLE[told - 1, rng.integers(0, _TABLE.shape[1], n)]
    text = np.char.add(np.char.add(_OPEN[rng.integers(0, len(_OPEN), n)], body), close)
    title = np.select([sentiment == s for s in _TITLES], list(_TITLES.values()), default="")
    second = rng.integers(0, 86_400, n)
    reviews = pl.DataFrame(
        {
            "review_id": [f"r{day:05d}-{i:06d}" for i in range(n)],
            "user": lines["user"],
            "item": lines["item"],
            "stars": stars,
            "title": title,
            "text": text,
            "due": day + lag,
            "second": second,
        },
        schema_overrides={"title": pl.String, "text": pl.String, "review_id": pl.String},
    )
    return reviews, reviews.select("review_id", pl.Series("sentiment", sentiment))
