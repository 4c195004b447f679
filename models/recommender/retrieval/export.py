"""Two towers as an artifact: the recommender's contract, and what makes vectors of new items."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch

from models.export import ParityError, session
from models.recommender.datamodule import InteractionsDataModule
from models.recommender.export import RecommenderExport, Specs, TopK
from models.recommender.index.chooser import IndexChooser
from models.recommender.retrieval.catalog import CONTENT, ITEM_TOWER, QUERIES, TRAINED, write_index
from models.recommender.retrieval.datamodule import RetrievalDataModule
from models.recommender.retrieval.graphs import (
    export_item_graph,
    export_user_graph,
    export_user_vector_graph,
)
from models.recommender.retrieval.two_tower import TwoTowerRecommender

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class TwoTowerExport(RecommenderExport):
    """Write the artifact of two trained towers.

    Beside what every recommender leaves, assets hold the item tower as a graph of its own, the
    encoder of item rows, and the ids that training knew: all that new items need. Up to
    `exact_limit` items the graph ranks the whole catalog itself; above, it answers the user's
    vector, and an index chosen by measurement finds the items.

    Args:
        exact_limit: items that the graph ranks exactly.
        index: chooses the index above that.
        queries: user vectors kept to choose an index by, also for later catalogs.
    """

    index: IndexChooser
    exact_limit: int
    queries: int

    def _indexed(self, module: TopK) -> bool:
        return _towers(module).n_items > self.exact_limit

    def _task(self, module: TopK) -> str:
        return "indexed_recommendation" if self._indexed(module) else super()._task(module)

    def _write_graph(self, module: TopK, path: Path) -> Specs:
        towers = _towers(module)
        export_item_graph(towers, path.parent / ITEM_TOWER)
        if self._indexed(module):
            return export_user_vector_graph(towers, path)
        return export_user_graph(towers, module.k, path)

    def _parity(self, path: Path, module: TopK, data: InteractionsDataModule) -> float:
        if not self._indexed(module):
            return super()._parity(path, module, data)
        run, towers, worst = session(path), _towers(module), 0.0
        for batch in self._samples(data):
            ours = _user_vectors(towers, batch["history"])
            theirs = run.run(None, {"history": batch["history"].numpy()})[0]
            worst = max(worst, float(np.abs(ours - theirs).max()))
        if worst > self.tolerance:
            raise ParityError(
                f"{path}: user vectors differ by {worst:.2e}, more than the tolerance "
                f"{self.tolerance:.0e}; the artifact is not written"
            )
        return worst

    def _write_assets(self, folder: Path, module: TopK, data: InteractionsDataModule) -> None:
        assert isinstance(data, RetrievalDataModule), "two towers are trained on described items"
        towers = _towers(module)
        root = folder.parent
        (root / CONTENT).write_text(data.encoder.to_json(), "utf-8")
        trained = towers.item_tower.trained.cpu().numpy()[1:]
        names = data.interactions.item_ids
        # An item without interactions has a row in the table of ids, but nothing was learnt there.
        known = {name: n + 1 for n, name in enumerate(names) if trained[n]}
        (root / TRAINED).write_text(json.dumps(known, ensure_ascii=False), "utf-8")
        task = data.test_task
        rows = torch.randperm(len(task), generator=torch.Generator().manual_seed(0))[: self.queries]
        history = task.histories.take(rows).recent(self.max_length).pad("left")
        queries = _user_vectors(towers, history)
        np.save(root / QUERIES, queries, allow_pickle=False)
        if self._indexed(module):
            with torch.inference_mode():
                table = towers.item_table().numpy()
            write_index(root, self.index, table, queries)


def _towers(module: TopK) -> TwoTowerRecommender:
    return cast(TwoTowerRecommender, module.scorer)


def _user_vectors(towers: TwoTowerRecommender, history: torch.Tensor) -> np.ndarray:
    with torch.inference_mode():
        return towers.user_vectors(history, towers.catalog()).numpy()
