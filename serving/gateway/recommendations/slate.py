"""What a user's answers are taken from for a while: ranked candidates, before exploration."""

from __future__ import annotations

from typing import NamedTuple

from serving.gateway.recommendations.pool import Pool
from serving.gateway.recommendations.rankers.ranked import Given


class Slate(NamedTuple):
    """Candidates, best first, and how they came about.

    Args:
        version: of the history, profile and context that they follow: others make another slate.
        kind: what the answer's `source` says.
        reason: why it is not the model's, or None.
        skipped: (stage, reason) of what they were made without; such a slate is not kept.
        ranker: name and version of the model that put them in order; None: the blend.
        given: what that model was asked with about them, where the prediction log is to have it.
    """

    version: str
    items: list[str]
    scores: list[float]
    sources: list[list[str]]
    kind: str
    reason: str | None
    skipped: list[tuple[str, str]]
    ranker: list[str] | None = None
    given: Given | None = None

    def pool(self) -> Pool:
        return Pool(self.items, self.scores, [tuple(s) for s in self.sources], {})
