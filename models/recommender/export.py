"""A trained recommender as an artifact: history and seen items in, the best k unseen items out."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from models import artifact
from models.export import OPSET, export_onnx, ranking_parity
from models.recommender.card import SEQUENTIAL, Description, model_card
from models.recommender.datamodule import InteractionsDataModule
from models.recommender.histories import Histories
from models.recommender.neighbours import Neighbourhood
from models.report import Report

log = logging.getLogger(__name__)

Specs = tuple[tuple[artifact.Tensor, ...], tuple[artifact.Tensor, ...]]
MASKED = -1e31  # the score of padding and seen items; the wire contract drops what is ≤ −1e30


class Scorer(Protocol):
    """What can be exported: a module with `score(history [B, T]) -> [B, V + 1]`."""

    def score(self, history: Tensor) -> Tensor: ...


class TopK(nn.Module):
    """history [B, T] left-padded, seen [B, S] 0-padded → items [B, k], scores [B, k]."""

    def __init__(self, scorer: nn.Module, k: int) -> None:
        super().__init__()
        self.scorer = scorer
        self.k = k

    def forward(self, history: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        scores = cast(Scorer, self.scorer).score(history)
        # Padding entries of `seen` are 0 and so mask the padding column as well.
        hidden = torch.cat([seen, torch.zeros_like(seen[:, :1])], dim=1)
        scores = scores.scatter(1, hidden, torch.full_like(hidden, MASKED, dtype=scores.dtype))
        best = scores.topk(self.k, dim=1)
        return best.indices, best.values


@dataclass
class RecommenderExport:
    """Write the artifact of a trained recommender.

    Args:
        root: the folder of all artifacts.
        k: length of the list that the graph returns (less if the catalog is smaller).
        max_length: most recent items that the model reads.
        popular: how many popular items to leave in the artifact, for users nobody knows yet.
        neighbours: which similar items of each item to leave in it; None: none.
        parity_users: held-out users on whom graph and module must agree.
        tolerance: largest allowed difference of a score.
        feature_service: where the gateway gets histories.
        features: the versions of the service's views; see `models.artifact.Signature`.
    """

    name: str
    root: str
    k: int
    max_length: int
    popular: int
    parity_users: int
    tolerance: float
    feature_service: str
    features: Mapping[str, Any] = field(default_factory=dict)
    neighbours: Neighbourhood | None = None

    def __call__(
        self,
        model: nn.Module,
        data: InteractionsDataModule,
        report: Report,
        config: DictConfig,
    ) -> Path:
        """Export, check parity, publish; returns the artifact's folder.

        Args:
            config: the run's configuration, kept resolved inside the artifact.

        Raises:
            ParityError: graph and module disagree; nothing is published then.
        """
        module = TopK(model.cpu().eval(), min(self.k, data.n_items))
        version = artifact.new_version()
        with tempfile.TemporaryDirectory() as staging:
            folder = Path(staging)
            (folder / "assets").mkdir()
            onnx_file = folder / "model.onnx"
            inputs, outputs = self._write_graph(module, onnx_file)
            difference = self._parity(onnx_file, module, data)
            asked = min(self.parity_users, len(data.test_task))
            log.info("parity: %d users, scores within %.1e", asked, difference)
            signature = artifact.Signature(
                name=self.name,
                version=version,
                task=self._task(module),
                inputs=inputs,
                outputs=outputs,
                opset=OPSET,
                feature_service=self.feature_service,
                features=_plain(self.features),
                vocabulary="assets/items.json",
                limits={"history": self.max_length, "k": module.k},
            )
            OmegaConf.save(config, folder / "config.yaml", resolve=True)
            description = getattr(model, "description", SEQUENTIAL)
            self._write_parts(folder, data, report, signature, difference, description)
            self._write_assets(folder / "assets", module, data)
            published = artifact.write(folder, Path(self.root), signature)
        log.info("artifact: %s", published.path)
        return published.path

    def _task(self, module: TopK) -> str:
        return "recommendation"

    def _write_graph(self, module: TopK, path: Path) -> Specs:
        example = {
            "history": torch.tensor([[0, 1, 1], [1, 1, 1]]),
            "seen": torch.tensor([[0, 1, 1], [1, 1, 1]]),
        }
        dynamic = {
            "history": {0: "batch", 1: "time"},
            "seen": {0: "batch", 1: "seen"},
        }
        return export_onnx(module, example, dynamic, ["items", "scores"], path)

    def _parity(self, path: Path, module: TopK, data: InteractionsDataModule) -> float:
        """The largest difference of a score; raises `ParityError` if it is too large."""
        return ranking_parity(path, module, self._samples(data), self.tolerance)

    def _write_assets(self, folder: Path, module: TopK, data: InteractionsDataModule) -> None:
        """What a kind of model leaves beside the vocabulary; most leave nothing."""

    def _sampled_rows(self, data: InteractionsDataModule) -> tuple[Tensor, ...]:
        """Questions of the test, of histories of all lengths, in batches of like ones."""
        order = torch.argsort(data.test_task.histories.lengths)
        spread = torch.linspace(0, len(order) - 1, min(self.parity_users, len(order))).long()
        return cast("tuple[Tensor, ...]", order[spread].split(32))

    def _samples(self, data: InteractionsDataModule) -> list[dict[str, Tensor]]:
        """Held-out users of all lengths, in batches of several widths."""
        batches = []
        for rows in self._sampled_rows(data):
            seen = data.test_task.histories.take(rows)
            batches.append(
                {"history": seen.recent(self.max_length).pad("left"), "seen": seen.pad("left")}
            )
        return batches

    def _write_parts(
        self,
        folder: Path,
        data: InteractionsDataModule,
        report: Report,
        signature: artifact.Signature,
        difference: float,
        description: Description,
    ) -> None:
        assets = folder / "assets"
        names = data.interactions.item_ids.to_list()
        (assets / "items.json").write_text(json.dumps(names, ensure_ascii=False), "utf-8")
        counts = torch.bincount(data.known_items(), minlength=data.n_items + 1)[1:]
        top = counts.topk(min(self.popular, data.n_items))
        popular = [
            {"item": names[i], "score": float(n)}
            for i, n in zip(top.indices.tolist(), top.values.tolist(), strict=True)
        ]
        (assets / "popular.json").write_text(json.dumps(popular, ensure_ascii=False), "utf-8")
        if self.neighbours is not None:
            known = Histories.of_users(data.interactions, data.known)
            similar = self.neighbours.of(known, data.n_items)
            (assets / "neighbours.json").write_text(json.dumps(similar), "utf-8")
        report.write(folder / "metrics.json")
        card = model_card(signature, report, difference, description)
        (folder / "MODEL_CARD.md").write_text(card, "utf-8")


def _plain(features: Mapping[str, Any]) -> dict[str, Any]:
    """Without OmegaConf's containers, for JSON."""
    content = OmegaConf.to_container(OmegaConf.create(dict(features)), resolve=True)
    return cast(dict[str, Any], content)
