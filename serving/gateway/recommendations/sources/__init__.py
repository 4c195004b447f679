"""Where candidates come from.

A source has `propose(ask)`, which answers a `Ranking`, raises `NothingError` where it has nothing,
and may raise anything else: the answer goes on without it. `model` says whether it is a model's.
"""

from __future__ import annotations

from typing import Protocol

from serving.gateway.ranking import Ranking
from serving.gateway.recommendations.ask import Ask


class Source(Protocol):
    """Proposes candidates for one question."""

    kind: str  # what an answer's `source` says if this is its main one

    async def propose(self, ask: Ask) -> Ranking: ...
