"""Candidates that the same users touch as the items of a history."""

from __future__ import annotations

from serving.gateway.ranking import Ranking
from serving.gateway.recommendations.absent import AbsentError, NothingError
from serving.gateway.recommendations.ask import Ask
from serving.gateway.recommendations.resources import Resources


class ItemToItem:
    """Sums similarities to the newest items of the history, older ones counting less.

    Args:
        recent: items of the history that are looked at.
        decay: what an item counts less than the one after it, as a factor.
        k: candidates.
    """

    kind = "neighbours"

    def __init__(self, resources: Resources, recent: int, decay: float, k: int) -> None:
        if resources.neighbours is None:
            raise AbsentError("the artifact has no neighbours of items")
        self.neighbours = resources.neighbours
        self.recent = recent
        self.decay = decay
        self.k = k

    async def propose(self, ask: Ask) -> Ranking:
        if not ask.history:
            raise NothingError("unknown_user")
        found = self.neighbours.of_items(ask.history[-self.recent :], self.decay, self.k)
        if not found.items:
            raise NothingError("no_known_items")
        return found
