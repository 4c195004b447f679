"""What somebody should look at, and how urgently."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from feature_repo.monitoring.report import FeatureState, Report, ViewState


class Alert(NamedTuple):
    """One finding; `severity` is "warning" or "critical"."""

    view: str
    feature: str
    kind: str
    severity: str
    text: str


@dataclass(frozen=True)
class Limits:
    """What is tolerated; deploy/prometheus/rules.yml repeats these.

    Args:
        null_increase: of a feature's share of nulls over its baseline's.
        outlier_increase: of a feature's share of outliers over its baseline's.
        missing_online: share of keys that the online store lacks.
        skew: share of served values that differ.
        unverifiable: share of served values that cannot be verified any more.
        quarantined: rows rejected within the last day.
        quiet: "view:feature" names that may drift, such as totals that only grow; they are measured
            but make no finding.
    """

    null_increase: float = 0.1
    outlier_increase: float = 0.05
    missing_online: float = 0.0
    skew: float = 0.001
    unverifiable: float = 0.5
    quarantined: int = 0
    quiet: tuple[str, ...] = ()

    def __call__(self, report: Report) -> list[Alert]:
        """The worst first."""
        found = [a for view in report.views for a in self._view(view)]
        found += list(self._skew(report))
        return sorted(found, key=lambda a: a.severity)

    def _view(self, view: ViewState) -> Iterator[Alert]:
        fresh, complete, name = view.freshness, view.completeness, view.name
        if complete.error:
            text = f"the online store does not answer: {complete.error}"
            yield Alert(name, "", "completeness", "critical", text)
        for where, age in (("offline", fresh.offline_s), ("online", fresh.online_s)):
            if age is None:
                yield Alert(name, "", "freshness", "critical", f"no rows {where}")
            elif age > fresh.slo_s:
                promised = duration(fresh.slo_s)
                text = f"newest value {where} is {duration(age)} old; {promised} is promised"
                yield Alert(name, "", "freshness", "critical", text)
        if fresh.ahead:
            yield Alert(name, "", "freshness", "warning", f"{fresh.ahead} rows lie in the future")
        if complete.empty_days:
            days = ", ".join(str(d) for d in complete.empty_days[:3])
            text = f"{len(complete.empty_days)} days without rows: {days}"
            yield Alert(name, "", "completeness", "warning", text)
        if (complete.missing_share or 0) > self.missing_online:
            text = (
                f"{complete.keys_missing} of {complete.keys_asked} sampled keys are missing "
                f"online, such as {', '.join(complete.examples[:3])}"
            )
            yield Alert(name, "", "completeness", "critical", text)
        if view.quarantine.recent > self.quarantined:
            text = f"{view.quarantine.recent} rows were rejected within a day"
            yield Alert(name, "", "quarantine", "warning", text)
        for feature in view.features:
            if f"{name}:{feature.name}" not in self.quiet:
                yield from self._feature(name, feature)

    def _feature(self, view: str, feature: FeatureState) -> Iterator[Alert]:
        drift, before, after = feature.drift, feature.baseline, feature.current
        if drift.level in ("moderate", "major"):
            text = f"{drift.level} drift: PSI {drift.psi:.3f}, JS {drift.js:.3f}"
            severity = "critical" if drift.level == "major" else "warning"
            yield Alert(view, feature.name, "drift", severity, text)
        usual = (before.null_share or 0.0) if before else 0.0
        nulls = after.null_share if after else None
        if nulls is not None and (
            nulls == 1.0 > usual or (before and nulls - usual > self.null_increase)
        ):
            text = f"{nulls:.1%} nulls; {usual:.1%} in the baseline"
            yield Alert(view, feature.name, "nulls", "warning", text)
        if drift.level in ("none", "unknown"):  # values that moved are outliers too: one finding
            yield from self._outliers(view, feature)

    def _outliers(self, view: str, feature: FeatureState) -> Iterator[Alert]:
        was = feature.baseline.outliers if feature.baseline else None
        now = feature.current.outliers if feature.current else None
        if (
            was
            and now
            and max(n - w for n, w in zip(now, was, strict=True)) > self.outlier_increase
        ):
            text = (
                f"outliers: {now[0]:.1%} by robust z, {now[1]:.1%} by IQR; "
                f"{was[0]:.1%} and {was[1]:.1%} in the baseline"
            )
            yield Alert(view, feature.name, "outliers", "warning", text)

    def _skew(self, report: Report) -> Iterator[Alert]:
        for feature in report.skew.features:
            ratio = feature.mismatch_ratio
            if ratio is not None and ratio > self.skew:
                text = (
                    f"{feature.mismatches} of {feature.compared} served values differ from what "
                    "the offline tables say"
                )
                yield Alert(feature.view, feature.feature, "skew", "critical", text)
            if feature.compared and feature.unverifiable > self.unverifiable * feature.compared:
                text = (
                    f"{feature.unverifiable} of {feature.compared} served values cannot be "
                    "verified: their rows were written again since"
                )
                yield Alert(feature.view, feature.feature, "skew", "warning", text)


def duration(seconds: float) -> str:
    """As people say it: `3 d 4 h`, `12 min`."""
    sign, rest = ("-", -seconds) if seconds < 0 else ("", seconds)
    span = timedelta(seconds=round(rest))
    hours, minutes = divmod(span.seconds // 60, 60)
    parts = [(span.days, "d"), (hours, "h"), (minutes, "min")]
    told = [f"{n} {unit}" for n, unit in parts if n][:2]
    return sign + (" ".join(told) or f"{rest:.0f} s")
