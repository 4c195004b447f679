"""Features computed at request time, with the function that training sets are made with.

The function comes from `feature_repo.requests`, never from the registry, where Feast keeps it
pickled. Its source must be the registered one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from feature_repo.requests import REQUEST_VIEWS
from feature_repo.store import StoreError
from serving.features.catalog import ViewInfo
from serving.features.vectors import NULL_VALUE, PRESENT, Column


class OnDemand(NamedTuple):
    """An on-demand view that can be computed here."""

    name: str
    inputs: tuple[str, ...]  # "view:feature"
    sent: tuple[str, ...]
    function: Callable[[dict[str, list[Any]]], Mapping[str, list[Any]]]

    @property
    def columns(self) -> list[str]:
        """What the function takes: the inputs by the names of their features, and what is sent."""
        return [*(name.partition(":")[2] for name in self.inputs), *self.sent]

    def compute(
        self, found: Mapping[str, Column], sent: Mapping[str, Sequence[Any]]
    ) -> dict[str, Column]:
        """Columns by `view:feature`; a value's moment is the newest of what it came from.

        Args:
            found: the inputs, by `view:feature`.
            sent: columns by name.
        """
        columns = {name.partition(":")[2]: found[name][0] for name in self.inputs}
        columns |= {name: list(sent[name]) for name in self.sent}
        moments = [
            max((t for t in row if t is not None), default=None)
            for row in zip(*(found[name][2] for name in self.inputs), strict=True)
        ]
        return {
            f"{self.name}:{feature}": (
                column,
                [NULL_VALUE if v is None else PRESENT for v in column],
                moments,
            )
            for feature, column in self.function(columns).items()
        }


def find(view: ViewInfo) -> OnDemand:
    """What computes an on-demand view of the registry.

    Raises:
        StoreError: no such function here, or another one than the registered.
    """
    own = REQUEST_VIEWS.get(view.name)
    if own is None:
        raise StoreError(
            f"on-demand view {view.name!r} cannot be computed here: its function is not in "
            "feature_repo/requests.py"
        )
    if (view.code or "").strip() != inspect.getsource(own.function).strip():
        raise StoreError(
            f"on-demand view {view.name!r} was registered with another version of its function; "
            "run `python scripts/materialize.py`"
        )
    inputs = tuple(f"{v}:{f}" for v, features in own.inputs.items() for f in features)
    return OnDemand(view.name, inputs, tuple(own.sent), own.function)
