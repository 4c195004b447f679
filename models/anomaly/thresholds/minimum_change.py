"""A floor under alarms: a change too small to matter never alarms, however unusual it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from models.anomaly.thresholds.threshold import ThresholdError


class MinimumChange:
    """How far a field must be from what was expected before its event may alarm.

    A signal that was constant for weeks makes one unit more look infinitely unusual; whoever knows
    the field knows that it is not. A field has moved where |value − expected| exceeds both its
    absolute and its relative (× |expected|) minimum.

    Args:
        fields: names, in the order of the columns.
        absolute: by field, in its own unit; `default` for fields not named.
        relative: by field, as a share of what was expected; `default` likewise.

    Raises:
        ThresholdError: a field that does not exist, or a minimum that is negative or not a number.
    """

    def __init__(
        self,
        fields: Sequence[str],
        absolute: Mapping[str, float] | None = None,
        relative: Mapping[str, float] | None = None,
    ) -> None:
        self.absolute = self._of(fields, absolute or {}, "absolute")
        self.relative = self._of(fields, relative or {}, "relative")

    @staticmethod
    def _of(fields: Sequence[str], given: Mapping[str, float], kind: str) -> NDArray[np.float64]:
        for name, value in given.items():
            if name not in (*fields, "default"):
                raise ThresholdError(
                    f"{kind} minimum change of field {name!r}, but the fields are {list(fields)}"
                )
            if not 0 <= value < np.inf:
                raise ThresholdError(
                    f"{kind} minimum change of {name!r} must be a number from 0, not {value}"
                )
        usual = given.get("default", 0.0)
        return np.array([float(given.get(f, usual)) for f in fields])

    def moved(
        self, values: NDArray[np.floating], expected: NDArray[np.floating]
    ) -> NDArray[np.bool_]:
        """[N, F], [N, F] → [N]: whether at least one field of the event has moved.

        A missing value (NaN), or one of which nothing is expected, may itself be what is wrong: it
        counts as moved where it has no minimum, and not where it has one. An event whose fields
        are all missing has always moved.
        """
        change = np.abs(values.astype(np.float64) - expected)
        unknown = np.isnan(change)
        least = np.maximum(self.absolute, self.relative * np.abs(expected))
        least = np.where(np.isnan(least), self.absolute, least)
        floor = (self.absolute > 0) | (self.relative > 0)
        field = np.where(unknown, ~floor, ~floor | (change > least))
        return np.asarray(field.any(axis=1) | unknown.all(axis=1))
