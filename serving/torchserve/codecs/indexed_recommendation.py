"""Histories in, items out, where an index finds the items that lie near the graph's user vector."""

from __future__ import annotations

from typing import Any

import numpy as np

from models.artifact import Artifact
from serving.torchserve.codecs.recommendation import Query, RecommendationCodec


class IndexedRecommendationCodec(RecommendationCodec):
    """Requests and answers are those of `RecommendationCodec`; answer n of the index is item n.

    The index is asked for as many more items as an instance has seen, since it knows nothing of
    that; the thoroughness of its search is that with which it was measured.
    """

    def __init__(self, artifact: Artifact) -> None:
        import faiss  # only models with an index need it installed

        super().__init__(artifact)
        self.index = faiss.read_index(str(artifact.asset("index.faiss")))
        # One search a worker at a time: more threads would only take cores from the other workers.
        faiss.omp_set_num_threads(1)
        if self.index.ntotal != len(self.items):
            raise ValueError(
                f"{artifact.path}: the index holds {self.index.ntotal} vectors for "
                f"{len(self.items)} items"
            )

    def example(self, width: int) -> dict[str, np.ndarray]:
        return _unseen(super().example(width))

    def encode(self, instances: list[Query]) -> dict[str, np.ndarray]:
        """Left-padded `history` [B, T], as long as the longest, and what is known of users."""
        return _unseen(super().encode(instances))

    def decode(self, outputs: list[np.ndarray], instances: list[Query]) -> list[dict[str, Any]]:
        """The first k unseen items near each vector, with their scores."""
        seen = [set(q.seen) for q in instances]
        wanted = max(q.k + len(s) for q, s in zip(instances, seen, strict=True))
        scores, found = self.index.search(outputs[0], min(wanted, len(self.items)))
        answers = []
        for query, had, row, values in zip(instances, seen, found, scores, strict=True):
            # −1 stands where the index found fewer than it was asked for.
            kept = [
                (n, value)
                for n, value in zip(row.tolist(), values.tolist(), strict=True)
                if n >= 0 and n + 1 not in had
            ][: query.k]
            answers.append(
                {
                    "items": [self.items[n] for n, _ in kept],
                    "scores": [round(value, 6) for _, value in kept],
                    "unknown": query.unknown,
                }
            )
        return answers


def _unseen(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The graph does not read what an instance has seen: the index's answers are without it."""
    return {name: column for name, column in inputs.items() if name != "seen"}
