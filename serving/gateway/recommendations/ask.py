"""What the stages are asked: for whom, after what, and how much."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from serving.gateway.user_features import Served

USER, BASKET, ONBOARDING = "user", "basket", "onboarding"  # purposes


@dataclass(frozen=True)
class Ask:
    """One question.

    Args:
        history: items touched, oldest first.
        n: items wanted.
        purpose: a key of the blend's weights: which sources are asked, and what they count.
        served: the user's features as read; None: none were.
        context: what the caller says of the moment, such as a region; see `context` in the config.
        hidden: items that are never answered, such as those of a basket.
        anchors: items that reasons may name; None: the history's.
    """

    user: str | None
    history: list[str]
    n: int
    purpose: str = USER
    served: Served | None = None
    context: Mapping[str, Any] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()
    anchors: list[str] | None = None

    def feature(self, name: str) -> Any:
        """A feature of the user, or None."""
        if self.served is None:
            return None
        return self.served.features.get(name, self.served.others.get(name))
