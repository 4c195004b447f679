"""A synthetic bandit whose policies' true values are known, and logs of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

ITEMS = np.array([f"item-{n}" for n in range(5)])
CONTEXTS = np.array(["phone", "desktop"])
# [2, 5]: chance of a click, by context and item.
CLICK = np.array([[0.05, 0.30, 0.10, 0.20, 0.15], [0.40, 0.05, 0.15, 0.10, 0.20]])
# [2, 5]: how likely the policy that ran, and the one to be judged, are to show an item.
RAN = np.array([[0.40, 0.10, 0.20, 0.20, 0.10], [0.10, 0.30, 0.20, 0.30, 0.10]])
JUDGED = np.array([[0.05, 0.60, 0.05, 0.20, 0.10], [0.60, 0.05, 0.15, 0.05, 0.15]])
SHARES = np.array([0.6, 0.4])
TRUTH = float((SHARES[:, None] * JUDGED * CLICK).sum())
RAN_TRUTH = float((SHARES[:, None] * RAN * CLICK).sum())


def log(requests: int, seed: int, **columns: Any) -> pl.DataFrame:
    """One item an answer, four answers a user, all of the user's context."""
    rng = np.random.default_rng(seed)
    user = np.arange(requests) // 4
    context = rng.choice(2, size=user.max() + 1, p=SHARES)[user]
    item = (rng.random(requests)[:, None] > RAN[context].cumsum(1)).sum(1)
    return pl.DataFrame(
        {
            "request_id": [f"r{n}" for n in range(requests)],
            "user_id": [f"u{u}" for u in user],
            "items": ITEMS[item],
            "propensity": RAN[context, item],
            "reward": (rng.random(requests) < CLICK[context, item]).astype(float),
            "device": CONTEXTS[context],
            "judged": JUDGED[context, item],
            "might": [ITEMS.tolist()] * requests,
            "chances": JUDGED[context].tolist(),
            **columns,
        }
    )


# A slate of two of three items, the second drawn of what is left; a click below a click on item 0
# is twice as likely, so that places do not stand alone.
FIRST_RAN = np.array([0.2, 0.4, 0.4])
FIRST_JUDGED = np.array([0.8, 0.1, 0.1])
FIRST_CLICK = np.array([0.5, 0.2, 0.1])


def _slates(first: np.ndarray) -> float:
    """A policy's true value: both places, the second one even among what is left."""
    second = [0.3 * (2 if item == 0 else 1) for item in range(3)]
    return float((first * (FIRST_CLICK + np.array(second))).sum())


SLATE_TRUTH = _slates(FIRST_JUDGED)


def slates(requests: int, seed: int) -> pl.DataFrame:
    """Answers of two items, as the gateway logs them: lists."""
    rng = np.random.default_rng(seed)
    rows = []
    for n in range(requests):
        first = int(rng.choice(3, p=FIRST_RAN))
        second = int(rng.choice([i for i in range(3) if i != first]))
        clicks = [FIRST_CLICK[first], 0.3 * (2 if first == 0 else 1)]
        rows.append(
            {
                "request_id": f"r{n}",
                "user_id": f"u{n}",
                "items": [f"i{first}", f"i{second}"],
                "propensity": [float(FIRST_RAN[first]), 0.5],
                "reward": (rng.random(2) < clicks).astype(float).tolist(),
                "judged": [float(FIRST_JUDGED[first]), 0.5],
            }
        )
    return pl.DataFrame(rows)
