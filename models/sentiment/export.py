"""A trained text classifier as an artifact: token ids in, calibrated logits out."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor, nn

from models import artifact
from models.export import OPSET, ParityError, export_onnx, session
from models.report import Report
from models.sentiment.assessment import module_logits
from models.sentiment.card import model_card
from models.sentiment.datamodule import TextsDataModule
from models.sentiment.predictor import Predictor

log = logging.getLogger(__name__)


class Calibrated(nn.Module):
    """ids [B, T], 0-padded → logits [B, C], divided by the temperature."""

    def __init__(self, net: nn.Module, temperature: float) -> None:
        super().__init__()
        self.net = net
        self.temperature = temperature

    def forward(self, ids: Tensor) -> Tensor:
        return cast(Tensor, self.net(ids)) / self.temperature


@dataclass
class SentimentExport:
    """Write the artifact of a trained text classifier.

    Args:
        root: the folder of all artifacts.
        tolerance: largest allowed difference of a logit between graph and module.
        parity_texts: test texts on which both must agree, read from raw text each.
        quantize: 8-bit weights for CPUs: "never", or "gated", which keeps the smaller graph only
            if accuracy on the validation split falls by at most `largest_drop`.
        half: also write model.fp16.onnx, for CUDA.
    """

    name: str
    root: str
    tolerance: float
    parity_texts: int
    quantize: str
    largest_drop: float
    half: bool

    def __call__(
        self, model: nn.Module, data: TextsDataModule, report: Report, config: DictConfig
    ) -> Path:
        """Export, check parity, publish; returns the artifact's folder.

        Raises:
            ParityError: graph and module disagree; nothing is published then.
        """
        if self.quantize not in ("never", "gated"):
            raise ValueError(f"quantize is {self.quantize!r}; it must be 'never' or 'gated'")
        temperature = float(report.data["temperature"])
        graph = Calibrated(model.cpu().eval().net, temperature)  # type: ignore[arg-type]
        with tempfile.TemporaryDirectory() as staging:
            folder = Path(staging)
            (folder / "assets").mkdir()
            example = torch.tensor([[2, 3, 4, 5, 6, 7], [3, 4, 5, 0, 0, 0]])
            onnx_file = folder / "model.onnx"
            inputs, outputs = export_onnx(
                graph, {"ids": example}, {"ids": {0: "batch", 1: "time"}}, ["logits"], onnx_file
            )
            data.text_reader.save(
                folder / "assets",
                classes=list(data.texts.classes),
                abstain_below=report.data["abstain_below"],
                language=data.language,
            )
            signature = artifact.Signature(
                name=self.name,
                version=artifact.new_version(),
                task="sentiment",
                inputs=inputs,
                outputs=outputs,
                opset=OPSET,
                limits={"tokens": data.max_length},
            )
            draft = artifact.Artifact(folder, _listed(signature, folder))
            difference = self._parity(draft, model, data, temperature)
            note = self._quantized(draft, data, folder) if self.quantize == "gated" else "float32"
            if self.half:
                _write_half(onnx_file, folder / "model.fp16.onnx")
            OmegaConf.save(config, folder / "config.yaml", resolve=True)
            report.write(folder / "metrics.json")
            card = model_card(signature, report, difference, note)
            (folder / "MODEL_CARD.md").write_text(card, "utf-8")
            published = artifact.write(folder, Path(self.root), signature)
        log.info("artifact: %s", published.path)
        return published.path

    def _parity(
        self, draft: artifact.Artifact, model: nn.Module, data: TextsDataModule, temperature: float
    ) -> float:
        """Raw texts through the artifact's own reader and graph, against the module."""
        test = data.split.test
        rows = test[np.linspace(0, len(test) - 1, min(self.parity_texts, len(test))).astype(int)]
        expected = module_logits(model, data, rows) / temperature
        actual = _predictor(draft).logits([data.texts.text[r] for r in rows])
        difference = np.abs(expected - actual).max(axis=1)
        worst = int(difference.argmax())
        if difference[worst] > self.tolerance:
            raise ParityError(
                f"logits differ by {difference[worst]:.2e}, more than the tolerance "
                f"{self.tolerance:.0e}, for {data.texts.text[rows[worst]]!r}; the artifact is not "
                "written"
            )
        log.info("parity: %d texts, logits within %.1e", len(rows), difference[worst])
        return float(difference[worst])

    def _quantized(self, draft: artifact.Artifact, data: TextsDataModule, folder: Path) -> str:
        """Replace the graph by its 8-bit version if the gate lets it through; says what it did."""
        rows = data.split.validation
        texts = [data.texts.text[r] for r in rows]
        labels = data.texts.label[rows]
        before = _accuracy(_predictor(draft), texts, labels)
        small = folder / "model.int8.onnx"
        # Unsigned weights: signed ones lose accuracy on processors without VNNI.
        quantize_dynamic(draft.model, small, weight_type=QuantType.QUInt8)
        after = _accuracy(_predictor(draft, small), texts, labels)
        shown = f"validation accuracy {before:.4f} as float32, {after:.4f} with 8-bit weights"
        if before - after > self.largest_drop:
            small.unlink()
            note = f"float32: {shown}, a larger loss than {self.largest_drop}"
        else:
            shutil.move(folder / "model.onnx", folder / "model.fp32.onnx")
            shutil.move(small, folder / "model.onnx")
            note = f"8-bit weights: {shown}"
        log.info("quantization: %s", note)
        return note


def _predictor(draft: artifact.Artifact, graph: Path | None = None) -> Predictor:
    run = session(graph or draft.model)
    return Predictor(draft, lambda feed: run.run(None, dict(feed)))


def _accuracy(predictor: Predictor, texts: Sequence[str], labels: NDArray[np.integer]) -> float:
    return float(np.mean(predictor.logits(texts).argmax(axis=1) == labels))


def _listed(signature: artifact.Signature, folder: Path) -> artifact.Signature:
    """The signature with the assets that are there, so that they can be read before publishing."""
    files = {f"assets/{p.name}": "" for p in (folder / "assets").iterdir()}
    return artifact.Signature(**{**signature.__dict__, "files": files})


def _write_half(source: Path, goal: Path) -> None:
    """Half precision with float32 inputs and outputs, for CUDA."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=True), goal)
