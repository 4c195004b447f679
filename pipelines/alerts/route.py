"""A route: which alerts it carries, and the sender that carries them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipelines.alerts.duration import duration_us
from pipelines.alerts.errors import AlertConfigError
from pipelines.alerts.matchers import Labels, Matchers
from pipelines.alerts.message import FIRED, REASONS
from pipelines.alerts.senders.sender import Sender


class Route:
    """See `configs/alerts/routes/`.

    Args:
        matchers: alerts that it carries; none: all.
        on: the news that it carries, of `fired, updated, repeated, escalated, resolved`. An alert
            that matches only after it was told, because it became graver, say, has `fired` then.
        most, within: no more than `most` are sent within this time; what is over is given up, and
            the alert's history says so. None: no limit.

    Raises:
        AlertConfigError: an unknown reason, or a limit without a time.
    """

    def __init__(
        self,
        sender: Sender,
        matchers: Sequence[str] = (),
        on: Sequence[str] = REASONS,
        most: int | None = None,
        within: str | None = None,
    ) -> None:
        wrong = [r for r in on if r not in REASONS]
        if wrong or not on:
            raise AlertConfigError(f"on={list(on)}: a route carries some of {list(REASONS)}")
        if (most is None) != (within is None):
            raise AlertConfigError("most and within limit a route together; give both or neither")
        self.sender = sender
        self.matchers = Matchers(matchers)
        self.on = frozenset(on)
        self.most = most
        self.within = duration_us(within) if within is not None else 0

    def news(self, labels: Labels, reason: str, first: Labels | None) -> str | None:
        """As what it carries this news of an alert; None: it does not.

        Args:
            labels: of the alert.
            first: of what came since it was told last; None: nothing, or the route knows it.
        """
        if reason in self.on and self.matchers.matches(labels):
            return reason
        if first is not None and FIRED in self.on and self.matchers.matches(first):
            return FIRED
        return None


def check(routes: Mapping[str, Route], named: Sequence[str]) -> dict[str, Route]:
    """Raises: AlertConfigError: no route, or one is named that there is not."""
    if not routes:
        raise AlertConfigError("no route; choose some, such as 'alerts/routes=[log,email]'")
    for name in named:
        if name not in routes:
            raise AlertConfigError(f"no route {name!r} to escalate to; there are {list(routes)}")
    return dict(routes)
