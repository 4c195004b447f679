"""Small real artifacts of task `anomaly`: the graph scores by distance from the given centre."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

from models import artifact
from models.anomaly.detector import INPUTS, OUTPUTS
from models.artifact import Artifact, Signature
from models.export import OPSET, export_onnx


class Distance(nn.Module):
    def __init__(self, centre: list[float], scale: float) -> None:
        super().__init__()
        self.register_buffer("centre", torch.tensor(centre))
        self.scale = scale

    def forward(self, values: Tensor, time: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        newest = torch.nan_to_num(values[:, -1])
        parts = (newest - self.centre).abs() * self.scale + 0.0 * time[:, None].float()
        return parts.sum(1), parts, self.centre.expand_as(newest) + 0.0 * newest


def put(
    root: Path,
    version: str,
    fields: tuple[str, ...],
    centre: list[float],
    scale: float = 1.0,
    threshold: float = 3.0,
    window: int = 1,
) -> Artifact:
    """Publish one; `scale` below zero ranks everything the wrong way round."""
    with tempfile.TemporaryDirectory() as staging:
        folder = Path(staging)
        example = {
            "values": torch.zeros(2, window, len(fields)),
            "time": torch.zeros(2, dtype=torch.int64),
        }
        batch = {name: {0: "batch"} for name in INPUTS}
        inputs, outputs = export_onnx(
            Distance(centre, scale), example, batch, OUTPUTS, folder / "model.onnx"
        )
        (folder / "assets").mkdir()
        (folder / "assets" / "fields.json").write_text(json.dumps(fields))
        content = {"threshold": threshold, "scores": [0.1, 0.5, 1.0]}
        (folder / "assets" / "threshold.json").write_text(json.dumps(content))
        (folder / "metrics.json").write_text("{}")
        limits = {"window": window}
        signature = Signature("anomaly", version, "anomaly", inputs, outputs, OPSET, limits=limits)
        return artifact.write(folder, root, signature)
