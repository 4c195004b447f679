"""A fitted rating model as an artifact: user and item in, stars out."""

from __future__ import annotations

import json
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from models import artifact
from models.export import OPSET, ParityError, export_onnx
from models.recommender.interactions import Interactions
from models.recommender.ratings.card import model_card
from models.recommender.ratings.data import RatingsData
from models.recommender.ratings.model import RatingModel
from models.report import Report
from models.session import session

log = logging.getLogger(__name__)


@dataclass
class RatingExport:
    """Write the artifact of a fitted rating model.

    Args:
        root: the folder of all artifacts.
        parity_pairs: held-out pairs on which the graph must answer as the module does; each is
            also asked with an unknown user, and with an unknown item.
        tolerance: largest allowed difference, in stars.
    """

    name: str
    root: str
    parity_pairs: int
    tolerance: float

    def __call__(
        self,
        model: RatingModel,
        data: RatingsData,
        report: Report,
        config: DictConfig,
    ) -> Path:
        """Export, check parity, publish; returns the artifact's folder.

        Raises:
            ParityError: graph and module disagree; nothing is published then.
        """
        version = artifact.new_version()
        pairs = self._pairs(data.interactions, data.split.test)
        with tempfile.TemporaryDirectory() as staging:
            folder = Path(staging)
            file = folder / "model.onnx"
            example = {"user": torch.tensor([0, 1]), "item": torch.tensor([0, 1])}
            batch = {name: {0: "batch"} for name in example}
            inputs, outputs = export_onnx(model.eval(), example, batch, ["rating"], file)
            worst = parity(file, model, *pairs, self.tolerance)
            log.info("parity: %d pairs within %.1e", len(pairs[0]), worst)
            signature = artifact.Signature(
                name=self.name,
                version=version,
                task="rating",
                inputs=inputs,
                outputs=outputs,
                opset=OPSET,
                vocabulary="assets/items.json",
            )
            OmegaConf.save(config, folder / "config.yaml", resolve=True)
            assets = folder / "assets"
            assets.mkdir()
            contents = {
                "items.json": data.interactions.item_ids.to_list(),
                "users.json": data.interactions.user_ids.to_list(),
                "scale.json": [model.low, model.high],
            }
            for name, content in contents.items():
                (assets / name).write_text(json.dumps(content, ensure_ascii=False), "utf-8")
            report.write(folder / "metrics.json")
            card = model_card(signature, report, worst, model.what)
            (folder / "MODEL_CARD.md").write_text(card, "utf-8")
            published = artifact.write(folder, Path(self.root), signature)
        log.info("artifact: %s", published.path)
        return published.path

    def _pairs(self, data: Interactions, test: np.ndarray) -> tuple[Tensor, Tensor]:
        rows = np.flatnonzero(test)
        rows = rows[np.unique(np.linspace(0, len(rows) - 1, self.parity_pairs).astype(int))]
        user, item = torch.from_numpy(data.user[rows] + 1), torch.from_numpy(data.item[rows])
        nobody = torch.zeros_like(user)
        return torch.cat([user, nobody, user]), torch.cat([item, item, nobody])


def parity(file: Path, model: RatingModel, user: Tensor, item: Tensor, tolerance: float) -> float:
    """The largest difference between graph and module, in stars.

    Raises:
        ParityError: more than `tolerance`, or an answer that is not finite.
    """
    answer = session(file).run(["rating"], {"user": user.numpy(), "item": item.numpy()})[0]
    with torch.inference_mode():
        right = model(user, item).numpy()
    difference = np.abs(right - answer)
    worst = float(difference.max(initial=0.0))
    if not worst <= tolerance:  # NaN compares with nothing: it must not pass
        row = int(np.nan_to_num(difference, nan=np.inf).argmax())
        raise ParityError(
            f"{file.name}: user {int(user[row])} and item {int(item[row])} give {answer[row]} in "
            f"the graph and {right[row]} in the module, further apart than {tolerance:.0e}; the "
            "artifact is not written"
        )
    return worst
