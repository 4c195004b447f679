"""A user's features as the model takes them, read together for many users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from feature_repo.store import StoreError
from serving.features.client import FeatureClient

HISTORY = "item_ids"


class Served(NamedTuple):
    """What the model is asked with, as it was read."""

    history: list[str]
    features: dict[str, Any]  # the service's: "view:feature" → value
    timestamp: datetime | None  # the newest of their moments; None: a caller brought them
    others: Mapping[str, Any] = {}  # read beside them, for filters and other parts


class UserFeatures:
    """Reads one feature service for users.

    Args:
        client: of the feature store.
        service: of the model; features of other keys than the history's are left out.
        others: further features of the same key, such as those that filters compare with.

    Raises:
        StoreError: no such service, or no history in it.
    """

    def __init__(self, client: FeatureClient, service: str, others: Sequence[str] = ()) -> None:
        self.client = client
        names = client.service(service)
        found = [n for n in names if n.partition(":")[2] == HISTORY]
        if not found:
            raise StoreError(f"feature service {service!r} has no feature {HISTORY!r}")
        self.history = found[0]
        view = client.views[self.history.partition(":")[0]]
        self.key = view.key
        self.names = [n for n in names if client.views[n.partition(":")[0]].key == self.key]
        self.others = [n for n in others if n not in self.names]

    async def read(self, users: Sequence[str]) -> list[Served | None]:
        """In the order of `users`; None for a user without a history, or with one out of date.

        Raises:
            FeaturesUnavailableError: the online store does not answer in time.
        """
        vectors = await self.client.read([*self.names, *self.others], {self.key: users})
        size = len(self.names)
        own, more = vectors.split(size)
        histories = own.values[self.names.index(self.history)]
        return [
            None if history is None else Served(history, own.row(n), own.newest(n), more.row(n))
            for n, history in enumerate(histories)
        ]

    def brought(self, history: list[str]) -> Served:
        """A history that the caller knows."""
        return Served(history, {self.history: history}, None)
