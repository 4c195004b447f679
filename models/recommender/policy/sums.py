"""What estimators need of a log: sums over the rows of each cluster and place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Sums:
    """C clusters × P places of a slate; a cluster is what is drawn as one: a user, or a request.

    Rows of one user are not independent, so that intervals must draw users and not rows.
    """

    requests: Array  # [C]
    shown: Array  # [C, P] rows
    weight: Array  # [C, P] Σ w
    earned: Array  # [C, P] Σ w·r
    corrected: Array  # [C, P] Σ E_π[q] + w·(r − q); without a reward model, as `earned`

    @classmethod
    def of(
        cls,
        cluster: Codes,
        request: Codes,
        place: Codes,
        weight: Array,
        reward: Array,
        expected: Array | None = None,
        fitted: Array | None = None,
    ) -> Sums:
        """From N rows.

        Args:
            cluster, request, place: codes from 0; all rows of a request have one cluster.
            weight: target's over logged chance.
            expected, fitted: E_π[q] of a row's context and q of what was shown, if there is a
                reward model.
        """
        clusters, places = int(cluster.max()) + 1, int(place.max()) + 1
        cell = cluster * places + place

        def total(values: Array) -> Array:
            flat = np.bincount(cell, weights=values, minlength=clusters * places)
            return flat.astype(np.float64).reshape(clusters, places)

        _, first = np.unique(request, return_index=True)
        corrected = weight * reward
        if expected is not None and fitted is not None:
            corrected = expected + weight * (reward - fitted)
        return cls(
            np.bincount(cluster[first], minlength=clusters).astype(np.float64),
            total(np.ones_like(weight)),
            total(weight),
            total(weight * reward),
            total(corrected),
        )
