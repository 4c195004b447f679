"""Champion against challenger on what came later: recent verdicts, and a holdout in time."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.anomaly.retraining import figures
from models.anomaly.retraining.judged import JudgedReader
from models.anomaly.retraining.planting import Planting
from models.anomaly.retraining.scoring import ArtifactScorer, windows_at
from models.anomaly.retraining.splits import moment
from models.anomaly.telemetry import ANOMALOUS, DOUBTED, NORMAL, Telemetry
from models.artifact import Artifact
from models.promotion.bootstrap import ranking
from models.promotion.comparison import Comparison
from models.promotion.rule import Measure
from models.promotion.shares import share

log = logging.getLogger(__name__)

Scores = NDArray[np.float64]
Rows = NDArray[np.int64]


class Side(NamedTuple):
    """What one model says of all rows that are compared on.

    Args:
        threshold: the artifact's static one.
        cut: what the allowed share of the holdout exceeds: both models alarm equally often there.
    """

    threshold: float
    cut: float
    holdout: Scores
    planted: Scores
    judged: Scores


@dataclass
class AnomalyComparer:
    """See `models.promotion.comparison.Comparer`.

    The holdout is the newest part of the time: rows that nobody confirmed count as normal there,
    for both models alike. Anomalies are planted into them. Recent verdicts are those on events of
    the same part of the time.

    Args:
        reader: telemetry with verdicts; read again by the training with the same settings.
        planting: what is planted.
        holdout_share: of the rows, the newest, kept back.
        recent_days: the challenger learns from this many days before the holdout; None: from all.
        false_alarms: share of the holdout that may alarm where recall is measured, the same for
            both models: how each is calibrated shows in `false_alarm_rate` alone.
        least_verdicts: recent ones of each kind; with fewer, the holdout alone decides.
        most_rows: of the holdout, evenly spaced; bounds time and memory.
        resamples: of the bootstrap.
        together_s: alarms of a source within so many seconds are not independent: they count
            together in the sampling error of shares.
    """

    reader: JudgedReader
    planting: Planting
    holdout_share: float = 0.2
    recent_days: float | None = None
    least_verdicts: int = 10
    false_alarms: float = 0.01
    most_rows: int = 20_000
    resamples: int = 200
    together_s: int = 3600
    seed: int = 0
    _telemetry: Telemetry | None = field(default=None, init=False)
    _at: int = field(default=0, init=False)

    def keep_back(self) -> list[str]:
        """Raises `TelemetryError` where there is nothing to keep back."""
        self._telemetry = self.reader.read()
        self._at = moment(self._telemetry, self.holdout_share)
        since = None if self.recent_days is None else self._at - int(self.recent_days * 86_400)
        return [
            f"data.split.at={self._at}",
            f"data.split.since={'null' if since is None else since}",
        ]

    def compare(self, champion: Artifact, challenger: Artifact) -> Comparison:
        """Raises `TelemetryError` where a model reads a field that the telemetry lacks."""
        assert self._telemetry is not None, "keep_back comes first"
        telemetry = self._telemetry
        late = telemetry.time >= self._at
        judged = np.flatnonzero(late & np.isin(telemetry.label, (NORMAL, ANOMALOUS)))
        normal = np.flatnonzero(late & (telemetry.label != ANOMALOUS))
        # The first row of the spacing is the oldest, the last the newest.
        spaced = np.linspace(0, len(normal) - 1, min(self.most_rows, len(normal))).astype(int)
        holdout = normal[spaced]
        scorers = [ArtifactScorer(a, telemetry.fields) for a in (champion, challenger)]
        length = max(s.window for s in scorers)
        whole = windows_at(telemetry, length, holdout)
        planted, origin, kinds = self.planting(whole)
        asked = windows_at(telemetry, length, judged)
        old, new = (
            Side(
                scorer.threshold,
                float(np.quantile(usual, 1 - self.false_alarms, method="higher")),
                usual,
                scorer.score(planted, telemetry.time[holdout][origin]),
                scorer.score(asked, telemetry.time[judged]),
            )
            for scorer in scorers
            for usual in [scorer.score(whole, telemetry.time[holdout])]
        )
        confirmed = telemetry.label[judged] == ANOMALOUS
        measures = [
            *self._on_verdicts(confirmed, old, new, self._groups(telemetry, judged)),
            *self._on_holdout(old, new, self._groups(telemetry, holdout)),
        ]
        doubted = int((~late & (telemetry.label == DOUBTED)).sum())
        counts = self.reader.counts
        data: dict[str, Any] = {
            "rows": len(telemetry),
            "holdout_from": self._at,
            "holdout_rows": len(holdout),
            "planted": len(planted),
            "recent_confirmed": int(confirmed.sum()),
            "recent_dismissed": int((~confirmed).sum()),
            "doubted_rows": doubted,
            "verdicts": counts._asdict(),
        }
        return Comparison(
            measures,
            self._notes(confirmed, counts.restored, counts.lost, doubted),
            data,
            (
                *figures.ranks(old, new, confirmed, self._enough(confirmed)),
                figures.distributions(old, new),
                figures.kinds(old, new, kinds),
                figures.alarms(old, new, telemetry.time[holdout]),
            ),
        )

    def _enough(self, confirmed: NDArray[np.bool_]) -> bool:
        return min(int(confirmed.sum()), int((~confirmed).sum())) >= self.least_verdicts

    def _groups(self, telemetry: Telemetry, rows: Rows) -> Rows:
        """[N]: rows of one source and stretch of time have one number."""
        part = telemetry.time[rows] // self.together_s
        return telemetry.source[rows] * (int(part.max(initial=0)) + 1) + part

    def _on_verdicts(
        self, confirmed: NDArray[np.bool_], old: Side, new: Side, groups: Rows
    ) -> list[Measure]:
        if not self._enough(confirmed):
            return []
        before, after = (side.judged > side.cut for side in (old, new))
        return [
            *ranking("verdict", confirmed, old.judged, new.judged, self.resamples, self.seed),
            *(
                share(name, better, before[part], after[part], groups[part])
                for name, better, part in (
                    ("confirmed_recall", "higher", confirmed),
                    ("dismissed_alarm_rate", "lower", ~confirmed),
                )
            ),
        ]

    def _on_holdout(self, old: Side, new: Side, groups: Rows) -> list[Measure]:
        truth = np.repeat([False, True], [len(old.holdout), len(old.planted)])
        before, after = (np.concatenate([side.holdout, side.planted]) for side in (old, new))
        return [
            *ranking("planted", truth, before, after, self.resamples, self.seed),
            share("planted_recall", "higher", old.planted > old.cut, new.planted > new.cut),
            share(
                "false_alarm_rate",
                "lower",
                old.holdout > old.threshold,
                new.holdout > new.threshold,
                groups,
            ),
        ]

    def _notes(
        self, confirmed: NDArray[np.bool_], restored: int, lost: int, doubted: int
    ) -> list[str]:
        yes, no = int(confirmed.sum()), int((~confirmed).sum())
        notes = []
        if self._enough(confirmed):
            notes.append(
                f"{yes} confirmed and {no} dismissed events of the holdout's time decide. People "
                "judge what a model reported: events that it missed are not among them."
            )
        else:
            notes.append(
                f"Only {yes} confirmed and {no} dismissed events are of the holdout's time, and "
                f"{self.least_verdicts} of each are needed: the holdout alone decides."
            )
        if restored:
            notes.append(
                f"The telemetry of {restored} judged events is gone; they were put back as the "
                "stream had seen them, without what came before them."
            )
        if lost:
            notes.append(f"{lost} verdicts speak of events whose values are known nowhere.")
        if doubted:
            notes.append(
                f"{doubted} rows before the holdout alarmed, or could not be scored, and nobody "
                "judged them: they were not learnt from."
            )
        return notes
