"""Choose an index by what it does on the vectors at hand: recall first, then speed."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
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
    """The fastest index that finds enough, and everything that was measured on the way.

    `unfinished` names the recipes that were not built in time, and the seconds each of them had.
    """

    index: Any
    chosen: Measured
    measured: list[Measured]
    unfinished: Mapping[str, float] = MappingProxyType({})


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
        threads: of faiss, while it searches.
        build_threads: of faiss, while it builds; None: all.
        build_s: a recipe that is not built within so many seconds is left out; None: no limit.
    """

    recipes: Sequence[Recipe]
    k: int = 100
    min_recall: float = 0.99
    batch_size: int = 32
    seconds: float = 0.5
    threads: int = 1
    build_threads: int | None = None
    build_s: float | None = None

    def __post_init__(self) -> None:
        if self.build_s is not None and not self.build_s > 0:
            raise ValueError(f"build_s must be above 0 seconds, or null, not {self.build_s}")
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
        before = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(self.build_threads or before)
        try:
            exact, best, measured = self._exact(vectors, queries, k)
            worst_kept = exact.search(queries, k)[0][:, -1:]  # [Q, 1]
            kept = exact  # every recipe has an index of its own
            unfinished: dict[str, float] = {}
            for recipe in self.recipes:
                started = time.perf_counter()
                index = self._build(recipe, vectors)
                took = time.perf_counter() - started
                if index is None:
                    unfinished[recipe.name] = took
                    continue
                row = self._try(recipe, index, took, queries, k, worst_kept, measured)
                if row is not None and row.queries_per_s > best.queries_per_s:
                    kept, best = index, row
            return Choice(kept, best, measured, unfinished)
        finally:
            faiss.omp_set_num_threads(before)

    def _exact(
        self, vectors: np.ndarray, queries: np.ndarray, k: int
    ) -> tuple[Any, Measured, list[Measured]]:
        started = time.perf_counter()
        index = Exact().build(vectors)
        built = time.perf_counter() - started
        row = Measured("exact", 0, 1.0, self.speed(index, queries, k), built)
        self._log(row)
        return index, row, [row]

    def _build(self, recipe: Recipe, vectors: np.ndarray) -> Any:
        """The recipe's index; None if time ran out."""
        if self.build_s is None:
            return recipe.build(vectors)
        until = time.perf_counter() + self.build_s
        try:
            with faiss.TimeoutGuard(self.build_s):
                return recipe.build(vectors)
        except RuntimeError:
            if time.perf_counter() < until:
                raise
        log.warning("index %s is not built within %g s and left out", recipe.name, self.build_s)
        return None

    def _try(
        self,
        recipe: Recipe,
        index: Any,
        built: float,
        queries: np.ndarray,
        k: int,
        worst_kept: np.ndarray,
        measured: list[Measured],
    ) -> Measured | None:
        """Go from the fastest effort up to the first that finds enough: more only costs time."""
        for effort in recipe.efforts:
            recipe.set_effort(index, effort)
            found = recall(index.search(queries, k)[0], worst_kept)
            row = Measured(recipe.name, effort, found, self.speed(index, queries, k), built)
            measured.append(row)
            self._log(row)
            if found >= self.min_recall:
                return row
        return None

    def speed(self, index: Any, queries: np.ndarray, k: int) -> float:
        """Queries a second of what has faiss's `search`, in batches, for `seconds` at least."""
        before = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(self.threads)
        asked, started = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - started) < self.seconds:
            at = asked % len(queries)
            batch = queries[at : at + self.batch_size]
            index.search(batch, k)
            asked += len(batch)
        faiss.omp_set_num_threads(before)
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
