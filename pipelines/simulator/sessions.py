"""What users look at on one day: sessions that follow an intent, with noise.

A session picks one of the user's favourite categories, a ring in it, a starting place and a stride;
each view either takes the next step on the ring or wanders off to something popular, after which
the walk goes on where it was. The last item alone therefore says less than the last few.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.simulator.population import FAVOURITES, Floats, Ints, Population

STRIDES = np.array([-3, -2, -1, 1, 2, 3])
_DAY_S = 86_400


@dataclass(frozen=True)
class Views:
    """N views of one day, in order of session, then time."""

    session: Ints  # [N] number of the session within the day
    user: Ints
    item: Ints
    second: Floats  # [N] seconds since midnight, UTC
    on_ring: np.ndarray  # [N] bool: a step of the session's walk


def browse(people: Population, day: int, rng: np.random.Generator, noise: float) -> Views:
    """Draw all sessions of a day.

    Args:
        day: number of the day; weekends are busier.
        noise: share of views that wander off.
    """
    busy = 1.25 if day % 7 in (5, 6) else 0.9
    counts = rng.poisson(people.activity * busy)
    user = np.repeat(np.arange(people.n_users), counts)
    n = len(user)
    length = 2 + rng.poisson(3.0, n)
    choice = (rng.random(n)[:, None] > np.cumsum(people.weights[user], axis=1)).sum(axis=1)
    category = people.favourites[user, np.minimum(choice, FAVOURITES - 1)]
    # Within a category a user keeps to few rings: a stable pick that depends on both.
    per_category = people.rings_of.shape[1]
    habit = (user * 2_654_435_761 + category * 40_503) % per_category
    ring = people.rings_of[
        category, np.where(rng.random(n) < 0.7, habit, _pick(rng, n, per_category))
    ]
    size = people.rings.shape[1]
    start = rng.integers(0, size, n)
    stride = STRIDES[rng.integers(0, len(STRIDES), n)]
    began = _start_times(rng, n)

    session = np.repeat(np.arange(n), length)
    first = np.cumsum(length) - length
    on_ring = rng.random(len(session)) >= noise
    on_ring[first] = True
    steps = np.cumsum(on_ring) - 1
    steps = steps - np.repeat(steps[first], length)
    place = (start[session] + steps * stride[session]) % size
    item = people.rings[ring[session], place]
    wander = np.flatnonzero(~on_ring)
    anything = np.searchsorted(people.popularity, rng.random(len(wander)))
    item[wander] = np.minimum(anything, people.n_items - 1)

    gap = rng.exponential(40.0, len(session)) + 1.0
    elapsed = np.cumsum(gap)
    second = began[session] + elapsed - np.repeat(elapsed[first], length)
    return Views(session, user[session], item, np.minimum(second, _DAY_S - 0.001), on_ring)


def _pick(rng: np.random.Generator, n: int, size: int) -> Ints:
    return rng.integers(0, size, n)


def _start_times(rng: np.random.Generator, n: int) -> Floats:
    """Seconds since midnight: an evening peak over a flat day; none in the last half hour."""
    evening = rng.normal(19.5, 2.5, n)
    hour = np.where(rng.random(n) < 0.6, evening, rng.random(n) * 24)
    return np.clip(hour, 0, 23.5) * 3600
