"""Nothing that the user has touched already."""

from __future__ import annotations

from serving.gateway.recommendations.ask import Ask
from serving.gateway.recommendations.pool import Pool
from serving.gateway.recommendations.resources import Resources


class Seen:
    """Removes the items of the history, and those that the question hides.

    Args:
        relax: whether one who has seen everything is shown it again.
    """

    attributes: tuple[str, ...] = ()
    user_features: tuple[str, ...] = ()

    def __init__(self, resources: Resources, relax: bool) -> None:
        self.relax = relax

    def keep(self, pool: Pool, ask: Ask) -> list[bool]:
        seen = ask.hidden.union(ask.history)
        return [item not in seen for item in pool.items]
