"""Events of numeric fields in; how surprising each is, why, and what was expected out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from models.artifact import Artifact
from serving.torchserve.codecs.errors import InstanceError
from serving.torchserve.codecs.one_run import OneRun

_LARGEST = float(np.finfo(np.float32).max)  # the graph's numbers
_TIME = "seconds since 1970 UTC, or an ISO 8601 time with a zone such as 2026-01-31T12:00:00Z"
_VALUES = "an object of field → number or null, or a list of such objects, the newest last"


@dataclass(frozen=True)
class Window:
    """A checked instance.

    `rows` are the events given, the newest last, NaN where a value is missing; `missing` are the
    model's fields that the newest lacks, `ignored` the fields that the model does not know.
    """

    rows: np.ndarray  # [≤ T, F] float32
    time: int
    missing: list[str]
    ignored: list[str]


class AnomalyCodec(OneRun):
    """Instances `{"values": {field: number | null} | [such objects], "time": seconds | ISO}`.

    A field that is missing or null is imputed inside the graph and named in the answer; a field
    that the model does not know is left out and named too. A list may be shorter than the model's
    window: its front counts as missing.
    """

    def __init__(self, artifact: Artifact) -> None:
        self.fields: list[str] = artifact.read_asset("fields.json")
        self.place = {field: n for n, field in enumerate(self.fields)}
        self.threshold = float(artifact.read_asset("threshold.json")["threshold"])
        self.window = int(artifact.signature.limits["window"])

    def example(self, width: int) -> dict[str, np.ndarray]:
        """A batch of `width` windows of zeros."""
        shape = (width, self.window, len(self.fields))
        return {"values": np.zeros(shape, np.float32), "time": np.zeros(width, np.int64)}

    def check(self, instance: Any) -> Window:
        """Raises `InstanceError` 400 for a malformed instance, 422 for none of the model's fields.

        The text names the field, its value, and what is accepted.
        """
        if not isinstance(instance, dict):
            raise InstanceError(400, f"an instance is an object, not {type(instance).__name__}")
        extra = sorted(set(instance) - {"values", "time"})
        if extra:
            raise InstanceError(400, f"an instance has values and time, not {_shown(extra[0])}")
        events = instance.get("values")
        if isinstance(events, dict):
            events = [events]
        if not isinstance(events, list) or not events:
            raise InstanceError(400, f"values is {_shown(events)}; it must be {_VALUES}")
        if len(events) > self.window:
            raise InstanceError(
                400, f"values has {len(events)} events; this model looks at {self.window}"
            )
        time = _seconds(instance.get("time"))
        rows = np.full((len(events), len(self.fields)), np.nan, dtype=np.float32)
        ignored: set[str] = set()
        for n, event in enumerate(events):
            place = "" if len(events) == 1 else f"values[{n}]."
            if not isinstance(event, Mapping):
                raise InstanceError(400, f"values[{n}] is {_shown(event)}; it must be an object")
            ignored.update(self._fill(rows[n], event, place))
        missing = [f for f, v in zip(self.fields, rows[-1], strict=True) if np.isnan(v)]
        if len(missing) == len(self.fields):
            raise InstanceError(
                422,
                f"the event has a number for none of this model's fields, {self.fields}; "
                f"it has {sorted(map(_safe, events[-1]))}",
            )
        return Window(rows, time, missing, sorted(map(_safe, ignored)))

    def _fill(self, row: np.ndarray, event: Mapping[str, Any], place: str) -> list[str]:
        """Put an event's numbers where the graph has them; returns the fields left over."""
        unknown = []
        for field, value in event.items():
            column = self.place.get(field)
            if column is None:
                unknown.append(field)
            elif value is not None:
                row[column] = _number(f"{place}{field}", value)
        return unknown

    def encode(self, instances: list[Window]) -> dict[str, np.ndarray]:
        """`values` [B, T, F], fronts that are not there NaN, and `time` [B]."""
        shape = (len(instances), self.window, len(self.fields))
        values = np.full(shape, np.nan, dtype=np.float32)
        for target, window in zip(values, instances, strict=True):
            target[self.window - len(window.rows) :] = window.rows
        return {"values": values, "time": np.array([w.time for w in instances], dtype=np.int64)}

    def decode(self, outputs: list[np.ndarray], instances: list[Window]) -> list[dict[str, Any]]:
        """Score, contributions and expected values of each; an error where one is no number."""
        answers: list[dict[str, Any]] = []
        for window, score, parts, expected in zip(instances, *outputs, strict=True):
            if not (
                np.isfinite(score) and np.isfinite(parts).all() and np.isfinite(expected).all()
            ):
                failed = InstanceError(500, "the model's answer is not finite")
                answers.append(failed.as_json())
                continue
            answers.append(
                {
                    "score": float(score),
                    "threshold": self.threshold,
                    "contributions": dict(zip(self.fields, parts.tolist(), strict=True)),
                    "expected": dict(zip(self.fields, expected.tolist(), strict=True)),
                    "missing": window.missing,
                    "ignored": window.ignored,
                }
            )
        return answers


def _number(field: str, value: Any) -> float:
    """A finite number of 32 bits.

    JSON has neither NaN nor infinities, but parsers that let them through do exist.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InstanceError(400, f"{field} is {_shown(value)}; it must be a number or null")
    if not abs(value) <= _LARGEST:  # NaN compares as false
        raise InstanceError(400, f"{field} is {_shown(value)}; it must be a finite number or null")
    return float(value)


def _seconds(value: Any) -> int:
    if isinstance(value, int | float) and not isinstance(value, bool):
        if math.isfinite(value) and abs(value) < 2**53:
            return math.floor(value)
    elif isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
            if moment.tzinfo is not None:
                return math.floor(moment.astimezone(UTC).timestamp())
        except (ValueError, OverflowError):
            pass
    raise InstanceError(400, f"time is {_shown(value)}; it must be {_TIME}")


def _shown(value: Any) -> str:
    """A value of a stranger's, cut short and safe to print."""
    if value is None:
        return "missing"
    text = _safe(repr(value) if not isinstance(value, int) else _digits(value))
    return text if len(text) <= 60 else f"{text[:57]}…"


def _digits(value: int) -> str:
    """Python refuses to print integers of more than some thousand digits."""
    return repr(value) if value.bit_length() < 200 else f"an integer of {value.bit_length()} bits"


def _safe(text: object) -> str:
    """Half characters cannot be sent."""
    return str(text).encode("utf-8", "replace").decode()
