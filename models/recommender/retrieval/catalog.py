"""The catalog of a two-tower artifact: its vectors, and how it takes in items without training."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import numpy as np
import onnx
import polars as pl

from models import artifact
from models.artifact import Artifact, ArtifactError
from models.pretrained import TextVectors
from models.recommender.index.chooser import IndexChooser
from models.recommender.interactions import DataError
from models.recommender.readers.attributes import KEY, AttributeReader
from models.recommender.retrieval.content import ItemContent
from models.recommender.retrieval.content_encoder import ContentEncoder, report_words
from models.recommender.retrieval.graphs import bind_table, table_of
from models.session import session

log = logging.getLogger(__name__)

ITEM_TOWER = "assets/item_tower.onnx"
CONTENT = "assets/content.json"
TRAINED = "assets/trained_items.json"
QUERIES = "assets/queries.npy"
INDEX = "assets/index.faiss"
MEASURED = "assets/index.json"


class Counts(NamedTuple):
    """What an indexing did with items."""

    updated: int
    new: int
    kept: int
    left_out: int


@dataclass
class ItemIndexer:
    """Embed a table of items with an artifact's item tower, and publish a version that has them.

    Nothing is trained. Items that training knew keep what it learnt of their id; others are placed
    by their content alone, so a new item that has none is left out and listed.

    Args:
        reader: where the items are read; columns as in training.
        root: the folder of all artifacts.
        keep: keep items of the artifact that the table does not list; false drops them.
        index: chooses the index of a catalog that the graph does not rank itself.
        left_out: file for the ids of new items without content; written if there are any.
        text_cache: folder of text vectors; see `models.pretrained.TextVectors`.
    """

    reader: AttributeReader
    root: str
    keep: bool
    index: IndexChooser
    left_out: str | Path
    text_cache: str | None = None
    batch_size: int = 8192

    def __call__(self, source: Path) -> Path:
        """Write the next version of the artifact at `source`; returns its folder.

        Raises:
            ArtifactError: not an artifact of two towers.
            DataError: columns are missing, or no item is left.
        """
        old = artifact.load(source)
        if ITEM_TOWER not in old.signature.files:
            raise ArtifactError(
                f"{source}: has no {ITEM_TOWER}; only a two-tower model takes in items without "
                "training (experiment=recommender/two_tower)"
            )
        names, table, counts = self._catalog(old)
        log.info("items: %d new, %d updated, %d kept, %d left out", *_order(counts))
        with tempfile.TemporaryDirectory() as staging:
            folder = Path(staging) / "parts"
            shutil.copytree(old.path, folder, ignore=shutil.ignore_patterns(artifact.SIGNATURE))
            signature = self._write(folder, old, names, table, counts)
            published = artifact.write(folder, Path(self.root), signature)
        log.info("artifact: %s", published.path)
        return published.path

    def _catalog(self, old: Artifact) -> tuple[list[str], np.ndarray, Counts]:
        """All ids and the table [V + 1, D]: items of the artifact first, in their order."""
        rows = self.reader.read()
        names, vectors, unplaced = self._embed(old, rows)
        if unplaced:
            path = Path(self.left_out)
            path.parent.mkdir(parents=True, exist_ok=True)
            pl.DataFrame({"item_id": unplaced}).write_csv(path)
            log.warning(
                "items: %d new ones have neither attributes nor numbers nor text and are left "
                "out; see %s",
                len(unplaced),
                path,
            )
        had: list[str] = old.read_asset("items.json")
        before = table_of(onnx.load(str(old.model)))
        place = {name: n for n, name in enumerate(names)}
        listed = [name for name in had if self.keep or name in place]
        known = set(had)
        fresh = [name for name in names if name not in known]
        table = np.zeros((1 + len(listed) + len(fresh), before.shape[1]), dtype=np.float32)
        earlier = {name: n + 1 for n, name in enumerate(had)}
        for n, name in enumerate([*listed, *fresh], 1):
            at = place.get(name)
            table[n] = before[earlier[name]] if at is None else vectors[at]
        if len(table) == 1:
            raise DataError(f"{old.path}: no item is left; the table lists none that can be placed")
        updated = sum(name in place for name in listed)
        counts = Counts(updated, len(fresh), len(listed) - updated, len(unplaced))
        return [*listed, *fresh], table, counts

    def _embed(self, old: Artifact, rows: pl.DataFrame) -> tuple[list[str], np.ndarray, list[str]]:
        """Ids and vectors of the rows that can be placed, and the ids of those that cannot."""
        encoder = ContentEncoder.from_json(json.loads((old.path / CONTENT).read_text("utf-8")))
        encoder.columns.check(rows)
        for column in encoder.columns.numbers:
            report_words(rows, column, str(self.reader.path))
        name = encoder.columns.encoder
        content = encoder.encode(rows, TextVectors(name, self.text_cache) if name else None)
        trained: dict[str, int] = json.loads((old.path / TRAINED).read_text("utf-8"))
        ids = np.array([trained.get(item, 0) for item in rows[KEY]], dtype=np.int64)
        had = set(old.read_asset("items.json"))
        old_one = np.array([item in had for item in rows[KEY]], dtype=bool)
        empty = content.empty().numpy()
        placed = ~empty | (ids > 0)
        unplaced = rows[KEY].filter(pl.Series(~placed & ~old_one)).to_list()
        vectors = self._run(old, ids, content)
        return (
            rows[KEY].filter(pl.Series(placed)).to_list(),
            vectors[placed],
            unplaced,
        )

    def _run(self, old: Artifact, ids: np.ndarray, content: ItemContent) -> np.ndarray:
        run = session(old.path / ITEM_TOWER)
        widths = {i.name: i.shape for i in run.get_inputs()}
        parts = []
        for start in range(0, max(len(ids), 1), self.batch_size):
            rows = slice(start, start + self.batch_size)
            feed = {"ids": ids[rows]} | {
                name: getattr(content, name)[rows].numpy() for name in ItemContent.PARTS
            }
            parts.append(run.run(None, {n: v for n, v in feed.items() if n in widths})[0])
        return np.concatenate(parts)

    def _write(
        self,
        folder: Path,
        old: Artifact,
        names: list[str],
        table: np.ndarray,
        counts: Counts,
    ) -> artifact.Signature:
        """Change the copied parts; returns the new version's signature."""
        indexed = INDEX in old.signature.files
        k = min(int(old.signature.limits["k"]), len(names))
        model = folder / "model.onnx"
        inputs, outputs = bind_table(model, table, None if indexed else k)
        session(model)  # a graph that cannot be opened is not published
        (folder / "assets" / "items.json").write_text(
            json.dumps(names, ensure_ascii=False), "utf-8"
        )
        sold = set(names)
        popular = [row for row in old.read_asset("popular.json") if row["item"] in sold]
        (folder / "assets" / "popular.json").write_text(
            json.dumps(popular, ensure_ascii=False), "utf-8"
        )
        if indexed:
            queries = np.load(folder / QUERIES, allow_pickle=False)
            write_index(folder, self.index, table, queries)
        card = folder / "MODEL_CARD.md"
        card.write_text(card.read_text("utf-8") + _note(old, counts), "utf-8")
        return replace(
            old.signature,
            version=artifact.new_version(),
            inputs=inputs,
            outputs=outputs,
            limits={**old.signature.limits, "k": k},
            files={},
            created_at="",
        )


def write_index(
    folder: Path, chooser: IndexChooser, table: np.ndarray, queries: np.ndarray
) -> None:
    """Choose an index over `table` [V + 1, D] and leave it, and what was measured, in the assets.

    Answer n of the index is graph id n + 1.
    """
    choice = chooser.choose(table[1:], queries)
    log.info("index: %s at effort %d, recall %.4f", *choice.chosen[:3])
    faiss.write_index(choice.index, str(folder / INDEX))
    measured: Mapping[str, Any] = {
        "chosen": choice.chosen._asdict(),
        "measured": [row._asdict() for row in choice.measured],
        "unfinished": dict(choice.unfinished),
        "min_recall": chooser.min_recall,
        "k": chooser.k,
    }
    (folder / MEASURED).write_text(json.dumps(measured, indent=2), "utf-8")


def _order(counts: Counts) -> tuple[int, int, int, int]:
    return counts.new, counts.updated, counts.kept, counts.left_out


def _note(old: Artifact, counts: Counts) -> str:
    return (
        f"**Catalog.** Taken over from version {old.signature.version} without training: "
        f"{counts.new} items are new, {counts.updated} were embedded again, {counts.kept} kept as "
        "they were. The quality above is that of the training's catalog.\n\n"
    )
