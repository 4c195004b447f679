"""Candidates that scripts/recommend_batch.py has made of all users beforehand."""

from __future__ import annotations

from serving.gateway.ranking import Ranking
from serving.gateway.recommendations.absent import NothingError
from serving.gateway.recommendations.ask import Ask
from serving.gateway.recommendations.resources import Resources


class Precomputed:
    """The user's list, read with the user's other features.

    Args:
        feature: of users: their items, the best first.
        stands_in_for: a source beside which this older one is not heard; None: it always is.
        k: candidates.
    """

    kind = "precomputed"

    def __init__(
        self, resources: Resources, feature: str, stands_in_for: str | None, k: int
    ) -> None:
        self.feature = resources.user_feature(feature)
        self.user_features = (self.feature,)
        self.stands_in_for = stands_in_for
        self.k = k

    async def propose(self, ask: Ask) -> Ranking:
        items = ask.feature(self.feature)
        if not items:
            raise NothingError("nothing_precomputed")
        some = list(items[: self.k])
        return Ranking(some, [float(-place) for place in range(len(some))])
