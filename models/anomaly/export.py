"""A fitted detector as an artifact: telemetry's windows in, score and reasons out."""

from __future__ import annotations

import json
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from models import artifact
from models.anomaly.card import model_card
from models.anomaly.continuing import Continuing, keep
from models.anomaly.detector import INPUTS, OUTPUTS, Detector
from models.anomaly.telemetry import Telemetry
from models.export import OPSET, ParityError, export_onnx
from models.report import Report
from models.session import session

log = logging.getLogger(__name__)


@dataclass
class DetectorExport:
    """Write the artifact of a fitted detector.

    Args:
        name: of the artifact.
        root: the folder of all artifacts.
        threshold: a static threshold, for whoever has none that adapts.
        parity_rows: rows on which the graph must answer as the module does.
        tolerance: largest allowed difference, relative to 1 + the value.
        scores_kept: scores of held-out normal rows kept, to calibrate thresholds with.
    """

    name: str
    root: str
    threshold: float
    parity_rows: int
    tolerance: float
    scores_kept: int = 2000

    def __call__(
        self,
        detector: Detector,
        rows: Telemetry,
        normal_scores: np.ndarray,
        report: Report,
        config: DictConfig,
    ) -> Path:
        """Export, check parity, publish; returns the artifact's folder.

        Args:
            rows: unseen rows for the check.
            normal_scores: of held-out rows that nobody called anomalous.
            config: the run's configuration, kept resolved inside the artifact.

        Raises:
            ParityError: graph and module disagree; nothing is published then.
        """
        graph = detector.graph()
        version = artifact.new_version()
        with tempfile.TemporaryDirectory() as staging:
            folder = Path(staging)
            file = folder / "model.onnx"
            example = {
                "values": torch.zeros(2, detector.window, len(rows.fields)),
                "time": torch.zeros(2, dtype=torch.int64),
            }
            batch = {name: {0: "batch"} for name in INPUTS}
            inputs, outputs = export_onnx(graph, example, batch, OUTPUTS, file)
            worst = self._parity(file, graph, rows, detector.window)
            log.info("parity: %d rows within %.1e", self.parity_rows, worst)
            signature = artifact.Signature(
                name=self.name,
                version=version,
                task="anomaly",
                inputs=inputs,
                outputs=outputs,
                opset=OPSET,
                limits={"window": detector.window},
            )
            OmegaConf.save(config, folder / "config.yaml", resolve=True)
            self._write_assets(folder / "assets", rows.fields, normal_scores)
            if isinstance(detector, Continuing):
                keep(detector.state(), folder / "assets")
            report.write(folder / "metrics.json")
            card = model_card(signature, rows.fields, report, worst, self.threshold)
            (folder / "MODEL_CARD.md").write_text(card, "utf-8")
            published = artifact.write(folder, Path(self.root), signature)
        log.info("artifact: %s", published.path)
        return published.path

    def _parity(self, file: Path, graph: nn.Module, rows: Telemetry, window: int) -> float:
        """As they are, and each with a value missing."""
        chosen = np.unique(np.linspace(0, len(rows) - 1, self.parity_rows).astype(int))
        whole = rows.windows(window)[chosen]
        gappy = whole.copy()
        gappy[np.arange(len(chosen)), -1, np.arange(len(chosen)) % len(rows.fields)] = np.nan
        time = rows.time[chosen]
        worst = max(parity(file, graph, values, time, self.tolerance) for values in (whole, gappy))
        return worst

    def _write_assets(
        self, folder: Path, fields: tuple[str, ...], normal_scores: np.ndarray
    ) -> None:
        folder.mkdir()
        kept = np.sort(np.asarray(normal_scores, np.float64))
        spread = np.linspace(0, len(kept) - 1, min(self.scores_kept, len(kept))).astype(int)
        threshold = {"threshold": self.threshold, "scores": kept[spread].round(5).tolist()}
        contents = {"fields.json": list(fields), "threshold.json": threshold}
        for name, content in contents.items():
            (folder / name).write_text(json.dumps(content, ensure_ascii=False) + "\n", "utf-8")


def parity(
    file: Path, graph: nn.Module, values: np.ndarray, time: np.ndarray, tolerance: float
) -> float:
    """The largest difference of any output, relative to 1 + its size.

    Raises:
        ParityError: more than `tolerance`, or an answer that is not finite.
    """
    values = np.ascontiguousarray(values, np.float32)
    answer = session(file).run(list(OUTPUTS), {"values": values, "time": time})
    with torch.inference_mode():
        right = [part.numpy() for part in graph(torch.from_numpy(values), torch.from_numpy(time))]
    worst = 0.0
    for name, ours, theirs in zip(OUTPUTS, right, answer, strict=True):
        difference = np.abs(ours - theirs) / (1 + np.abs(ours))
        # NaN compares with nothing: it must not pass.
        if not difference.max(initial=0.0) <= tolerance:
            row = int(np.nan_to_num(difference.reshape(len(ours), -1), nan=np.inf).max(1).argmax())
            raise ParityError(
                f"{file.name}: {name} of row {row} is {theirs[row]} in the graph and {ours[row]} "
                f"in the module, further apart than {tolerance:.0e}; the artifact is not written"
            )
        worst = max(worst, float(difference.max(initial=0.0)))
    return worst
