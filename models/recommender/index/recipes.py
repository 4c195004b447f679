"""How an index may be built: one recipe a kind, all by inner product, all from faiss.

faiss: Douze et al., "The Faiss library" (2024). A recipe's efforts go from fast to thorough; an
index is built once and asked at any of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import faiss
import numpy as np


class Recipe(Protocol):
    """One way to build an index, and how thoroughly it may search."""

    name: str
    efforts: Sequence[int]

    def build(self, vectors: np.ndarray) -> Any:
        """[M, D] float32 → a faiss index whose answer n is row n."""

    def set_effort(self, index: Any, effort: int) -> None:
        """From now on search so thoroughly."""


class Exact:
    """Every vector is compared: the truth that the others are measured against."""

    name = "exact"
    efforts: Sequence[int] = (0,)

    def build(self, vectors: np.ndarray) -> Any:
        index = faiss.IndexFlatIP(vectors.shape[1])
        index.add(vectors)
        return index

    def set_effort(self, index: Any, effort: int) -> None:
        """There is one only."""


class HNSW:
    """A navigable graph (Malkov & Yashunin, TPAMI 2020): the fastest where memory is no matter.

    Args:
        links: neighbours kept of each vector, M.
        construction: candidates looked at for them.
        efforts: candidates kept during a search; each at least the list's length to be of use.
        name: tells variants apart.
    """

    def __init__(
        self,
        links: int = 32,
        construction: int = 200,
        efforts: Sequence[int] = (64, 128, 256, 512),
        name: str = "hnsw",
    ) -> None:
        self.name = name
        self.links = links
        self.construction = construction
        self.efforts = efforts

    def build(self, vectors: np.ndarray) -> Any:
        index = faiss.IndexHNSWFlat(vectors.shape[1], self.links, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = self.construction
        index.add(vectors)
        return index

    def set_effort(self, index: Any, effort: int) -> None:
        index.hnsw.efSearch = effort


class IVF:
    """Cells around centroids, of which a search visits some: built faster than a graph.

    Args:
        cells: how many; None: four times the root of the number of vectors.
        efforts: cells visited.
        sample: vectors for each cell that its centroid is learnt from.
        name: tells variants apart.
    """

    def __init__(
        self,
        cells: int | None = None,
        efforts: Sequence[int] = (4, 8, 16, 32, 64, 128, 256),
        sample: int = 64,
        name: str = "ivf",
    ) -> None:
        self.name = name
        self.cells = cells
        self.efforts = efforts
        self.sample = sample

    def build(self, vectors: np.ndarray) -> Any:
        n, dim = vectors.shape
        cells = min(self.cells or round(4 * n**0.5), n)
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, cells, faiss.METRIC_INNER_PRODUCT)
        index.cp.max_points_per_centroid = self.sample
        index.cp.min_points_per_centroid = 1  # it would warn of small catalogs
        index.train(vectors)
        index.add(vectors)
        return index

    def set_effort(self, index: Any, effort: int) -> None:
        index.nprobe = min(effort, index.nlist)
