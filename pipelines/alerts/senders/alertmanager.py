"""Prometheus Alertmanager, by its API v2: a firing alert, told again and again, and its end.

Alertmanager ends what it is not told of; it gets each firing alert again every `refresh`, so that
one that was restarted, or was away, knows them too. It does its own routing and silencing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pipelines.alerts.clock import Clock
from pipelines.alerts.duration import duration_us
from pipelines.alerts.letter import Letter
from pipelines.alerts.message import RESOLVED, Message
from pipelines.alerts.senders.post import as_body, endpoint, post
from pipelines.alerts.senders.sender import Receipt
from pipelines.anomalies.store import TO_REVIEW


class AlertmanagerSender:
    """See the module.

    Args:
        url: of Alertmanager, without `/api/…`.
        ends_after: without news it counts an alert as resolved after this; longer than `refresh`.
        timeout_s: of one request.
        generator: link back, in the alert; None: none.
    """

    def __init__(
        self, url: str, ends_after: str, timeout_s: float, generator: str | None, clock: Clock
    ) -> None:
        endpoint(url)
        self._url = url.rstrip("/") + "/api/v2/alerts"
        self._ends_after = duration_us(ends_after)
        self._timeout_s = timeout_s
        self._generator = generator
        self._clock = clock

    def send(self, letter: Letter) -> Receipt:
        return Receipt(self._post(self._alerts(letter.message, letter.text)))

    def refresh(self, messages: Sequence[Message]) -> None:
        alerts = [alert for message in messages for alert in self._alerts(message, "")]
        if alerts:
            self._post(alerts)

    def _post(self, alerts: list[dict[str, Any]]) -> str:
        return post(self._url, as_body(alerts), {}, self._timeout_s)

    def _alerts(self, message: Message, text: str) -> list[dict[str, Any]]:
        """The alert; under a severity that it no longer has, its end."""
        now = self._clock.now()
        over = message.reason == RESOLVED
        ends = min(message.at, now) if over else now + self._ends_after
        past = [s for s in message.past_severities if s != message.severity]
        return [
            self._alert(message, message.severity, max(ends, message.fired_at), text),
            *(self._alert(message, s, max(now, message.fired_at), text) for s in past),
        ]

    def _alert(self, message: Message, severity: str, ends: int, text: str) -> dict[str, Any]:
        name = "MillraceToReview" if message.kind == TO_REVIEW else "MillraceAnomaly"
        alert: dict[str, Any] = {
            "labels": {
                "alertname": name,
                **{k: v for k, v in message.labels.items() if v},
                "severity": severity,
                "alert": str(message.alert),
            },
            # No figures that move with time are labels: they would make another alert.
            "annotations": {"summary": message.subject, **({"description": text} if text else {})},
            "startsAt": _iso(message.fired_at),
            "endsAt": _iso(ends),
        }
        return {**alert, "generatorURL": self._generator} if self._generator else alert


def _iso(us: int) -> str:
    return datetime.fromtimestamp(us / 1e6, UTC).isoformat()
