"""The catalog of a training and what is known of it; items without a row are reported, not lost."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl

from models.pretrained import TextVectors
from models.recommender.interactions import DataError
from models.recommender.retrieval.content import ItemContent
from models.recommender.retrieval.content_encoder import Columns, ContentEncoder

log = logging.getLogger(__name__)


class ItemReader(Protocol):
    """Anything that reads items: item_id (text, unique) and columns about them."""

    def read(self) -> pl.DataFrame: ...


@dataclass
class ItemSource:
    """Read items and bring them into the order of a vocabulary.

    Args:
        columns: see `content_encoder.Columns`.
        min_count: training items that must share a category value for it to get a code.
        text_cache: folder for text vectors, each computed once; None: computed every time.
        missing: file for the ids of the vocabulary that have no row; written if there are any.
    """

    reader: ItemReader
    columns: Mapping[str, Any]
    missing: str | Path
    min_count: int = 2
    text_cache: str | None = None

    def load(self, item_ids: pl.Series, trained: np.ndarray) -> tuple[ContentEncoder, ItemContent]:
        """What the encoder learnt, and content [V + 1] by graph id (row 0 is padding).

        Args:
            item_ids: the vocabulary [V]; graph id = position + 1.
            trained: [V] bool, items that occur in training: the encoder learns from these alone.

        Raises:
            DataError: a column is missing, or no item of the vocabulary has a row.
        """
        columns = Columns.of(self.columns)
        table = self.reader.read()
        columns.check(table)
        found = item_ids.is_in(table["item_id"].implode()).to_numpy()
        self._report(item_ids, found, table)
        frame = pl.DataFrame({"item_id": item_ids}).join(
            table, on="item_id", how="left", maintain_order="left"
        )
        texts = TextVectors(columns.encoder, self.text_cache) if columns.encoder else None
        encoder = ContentEncoder.fit(frame.filter(trained & found), columns, self.min_count, texts)
        content = encoder.encode(frame, texts)
        nothing = int(content.empty().sum()) - int((~found).sum())
        if nothing > 0:
            log.warning("items: %d rows say nothing (no attribute, number or text)", nothing)
        return encoder, content.padded()

    def _report(self, item_ids: pl.Series, found: np.ndarray, table: pl.DataFrame) -> None:
        if not found.any():
            raise DataError(
                f"none of the {len(item_ids)} items in the interactions has a row among the "
                f"{len(table)} items that were read; their ids begin {item_ids.head(3).to_list()} "
                f"there and {table['item_id'].head(3).to_list()} here"
            )
        lacking = item_ids.filter(~pl.Series(found))
        if len(lacking):
            path = Path(self.missing)
            path.parent.mkdir(parents=True, exist_ok=True)
            lacking.alias("item_id").to_frame().write_csv(path)
            log.warning(
                "items: %d of %d have no row and count as items without attributes; see %s",
                len(lacking),
                len(item_ids),
                path,
            )
