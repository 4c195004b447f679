"""Choose an index by what it does on the vectors at hand: recall first, then speed."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import faiss
import numpy as np

from models.recommender.index.recipes import Exact, Recipe

log = logging.getLogger(__name__)


class Measured(NamedTuple):
    """One recipe at one effort."""

    name: str
    effort: int
    recall: float
    queries_per_s: float
    build_s: float


class Choice(NamedTuple):
    """The fastest index that finds enough, and everything that was measured on the way."""

    index: Any
    chosen: Measured
    measured: list[Measured]


@dataclass
class IndexChooser:
    """Build every recipe's index, measure each against the exact answer, keep the fastest.

    The exact index is always among them, so that there is always one that passes.

    Args:
        recipes: what to try.
        k: length of the lists that are compared.
        min_recall: mean share of the exact list that must be found, between 0 and 1.
        batch_size: queries asked at once while the clock runs, as a server would.
        seconds: shortest time to measure a speed over.
        threads: of faiss, while it searches; building takes all.
    """

    recipes: Sequence[Recipe]
    k: int = 100
    min_recall: float = 0.99
    batch_size: int = 32
    seconds: float = 0.5
    threads: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.min_recall <= 1:
            raise ValueError(f"min_recall must lie in 0 < min_recall ≤ 1, not {self.min_recall}")

    def choose(self, vectors: np.ndarray, queries: np.ndarray) -> Choice:
        """Vectors [M, D] and sample queries [Q, D], as users ask them → the choice.

        Raises:
            ValueError: no vectors or no queries.
        """
        if not len(vectors) or not len(queries):
            raise ValueError(
                f"{len(vectors)} vectors and {len(queries)} queries: at least one of each is needed"
            )
        vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        k = min(self.k, len(vectors))
        self._all_threads = faiss.omp_get_max_threads()
        try:
            exact, best, measured = self._exact(vectors, queries, k)
            kept = exact  # every recipe has an index of its own
            for recipe in self.recipes:
                index, row = self._try(recipe, vectors, queries, k, exact, measured)
                if row is not None and row.queries_per_s > best.queries_per_s:
                    kept, best = index, row
            return Choice(kept, best, measured)
        finally:
            faiss.omp_set_num_threads(self._all_threads)

    def _exact(
        self, vectors: np.ndarray, queries: np.ndarray, k: int
    ) -> tuple[Any, Measured, list[Measured]]:
        started = time.perf_counter()
        index = Exact().build(vectors)
        built = time.perf_counter() - started
        row = Measured("exact", 0, 1.0, self._speed(index, queries, k), built)
        self._log(row)
        return index, row, [row]

    def _try(
        self,
        recipe: Recipe,
        vectors: np.ndarray,
        queries: np.ndarray,
        k: int,
        exact: Any,
        measured: list[Measured],
    ) -> tuple[Any, Measured | None]:
        """Go from the fastest effort up to the first that finds enough: more only costs time."""
        started = time.perf_counter()
        index = recipe.build(vectors)
        built = time.perf_counter() - started
        worst_kept = exact.search(queries, k)[0][:, -1:]  # [Q, 1]
        for effort in recipe.efforts:
            recipe.set_effort(index, effort)
            found = recall(index.search(queries, k)[0], worst_kept)
            row = Measured(recipe.name, effort, found, self._speed(index, queries, k), built)
            measured.append(row)
            self._log(row)
            if found >= self.min_recall:
                return index, row
        return index, None

    def _speed(self, index: Any, queries: np.ndarray, k: int) -> float:
        faiss.omp_set_num_threads(self.threads)
        asked, started = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - started) < self.seconds:
            at = asked % len(queries)
            batch = queries[at : at + self.batch_size]
            index.search(batch, k)
            asked += len(batch)
        faiss.omp_set_num_threads(self._all_threads)
        return asked / elapsed

    @staticmethod
    def _log(row: Measured) -> None:
        log.info("index %s, effort %d: recall %.4f, %.0f queries/s (built in %.1f s)", *row)


def recall(scores: np.ndarray, worst_kept: np.ndarray) -> float:
    """Mean share of the exact list that was found, by scores, so that ties are no misses.

    Args:
        scores: [Q, k] that an index found, −inf or NaN where it found fewer.
        worst_kept: [Q, 1] the score of the exact list's last place.
    """
    slack = 1e-5 * np.maximum(1.0, np.abs(worst_kept))
    return float((scores >= worst_kept - slack).mean())
