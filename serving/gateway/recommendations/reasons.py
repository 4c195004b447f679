"""Why an item is in the list, in words that its reader can check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from serving.gateway.recommendations.ask import BASKET, ONBOARDING, Ask
from serving.gateway.recommendations.pool import Pool
from serving.gateway.recommendations.resources import Resources

_BECAUSE = {BASKET: "goes_with", ONBOARDING: "because_you_picked"}
_WORDS = {
    "because_you_viewed": "because you viewed {}",
    "because_you_picked": "because you picked {}",
    "goes_with": "goes with {}",
    "new": "new in the catalog",
    "trending": "many look at it now",
    "popular": "popular with everybody",
    "model": "fits what you looked at lately",
    "precomputed": "fits what you looked at before",
}
_FITS = {BASKET: "fits what is in the basket", ONBOARDING: "fits what you picked"}


class Reason(NamedTuple):
    """A kind, the item it names if it names one, and a sentence."""

    kind: str
    item: str | None
    text: str

    def as_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "item_id": self.item, "text": self.text}


class Reasons:
    """Finds the items of a history whose neighbours were recommended.

    Args:
        most: items named for one recommendation.
        recent: items of the history that may be named.
        title: the item's feature that names it to people; absent: its id does.
    """

    def __init__(self, resources: Resources, most: int, recent: int, title: str | None) -> None:
        self.neighbours = resources.neighbours
        self.features = resources.features
        self.most = most
        self.recent = recent
        self.title = None if title is None else resources.item_feature(title)

    async def explain(self, pool: Pool, ask: Ask, kinds: Mapping[str, str]) -> list[list[Reason]]:
        """Reasons of each item, the strongest first; at least one, of its source.

        Args:
            kinds: source → kind.
        """
        anchors = (ask.anchors if ask.anchors is not None else ask.history)[-self.recent :]
        named = self._anchors(pool.items, list(dict.fromkeys(reversed(anchors))))
        titles = await self._titles({a for found in named for a in found})
        because = _BECAUSE.get(ask.purpose, "because_you_viewed")
        answer = []
        for found, sources in zip(named, pool.sources, strict=True):
            reasons = [Reason(because, a, _WORDS[because].format(titles[a])) for a in found]
            if not reasons:
                kind = kinds.get(sources[0], "popular") if sources else "popular"
                shown = kind if kind in _WORDS else "model"
                words = _FITS.get(ask.purpose) if shown == "model" else None
                reasons = [Reason(shown, None, words or _WORDS[shown])]
            answer.append(reasons)
        return answer

    def _anchors(self, items: Sequence[str], anchors: Sequence[str]) -> list[list[str]]:
        """For each item the anchors it is a neighbour of, the closest first."""
        found: dict[str, list[tuple[float, str]]] = {item: [] for item in items}
        if self.neighbours is not None:
            for anchor in anchors:
                for other, similarity in self.neighbours.of_item(anchor):
                    if other in found:
                        found[other].append((similarity, anchor))
        return [
            [a for _, a in sorted(found[item], key=lambda pair: -pair[0])[: self.most]]
            for item in items
        ]

    async def _titles(self, items: set[str]) -> dict[str, str]:
        if self.title is None or not items:
            return {item: item for item in items}
        asked = sorted(items)
        read = await self.features.read([self.title], {"item_id": asked})
        return {i: str(t) if t else i for i, t in zip(asked, read.values[0], strict=True)}
