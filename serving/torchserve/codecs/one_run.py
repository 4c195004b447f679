"""Codecs whose instances all go through the graph together, in one run."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

Arrays = dict[str, np.ndarray]


class Run(Protocol):
    """The artifact's graph."""

    def __call__(self, feed: Arrays, /, *, exact: bool = False) -> list[np.ndarray]:
        """exact: the float32 graph, where the artifact brings one beside its 8-bit weights."""


class OneRun:
    """Says `answer` by `encode` and `decode`."""

    def encode(self, instances: list[Any]) -> Arrays:
        """All of them as input arrays."""
        raise NotImplementedError

    def decode(self, outputs: list[np.ndarray], instances: list[Any]) -> list[dict[str, Any]]:
        """One JSON-able answer each."""
        raise NotImplementedError

    def answer(self, run: Run, instances: list[Any]) -> list[dict[str, Any]]:
        """One JSON-able answer each."""
        return self.decode(run(self.encode(instances)), instances)
