"""What users look at on one day: sessions that go on where the last one of their kind ended.

A session takes up one of the user's favourite categories and walks along a series of it, item by
item, from where the user stopped last time; a finished series is followed by the next of the
category. Some views wander off to something popular, after which the walk goes on. So the next item
follows from the last one on the walk, which need not be the last one seen: a count of what follows
what loses the thread at every detour and at every new session, a sequential model need not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.simulator.population import FAVOURITES, Floats, Ints, Population

_DAY_S = 86_400


@dataclass(frozen=True)
class Views:
    """N views of one day, in order of session, then time."""

    session: Ints  # [N] number of the session within the day
    user: Ints
    item: Ints
    second: Floats  # [N] seconds since midnight, UTC
    on_ring: np.ndarray  # [N] bool: a step of the session's walk


def browse(
    people: Population, progress: Ints, day: int, rng: np.random.Generator, noise: float
) -> Views:
    """Draw all sessions of a day.

    Args:
        progress: [U, FAVOURITES] steps walked so far in each favourite category; moved on in place.
        day: number of the day; weekends are busier.
        noise: share of views that wander off.
    """
    busy = 1.25 if day % 7 in (5, 6) else 0.9
    counts = rng.poisson(people.activity * busy)
    user = np.repeat(np.arange(people.n_users), counts)
    n = len(user)
    length = 2 + rng.poisson(3.0, n)
    choice = (rng.random(n)[:, None] > np.cumsum(people.weights[user], axis=1)).sum(axis=1)
    choice = np.minimum(choice, FAVOURITES - 1)
    began = _start_times(rng, n)
    began = began[np.lexsort((began, user))]  # a user's sessions in order of time

    session = np.repeat(np.arange(n), length)
    first = np.cumsum(length) - length
    on_ring = rng.random(len(session)) >= noise
    on_ring[first] = True
    steps: Ints = np.cumsum(on_ring) - on_ring  # steps of the day before this view
    walked = np.add.reduceat(on_ring.astype(np.int64), first) if n else length
    done = progress[user, choice] + _earlier_today(user * FAVOURITES + choice, walked)
    np.add.at(progress, (user, choice), walked)
    walk = steps - np.repeat(steps[first], length) + done[session]
    item = _series_item(people, user[session], choice[session], walk)
    wander = np.flatnonzero(~on_ring)
    anything = np.searchsorted(people.popularity, rng.random(len(wander)))
    item[wander] = np.minimum(anything, people.n_items - 1)

    gap = rng.exponential(40.0, len(session)) + 1.0
    elapsed = np.cumsum(gap)
    second = began[session] + elapsed - np.repeat(elapsed[first], length)
    return Views(session, user[session], item, np.minimum(second, _DAY_S - 0.001), on_ring)


def _series_item(people: Population, user: Ints, choice: Ints, walk: Ints) -> Ints:
    """The item at a step of a user's walk through a favourite category [N]."""
    category = people.favourites[user, choice]
    per_category, size = people.rings_of.shape[1], people.rings.shape[1]
    # Where a user once began: a stable pick that depends on both.
    place = (user * 2_654_435_761 + category * 40_503) % (per_category * size) + walk
    ring = people.rings_of[category, place // size % per_category]
    items: Ints = people.rings[ring, place % size]
    return items


def _earlier_today(key: Ints, steps: Ints) -> Ints:
    """For each session [N], the steps of the day's earlier sessions of the same key."""
    order = np.argsort(key, kind="stable")
    before = np.cumsum(steps[order]) - steps[order]
    new = np.r_[True, key[order][1:] != key[order][:-1]]
    start = np.maximum.accumulate(np.where(new, np.arange(len(key)), 0)) if len(key) else order
    result = np.empty_like(steps)
    result[order] = before - before[start]
    return result


def _start_times(rng: np.random.Generator, n: int) -> Floats:
    """Seconds since midnight: an evening peak over a flat day; none in the last half hour."""
    evening = rng.normal(19.5, 2.5, n)
    hour = np.where(rng.random(n) < 0.6, evening, rng.random(n) * 24)
    return np.clip(hour, 0, 23.5) * 3600
