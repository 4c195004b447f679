"""What one run of the monitor found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from feature_repo.monitoring.completeness import Completeness
from feature_repo.monitoring.drift import Drift
from feature_repo.monitoring.freshness import Freshness
from feature_repo.monitoring.profile import Profile
from feature_repo.monitoring.skew import Skew
from feature_repo.quality.rejected import Rejected

if TYPE_CHECKING:
    from feature_repo.monitoring.alerts import Alert


class FeatureState(NamedTuple):
    """One feature; a profile is None where its window has no rows."""

    name: str
    baseline: Profile | None
    current: Profile | None
    drift: Drift


class ViewState(NamedTuple):
    """One view; `rows` are those of the current window that were looked at."""

    name: str
    description: str
    rows: int
    baseline_rows: int
    freshness: Freshness
    completeness: Completeness
    quarantine: Rejected
    features: tuple[FeatureState, ...]


@dataclass
class Report:
    """All views, the skew, and what deserves attention.

    Args:
        as_of: what ages and windows are counted from.
        now: by the machine's clock.
        baseline, current: what is compared with what, in words.
        quiet: features that may drift, as "view:feature".
    """

    as_of: datetime
    now: datetime
    baseline: str
    current: str
    views: list[ViewState]
    skew: Skew
    alerts: list[Alert] = field(default_factory=list)
    seconds: float = 0.0
    quiet: tuple[str, ...] = ()

    def of(self, view: str, feature: str = "") -> list[Alert]:
        """Alerts of a view, or of one of its features."""
        return [a for a in self.alerts if a.view == view and feature in ("", a.feature)]

    def status(self, view: str, feature: str = "") -> str:
        """The worst: "critical", "warning" or "ok"."""
        severities = {a.severity for a in self.of(view, feature)}
        return next((s for s in ("critical", "warning") if s in severities), "ok")

    def as_dict(self) -> dict[str, Any]:
        """For metrics.json: all measurements, by view and feature."""
        skew = asdict(self.skew)
        skew.pop("examples")
        for row, feature in zip(skew["features"], self.skew.features, strict=True):
            row["mismatch_ratio"] = feature.mismatch_ratio
        content = {
            "as_of": self.as_of,
            "now": self.now,
            "baseline": self.baseline,
            "current": self.current,
            "views": {v.name: self._view(v) for v in self.views},
            "skew": skew,
            "alerts": [a._asdict() for a in self.alerts],
            "seconds": round(self.seconds, 2),
        }
        plain: dict[str, Any] = _plain(content)
        return plain

    def _view(self, view: ViewState) -> dict[str, Any]:
        return {
            "status": self.status(view.name),
            "rows": view.rows,
            "baseline_rows": view.baseline_rows,
            "freshness": {**view.freshness._asdict(), "late": view.freshness.late},
            "completeness": view.completeness._asdict(),
            "quarantine": view.quarantine._asdict(),
            "features": {f.name: dict(_measures(f)) for f in view.features},
        }


def _measures(feature: FeatureState) -> Iterator[tuple[str, Any]]:
    yield from feature.drift._asdict().items()
    for name, profile in (("current", feature.current), ("baseline", feature.baseline)):
        outliers = (profile.outliers if profile else None) or (None, None)
        yield (
            name,
            {
                "null_ratio": profile.null_share if profile else None,
                "outliers_robust_z": outliers[0],
                "outliers_iqr": outliers[1],
            },
        )


def _plain(value: Any) -> Any:
    """Only what JSON knows."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value.isoformat() if isinstance(value, date | datetime) else value
