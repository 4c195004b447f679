"""The value of a policy by every estimator, with what to judge the figures by."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from models.recommender.policy.estimators import (
    IPS,
    Estimator,
    Weights,
    effective_sample_size,
)
from models.recommender.policy.intervals import Interval
from models.recommender.policy.log import Log
from models.recommender.policy.reward_model import MeanRewards
from models.recommender.policy.sums import Array, Codes, Sums
from models.recommender.policy.targets import Target, TargetPolicy

log = logging.getLogger(__name__)


class Estimate(NamedTuple):
    """A value per request with its interval."""

    value: float
    low: float
    high: float


class Verdict(NamedTuple):
    """What a log says of a policy."""

    logged: Estimate  # what the policy that ran did earn
    estimates: dict[str, Estimate]
    effective_sample_size: float  # rows of equal weight that would say as much
    mean_weight: float  # 1 if propensities and target belong together
    largest_weight: float  # before clipping
    clipped: float  # share of rows whose weight was cut
    unsupported: float  # share of what the target shows that its log never shows; NaN: not known
    requests: int
    rows: int
    rejected: int

    def metrics(self) -> dict[str, float]:
        """Flat, for `metrics.json`."""
        found: dict[str, float] = {}
        for name, estimate in self.estimates.items():
            found |= {name: estimate.value, f"{name}_low": estimate.low}
            found[f"{name}_high"] = estimate.high
        rest = self._asdict()
        return found | {
            key: float(value) for key, value in rest.items() if key not in ("logged", "estimates")
        }


@dataclass(frozen=True)
class PolicyEvaluation:
    """Weigh a log for a target policy.

    Args:
        estimators: name → estimator; None leaves one out.
        weights: how weights are made and clipped.
        interval: of every estimate.
        reward_model: for estimators that need one.
        cluster: the log's column whose values are drawn as one.
        context: the log's column that a reward may depend on, besides item and place; None: none.
    """

    estimators: Mapping[str, Estimator | None]
    weights: Weights
    interval: Interval
    reward_model: MeanRewards
    cluster: str = "user_id"
    context: str | None = None

    def __call__(self, rows: Log, policy: TargetPolicy) -> Verdict:
        target = policy.of(rows)
        request, place = rows.codes("request_id"), rows.codes("place")
        cluster = rows.codes(self.cluster)
        propensity, reward = rows.numbers("propensity"), rows.numbers("reward")
        places = rows.numbers("place").astype(np.int64)
        unclipped = Weights(None, self.weights.slate).of(target.chance, propensity, request, places)
        weight = self.weights.of(target.chance, propensity, request, places)
        expected = fitted = None
        if target.actions is not None and target.chances is not None:
            expected, fitted = self._told(rows, target, place, reward, cluster)
        sums = Sums.of(cluster, request, place, weight, reward, expected, fitted)
        estimates = {}
        for name, estimator in self.estimators.items():
            if estimator is None:
                continue
            if estimator.needs_reward_model and expected is None:
                log.warning(
                    "%s is left out: it needs all that the target may show at a place, and how "
                    "likely (policy.actions, policy.chances)",
                    name,
                )
                continue
            estimates[name] = self._estimate(estimator, sums)
        ones = np.ones_like(weight)
        ran = Sums.of(cluster, request, place, ones, reward)
        verdict = Verdict(
            logged=self._estimate(IPS(), ran),
            estimates=estimates,
            effective_sample_size=effective_sample_size(weight),
            mean_weight=float(unclipped.mean()),
            largest_weight=float(unclipped.max()),
            clipped=float((weight < unclipped).mean()),
            unsupported=_unsupported(rows, target),
            requests=int(request.max()) + 1,
            rows=len(rows),
            rejected=rows.rejected,
        )
        _warn(verdict, unclipped, cluster)
        return verdict

    def _estimate(self, estimator: Estimator, sums: Sums) -> Estimate:
        value = float(estimator.value(sums, np.ones((1, len(sums.requests))))[0])
        return Estimate(value, *self.interval.bounds(estimator, sums))

    def _told(
        self, rows: Log, target: Target, place: Codes, reward: Array, cluster: Codes
    ) -> tuple[Array, Array]:
        assert target.actions is not None
        assert target.chances is not None
        item = rows.codes("item_id")
        names = rows.frame["item_id"].to_list()
        code = dict(zip(names, item.tolist(), strict=True))
        context = rows.codes(self.context) if self.context else np.zeros_like(item)
        unknown = len(code)  # an item that was never shown: the mean of all is all that is known
        width = max(map(len, target.actions))
        actions = np.full((len(rows), width), -1, dtype=np.int64)
        chances = np.zeros((len(rows), width))
        for n, (listed, drawn) in enumerate(zip(target.actions, target.chances, strict=True)):
            actions[n, : len(listed)] = [code.get(i, unknown) for i in listed]
            chances[n, : len(drawn)] = drawn
        expected, fitted = self.reward_model.tell(
            item, place, context, reward, cluster, actions, chances
        )
        return expected, fitted


def _unsupported(rows: Log, target: Target) -> float:
    """How much of what the target shows no row of the log can speak for."""
    if target.actions is None or target.chances is None:
        return float("nan")
    shown = set(rows.frame["item_id"].to_list())
    parts = [
        sum(c for i, c in zip(items, chances, strict=True) if i not in shown)
        for items, chances in zip(target.actions, target.chances, strict=True)
    ]
    return float(np.mean(parts))


def _warn(verdict: Verdict, weight: Array, cluster: Codes) -> None:
    """Where the figures should not be believed."""
    totals = np.bincount(cluster, weights=weight - 1)
    error = np.sqrt(np.square(totals).sum()) / len(weight)
    if abs(verdict.mean_weight - 1) > 4 * error and abs(verdict.mean_weight - 1) > 0.05:
        log.warning(
            "the mean weight is %.3f, and 1 is expected: propensities that are not those of the "
            "policy that ran, or a target that shows what the log never does",
            verdict.mean_weight,
        )
    if verdict.effective_sample_size < max(100, 0.01 * verdict.rows):
        log.warning(
            "%d rows weigh as much as %.0f: few rows decide, and intervals are too narrow; clip "
            "weights, or explore more",
            verdict.rows,
            verdict.effective_sample_size,
        )


def show(verdict: Verdict, console: Console | None = None) -> None:
    """Print the table of estimates, the policy that ran first."""
    table = Table(title=f"value per request, {verdict.requests:,} requests")
    for column in ("", "value", "low", "high"):
        table.add_column(column, justify="right" if column else "left")
    rows: Sequence[tuple[str, Estimate]] = [
        ("logged policy", verdict.logged),
        *verdict.estimates.items(),
    ]
    for name, estimate in rows:
        table.add_row(name, *(f"{v:.4f}" for v in estimate))
    console = console or Console()
    console.print(table)
    console.print(
        f"{verdict.rows:,} rows ({verdict.rejected:,} rejected) weigh as much as "
        f"{verdict.effective_sample_size:,.0f}; mean weight {verdict.mean_weight:.3f}, largest "
        f"{verdict.largest_weight:.1f}, {verdict.clipped:.1%} clipped"
    )
