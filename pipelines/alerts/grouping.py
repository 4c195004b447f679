"""Which anomalies are one alert, and how often it is told; the words are Alertmanager's."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pipelines.alerts.duration import duration_us
from pipelines.alerts.errors import AlertConfigError
from pipelines.alerts.finding import Finding
from pipelines.alerts.matchers import NAMES


class Grouping:
    """See `configs/alerts/default.yaml`, which explains every setting.

    Anomalies are always grouped by `kind` too: those that could not be scored are alerts of their
    own. Two anomalies of a group that agree in `dedup_by` tell the same; `field` is there the one
    that moved most.

    Raises:
        AlertConfigError: an unknown label, a bad duration, or times that contradict one another.
    """

    def __init__(
        self,
        by: Sequence[str],
        dedup_by: Sequence[str],
        group_wait: str,
        group_interval: str,
        repeat_interval: str,
        resolve_after: str,
        moved_share: float,
    ) -> None:
        for label in (*by, *dedup_by):
            if label not in NAMES:
                raise AlertConfigError(f"cannot group by {label!r}; labels are {list(NAMES)}")
        self.by = ("kind", *(b for b in by if b != "kind"))
        self.dedup_by = tuple(dedup_by)
        self.group_wait = duration_us(group_wait)
        self.group_interval = duration_us(group_interval)
        self.repeat_interval = duration_us(repeat_interval)
        self.resolve_after = duration_us(resolve_after)
        self.moved_share = moved_share
        if self.resolve_after <= self.group_wait:
            raise AlertConfigError(
                f"resolve_after={resolve_after} must be longer than group_wait={group_wait}: an "
                "alert would be over before it is told"
            )

    def labels(self, finding: Finding) -> dict[str, str]:
        """What all anomalies of its group have in common."""
        return self._pick(finding, self.by)

    def fingerprint(self, finding: Finding) -> str:
        """The same for anomalies that tell the same."""
        return json.dumps(list(self._pick(finding, self.dedup_by).values()), ensure_ascii=False)

    def _pick(self, finding: Finding, names: Sequence[str]) -> dict[str, str]:
        labels = finding.labels(self.moved_share)
        return {n: labels[n][0] if labels[n] else "" for n in names}


def key_of(labels: dict[str, str]) -> str:
    return json.dumps(labels, ensure_ascii=False)
