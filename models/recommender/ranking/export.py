"""A trained ranker as an artifact: named features in, probabilities out.

The graph takes plain tensors, one input a field: numbers [B], ids [B], or bags as 0-padded ids
[B, L]. Raw values become ids by `encoding.py`, which serving runs too.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from models import artifact
from models.export import OPSET, ParityError, export_onnx
from models.recommender.ranking.card import model_card
from models.recommender.ranking.encoding import PADDING, Encoding
from models.recommender.ranking.examples import Examples
from models.recommender.ranking.fields import Field
from models.recommender.ranking.nets.affinity import newest_of_padded
from models.recommender.ranking.nets.net import RankingNet
from models.recommender.ranking.ranker import Ranker
from models.report import Report
from models.session import session

log = logging.getLogger(__name__)


class RankingGraph(nn.Module):
    """The inputs of all fields, in their order → scores [B].

    Args:
        net: with whole tables; its collection of bags is replaced by gathers.
    """

    def __init__(self, net: RankingNet, encoding: Encoding) -> None:
        super().__init__()
        self.net = net
        self.fields = encoding.fields

    def forward(self, *inputs: Tensor) -> Tensor:
        given = {f.name: value for f, value in zip(self.fields.all, inputs, strict=True)}
        dense = [given[f.name] for f in self.fields.dense]
        some = next(iter(given.values()))
        numbers = torch.stack(dense, dim=1) if dense else torch.zeros(len(some), 0)
        bags = [f for f in self.fields.bags if f.name in self.net.bags]
        pooled = torch.stack([self._pooled(f, given[f.name]) for f in bags], dim=1)
        numbers = self.net.dense_input(numbers)
        affinity = self.net.affinity
        if affinity is not None:
            history = newest_of_padded(given[affinity.history], affinity.most)
            numbers = torch.cat([numbers, affinity(history, given[affinity.item])], dim=1)
        return self.net.head(numbers, pooled).sigmoid()

    def _pooled(self, field: Field, ids: Tensor) -> Tensor:
        """[B] or [B, L] → [B, D], the mean of what is no padding."""
        table = cast(Tensor, self.net.embeddings.embedding_bags[field.owner].weight)
        if field.kind == "categorical":
            return table[ids]
        real = (ids != PADDING).unsqueeze(2).to(table.dtype)
        return (table[ids] * real).sum(1) / real.sum(1).clamp(min=1.0)


@dataclass
class RankingExport:
    """Write the artifact of a trained ranker.

    Args:
        root: the folder of all artifacts.
        candidates: items that one instance of a request may have.
        parity_rows: test rows on which serving's way must answer as training's.
        tolerance: largest allowed difference of a probability.
    """

    name: str
    root: str
    candidates: int
    parity_rows: int
    tolerance: float

    def __call__(self, model: nn.Module, data: Any, report: Report, config: DictConfig) -> Path:
        """Export, check parity, publish; returns the artifact's folder.

        Raises:
            ParityError: graph and module disagree; nothing is published then.
        """
        assert isinstance(model, Ranker), f"a {type(model).__name__} is no ranker"
        model = model.cpu().eval()
        encoding: Encoding = data.encoding
        graph = RankingGraph(model.net, encoding).eval()
        service, features = data.trained_on()
        with tempfile.TemporaryDirectory() as staging:
            folder = Path(staging)
            assets = folder / "assets"
            assets.mkdir()
            content = json.dumps(encoding.as_json(), ensure_ascii=False)
            (assets / "fields.json").write_text(content, "utf-8")
            example, dynamic = _example(encoding)
            onnx_file = folder / "model.onnx"
            inputs, outputs = export_onnx(
                graph, example, dynamic, ["scores"], onnx_file, variadic=True
            )
            difference = self.parity(onnx_file, assets / "fields.json", model, data)
            signature = artifact.Signature(
                name=self.name,
                version=artifact.new_version(),
                task="ranking",
                inputs=inputs,
                outputs=outputs,
                opset=OPSET,
                feature_service=service,
                features=_read_by(encoding, features),
                limits={"candidates": self.candidates},
            )
            OmegaConf.save(config, folder / "config.yaml", resolve=True)
            report.write(folder / "metrics.json")
            card = model_card(signature, report, encoding, difference)
            (folder / "MODEL_CARD.md").write_text(card, "utf-8")
            published = artifact.write(folder, Path(self.root), signature)
        log.info("artifact: %s", published.path)
        return published.path

    def parity(self, graph: Path, fields: Path, model: Ranker, data: Any) -> float:
        """Raw rows through the written files, as serving will, against training's own way.

        Raises:
            ParityError: naming the row and both answers.
        """
        rows = _with_edges(data.encoding, data.samples(self.parity_rows))
        trained = model.probabilities(Examples.of(data.encoding, rows)).numpy()
        read = Encoding.from_json(json.loads(fields.read_text("utf-8")))
        raw = rows.to_dict(as_series=False)
        feed = {f.name: read.column(f, raw[f.name]) for f in read.fields.all}
        served = session(graph).run(["scores"], feed)[0]
        difference = np.abs(served - trained)
        worst = float(difference.max())
        if not worst <= self.tolerance:  # NaN compares as false
            row = int(np.nan_to_num(difference, nan=np.inf).argmax())
            raise ParityError(
                f"{graph}: row {row} of the test rows is {served[row]:.6f} in the graph and "
                f"{trained[row]:.6f} in the module, more than the tolerance {self.tolerance:.0e} "
                "apart; the artifact is not written"
            )
        log.info("parity: %d rows, probabilities within %.1e", len(rows), worst)
        return worst


def _example(encoding: Encoding) -> tuple[dict[str, Tensor], dict[str, dict[int, str]]]:
    """Inputs to trace with, and their dynamic axes."""
    example: dict[str, Tensor] = {}
    dynamic: dict[str, dict[int, str]] = {}
    for field in encoding.fields.all:
        dynamic[field.name] = {0: "batch"}
        if field.kind == "dense":
            example[field.name] = torch.tensor([0.5, float("nan")])
        elif field.kind == "categorical":
            example[field.name] = torch.tensor([1, 2])
        else:
            example[field.name] = torch.tensor([[1, 2], [1, 0]])
            dynamic[field.name] |= {1: f"{field.name}_length"}
    return example, dynamic


def _with_edges(encoding: Encoding, rows: pl.DataFrame) -> pl.DataFrame:
    """Also a row where all is missing, and one of empty bags."""
    nothing = rows.clear(1).with_columns(pl.lit(0, dtype=rows.schema["label"]).alias("label"))
    empty = [
        pl.lit([], dtype=rows.schema[f.name]).alias(f.name)
        for f in encoding.fields.all
        if f.kind == "multi_hot"
    ]
    return pl.concat([rows, nothing, nothing.with_columns(empty)])


def _read_by(encoding: Encoding, features: Mapping[str, Any]) -> dict[str, Any]:
    """Views as the signature names them, with the features that the fields read."""
    read: dict[str, Any] = {}
    for field in encoding.fields.all:
        view, _, name = (field.feature or "").partition(":")
        if view in features:
            entry = read.setdefault(view, {**features[view], "features": {}})
            entry["features"][name] = features[view]["features"][name]
    return read
