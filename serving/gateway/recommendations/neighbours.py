"""Items that the same users touch: the artifact's `assets/neighbours.json`, held in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from models.artifact import Artifact
from serving.gateway.ranking import Ranking

ASSET = "neighbours.json"


class Neighbours:
    """Looks up similar items.

    Args:
        names: item ids; positions are what `similar` speaks of.
        similar: for each item its neighbours' positions, the most similar first.
        similarities: and how similar they are.
    """

    def __init__(
        self,
        names: Sequence[str],
        similar: Sequence[Sequence[int]],
        similarities: Sequence[Sequence[float]],
    ) -> None:
        self.names = names
        self.place = {name: place for place, name in enumerate(names)}
        self._similar = similar
        self._similarities = similarities

    @classmethod
    def of(cls, artifact: Artifact) -> Neighbours | None:
        """Those of an artifact; None if it has none, as one that an older version exported."""
        if f"assets/{ASSET}" not in artifact.signature.files:
            return None
        content = artifact.read_asset(ASSET)
        return cls(
            artifact.read_asset("items.json"), content["neighbours"], content["similarities"]
        )

    def __contains__(self, item: str) -> bool:
        return item in self.place

    def of_item(self, item: str) -> list[tuple[str, float]]:
        """An item's neighbours and their similarities; empty for an item nobody knows."""
        place = self.place.get(item)
        if place is None:
            return []
        names = self.names
        return [
            (names[p], s)
            for p, s in zip(self._similar[place], self._similarities[place], strict=True)
        ]

    def of_items(self, items: Iterable[str], decay: float, k: int) -> Ranking:
        """The best `k` items by summed similarity to `items`, which are oldest first.

        Args:
            decay: what an item counts less than the one after it, as a factor.
        """
        sums: dict[int, float] = {}
        weight = 1.0
        own = {self.place.get(item) for item in items}
        for item in reversed(list(items)):
            place = self.place.get(item)
            if place is not None:
                for p, s in zip(self._similar[place], self._similarities[place], strict=True):
                    sums[p] = sums.get(p, 0.0) + weight * s
            weight *= decay
        best = sorted((p for p in sums if p not in own), key=lambda p: -sums[p])[:k]
        return Ranking([self.names[p] for p in best], [sums[p] for p in best])
