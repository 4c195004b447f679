"""A trained text classifier as an artifact: token ids in, calibrated logits out."""

from __future__ import annotations

import logging
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor, nn

from models import artifact
from models.export import OPSET, ParityError, export_onnx
from models.report import Report
from models.sentiment.answers import lead
from models.sentiment.assessment import module_logits
from models.sentiment.card import model_card
from models.sentiment.datamodule import TextsDataModule
from models.sentiment.local import local_predictor

log = logging.getLogger(__name__)
# ONNX Runtime advises shape inference, which changes nothing for weights; it says so on the root.
logging.getLogger().addFilter(lambda r: "pre-processing before quantization" not in r.getMessage())


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
        quantize: 8-bit weights for CPUs: "never", or "gated". Texts whose classes are nearly even
            are then read again in float32, as many as validation shows to be needed; gated keeps
            the smaller graph only if that gives nearly the same accuracy from few such texts.
        largest_drop: of accuracy on the validation split, each half of it answered with what the
            other half shows to be needed.
        most_exact: share of the validation split that may be read twice.
        half: also write model.fp16.onnx, for CUDA.
    """

    name: str
    root: str
    tolerance: float
    parity_texts: int
    quantize: str
    largest_drop: float
    half: bool
    most_exact: float = 0.3  # a run from before it has none in its configuration

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
            settings = {
                "classes": list(data.texts.classes),
                "abstain_below": report.data["abstain_below"],
                "exact_below": 0.0,
                "language": data.language,
            }
            data.text_reader.save(folder / "assets", **settings)
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
            note = "float32"
            if self.quantize == "gated":
                settings["exact_below"], note = self._quantized(draft, data)
                data.text_reader.save(folder / "assets", **settings)
            if self.half:
                _write_half(onnx_file, folder / artifact.HALF)
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
        actual = local_predictor(draft).logits([data.texts.text[r] for r in rows])
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

    def _quantized(self, draft: artifact.Artifact, data: TextsDataModule) -> tuple[float, str]:
        """Put 8-bit weights in front of the graph if the gate lets them through.

        Returns (lead of the leading class below which texts are read again, what was done).
        """
        rows = data.split.validation
        texts = [data.texts.text[r] for r in rows]
        small = draft.path / "model.int8.onnx"
        # Seven bits of eight: without VNNI, products of full ones overflow a processor's 16-bit
        # sums. A scale for each column makes up for it.
        quantize_dynamic(
            draft.model, small, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True
        )
        whole = local_predictor(draft).logits(texts)
        quick = local_predictor(draft, graph=small).logits(texts)
        # Numbers are rounded by the largest of what is read together, so that a text by itself is
        # rounded otherwise than in a batch: both must be safe.
        alone = local_predictor(draft, batch_tokens=1, graph=small).logits(texts)
        # A text's answer changes only if its classes move against one another by its lead or more.
        moved = np.maximum(np.ptp(quick - whole, axis=1), np.ptp(alone - whole, axis=1))
        ahead = lead(quick)
        halves = np.array([moved[1::2].max(initial=0), moved[::2].max(initial=0)])
        again = ahead < halves[np.arange(len(texts)) % 2]
        exact_below = float(moved.max(initial=0))
        share = float(np.mean(ahead < exact_below))
        labels = data.texts.label[rows]
        before, bare, after = (
            float(np.mean(logits.argmax(axis=1) == labels))
            for logits in (whole, quick, np.where(again[:, None], whole, quick))
        )
        shown = (
            f"validation accuracy {before:.4f} as float32, {bare:.4f} with 8-bit weights, "
            f"{after:.4f} with texts read again in float32, {share:.1%} of them, where the leading "
            f"class is ahead by less than {exact_below:.2f}"
        )
        if before - after > self.largest_drop or share > self.most_exact:
            small.unlink()
            note = f"float32: {shown}; allowed are {self.largest_drop} less, {self.most_exact:.0%}"
            exact_below = 0.0
        else:
            shutil.move(draft.model, draft.path / artifact.EXACT)
            shutil.move(small, draft.model)
            note = f"8-bit weights: {shown}"
        log.info("quantization: %s", note)
        return exact_below, note


def _listed(signature: artifact.Signature, folder: Path) -> artifact.Signature:
    """The signature with the assets that are there, so that they can be read before publishing."""
    files = {f"assets/{p.name}": "" for p in (folder / "assets").iterdir()}
    return artifact.Signature(**{**signature.__dict__, "files": files})


def _write_half(source: Path, goal: Path) -> None:
    """Half precision with float32 inputs and outputs, for CUDA."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=True), goal)
