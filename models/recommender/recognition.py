"""Knowing again the data that a model was trained on, whose codes its weights speak of.

A graph id means an item only together with the interactions that gave it out: with one row more,
every weight may stand for another item.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.recommender.interactions import DataError

_COUNTS = ("rows", "users", "items")


def require_same(trained_on: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raises `DataError` where two descriptions (the `data` of metrics.json) are of other data."""
    if trained_on["sha256"] == now["sha256"]:
        return
    then, here = (
        ", ".join(f"{d[count]} {count}" for count in _COUNTS) + f", SHA-256 {d['sha256'][:12]}…"
        for d in (trained_on, now)
    )
    raise DataError(
        f"{now['name']}: the model was trained on other data ({then}) than what is read now "
        f"({here}); give the data and the filters of the training, or train anew"
    )
