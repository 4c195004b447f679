"""Two towers as an artifact: the recommender's contract, and what makes vectors of new items."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from models.export import ParityError, ranking_parity
from models.recommender.datamodule import InteractionsDataModule
from models.recommender.export import RecommenderExport, Specs, TopK
from models.recommender.index.chooser import IndexChooser
from models.recommender.retrieval.catalog import CONTENT, ITEM_TOWER, QUERIES, TRAINED, write_index
from models.recommender.retrieval.datamodule import RetrievalDataModule
from models.recommender.retrieval.graphs import (
    UserGraph,
    export_item_graph,
    export_user_graph,
    export_user_vector_graph,
    user_inputs,
)
from models.recommender.retrieval.two_tower import TwoTowerRecommender
from models.recommender.retrieval.user_inputs import FIELDS, USER
from models.session import session

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class TwoTowerExport(RecommenderExport):
    """Write the artifact of two trained towers.

    Beside what every recommender leaves, assets hold the item tower as a graph of its own, the
    encoder of item rows, and the ids that training knew: all that new items need. Up to
    `exact_limit` items the graph ranks the whole catalog itself; above, it answers the user's
    vector, and an index chosen by measurement finds the items. Where users have attributes, their
    fields and encoding are kept too, for whoever asks the graph.

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
        towers = _towers(module)
        batches = [b for users in (True, False) for b in self._asked(towers, data, users)]
        if not self._indexed(module):
            return ranking_parity(path, _Bound(towers, module.k), batches, self.tolerance)
        run, worst = session(path), 0.0
        for batch in batches:
            feed = {name: part.numpy() for name, part in batch.items() if name != "seen"}
            known = {n.removeprefix(USER): p for n, p in batch.items() if n.startswith(USER)}
            ours = _user_vectors(towers, batch["history"], known)
            worst = max(worst, float(np.abs(ours - run.run(None, feed)[0]).max()))
        if worst > self.tolerance:
            raise ParityError(
                f"{path}: user vectors differ by {worst:.2e}, more than the tolerance "
                f"{self.tolerance:.0e}; the artifact is not written"
            )
        return worst

    def _asked(
        self, towers: TwoTowerRecommender, data: InteractionsDataModule, known: bool
    ) -> list[dict[str, Tensor]]:
        """The samples, with what is known of their users, or with nothing known."""
        if not towers.knows_users and not known:
            return []  # the same again
        asked = zip(self._samples(data), self._sampled_rows(data), strict=True)
        users = data.test_task.users + 1
        return [
            batch | user_inputs(towers, users[rows] if known else torch.zeros_like(rows))
            for batch, rows in asked
        ]

    def _write_assets(self, folder: Path, module: TopK, data: InteractionsDataModule) -> None:
        assert isinstance(data, RetrievalDataModule), "two towers are trained on described items"
        towers = _towers(module)
        root = folder.parent
        (root / CONTENT).write_text(data.encoder.to_json(), "utf-8")
        if data.profiles is not None:
            told = json.dumps(data.profiles.encoding.as_json(), ensure_ascii=False)
            (folder / FIELDS).write_text(told, "utf-8")
        trained = towers.item_tower.trained.cpu().numpy()[1:]
        names = data.interactions.item_ids
        # An item without interactions has a row in the table of ids, but nothing was learnt there.
        known = {name: n + 1 for n, name in enumerate(names) if trained[n]}
        (root / TRAINED).write_text(json.dumps(known, ensure_ascii=False), "utf-8")
        task = data.test_task
        rows = torch.randperm(len(task), generator=torch.Generator().manual_seed(0))[: self.queries]
        history = task.histories.take(rows).recent(self.max_length).pad("left")
        queries = _user_vectors(towers, history, towers.profile(task.users[rows] + 1))
        np.save(root / QUERIES, queries, allow_pickle=False)
        if self._indexed(module):
            with torch.inference_mode():
                table = towers.item_table().numpy()
            write_index(root, self.index, table, queries)


def _towers(module: TopK) -> TwoTowerRecommender:
    return cast(TwoTowerRecommender, module.scorer)


def _user_vectors(
    towers: TwoTowerRecommender, history: Tensor, profile: Mapping[str, Tensor]
) -> np.ndarray:
    with torch.inference_mode():
        return towers.user_vectors(history, towers.catalog(), profile).numpy()


class _Bound(nn.Module):
    """The user's graph with the model's own catalog: history, seen, what is known → the list."""

    def __init__(self, towers: TwoTowerRecommender, k: int) -> None:
        super().__init__()
        self.graph = UserGraph(towers, k)

    def forward(self, history: Tensor, seen: Tensor, *known: Tensor) -> tuple[Tensor, Tensor]:
        found: tuple[Tensor, Tensor] = self.graph(history, seen, self.graph.model.catalog(), *known)
        return found
