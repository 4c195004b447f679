"""Two models' ranking figures on the same rows, and how sure their difference is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from models.promotion.rule import Measure

Floats = NDArray[np.floating[Any]]
Metric = Callable[[NDArray[np.bool_], Floats], float]

METRICS: dict[str, Metric] = {"average_precision": average_precision_score, "auroc": roc_auc_score}


def ranking(
    prefix: str,
    truth: NDArray[np.bool_],
    champion: Floats,
    challenger: Floats,
    resamples: int,
    seed: int = 0,
) -> list[Measure]:
    """`<prefix>_average_precision` and `<prefix>_auroc`, with bootstrap intervals.

    Paired and stratified: rows of both kinds are drawn again separately, so that every resample has
    as many of each, and both models are measured on the same draw (Efron and Tibshirani, 1993).
    Intervals are 95 %.

    Args:
        truth: [N], both kinds present.
        champion, challenger: [N] scores; high: true.
    """
    rng = np.random.default_rng(seed)
    kinds = [np.flatnonzero(truth), np.flatnonzero(~truth)]
    draws = [np.concatenate([rng.choice(k, len(k)) for k in kinds]) for _ in range(resamples)]
    found = []
    for name, metric in METRICS.items():
        differences = np.array(
            [metric(truth[d], challenger[d]) - metric(truth[d], champion[d]) for d in draws]
        )
        low, high = np.percentile(differences, [2.5, 97.5]) if resamples else (None, None)
        found.append(
            Measure(
                name=f"{prefix}_{name}",
                champion=float(metric(truth, champion)),
                challenger=float(metric(truth, challenger)),
                better="higher",
                rows=len(truth),
                low=None if low is None else float(low),
                high=None if high is None else float(high),
                # Equal counts half: of two like models, neither is better in most resamples.
                chance=float((differences > 0).mean() + (differences == 0).mean() / 2)
                if resamples
                else None,
            )
        )
    return found
