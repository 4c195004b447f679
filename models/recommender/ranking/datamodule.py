"""Rows from any reader, split by time, coded and batched; everything is in memory.

Limits: about 4 bytes a number and 8 bytes an id; larger data are streamed, see `stream.py`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import polars as pl
import pytorch_lightning as lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from models.recommender.batches import due_epoch
from models.recommender.interactions import DataError
from models.recommender.ranking.encoding import Encoding
from models.recommender.ranking.examples import Batch, Examples
from models.recommender.ranking.fields import Fields
from models.recommender.ranking.rows import RowReader, Rows
from models.recommender.ranking.shape import Shape
from models.recommender.ranking.vocabularies import encoding_of
from models.recommender.splits import Split, Timed

log = logging.getLogger(__name__)


class TimeSplitter(Protocol):
    """Anything that tells training, validation and test rows apart by their moments."""

    def split(self, data: Timed) -> Split: ...


class RowBatches(IterableDataset[Batch]):
    """Batches of examples, shuffled anew in every epoch.

    Under distributed training each rank takes every n-th row of each batch, so that together they
    see what one process sees; the last batch is cut to what all ranks can share evenly.

    Args:
        batch_size: rows a step, of all ranks together.
        seed: of the order; None keeps the rows in order.
        epoch: asked when a pass begins; the order depends on it.
    """

    def __init__(
        self,
        examples: Examples,
        batch_size: int,
        seed: int | None,
        rank: int = 0,
        world: int = 1,
        epoch: Callable[[], int] = lambda: 0,
    ) -> None:
        self.examples = examples
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world = world
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self._bounds())

    def __iter__(self) -> Iterator[Batch]:
        order = torch.arange(len(self.examples))
        if self.seed is not None:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch())
            order = torch.randperm(len(order), generator=generator)
        for start, end in self._bounds():
            yield self.examples.take(order[start + self.rank : end : self.world])

    def _bounds(self) -> list[tuple[int, int]]:
        n = len(self.examples) - len(self.examples) % self.world
        starts = range(0, n, self.batch_size)
        bounds = [(start, min(start + self.batch_size, n)) for start in starts]
        return [(a, b - (b - a) % self.world) for a, b in bounds if b - a >= self.world]


class RankingDataModule(lightning.LightningDataModule):
    """Read, split and code rows; serve training and validation batches.

    Args:
        reader, split: parts chosen by the config; the split looks at times only.
        fields: name → settings; see `models.recommender.ranking.fields.Field`.
        batch_size: rows a step, of all processes together.

    Raises:
        DataError: nothing to learn from or to evaluate on; a field without a column.
        FieldError: fields that do not make a row.
    """

    def __init__(
        self,
        name: str,
        reader: RowReader,
        split: TimeSplitter,
        fields: Mapping[str, Mapping[str, Any] | None],
        batch_size: int,
        seed: int = 0,
        path: str | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.reader = reader
        self.splitter = split
        self.fields = Fields.of(fields)
        self.batch_size = batch_size
        self.seed = seed
        self.path = path
        self._ready = False

    def prepare(self) -> None:
        """Read, split and code once; later calls do nothing."""
        if self._ready:
            return
        started = time.perf_counter()
        self.rows: Rows = self.reader.read()
        self.rows.require(self.fields)
        parts = self.splitter.split(self.rows)
        masks = {"train": parts.train, "validation": parts.validation, "test": parts.test}
        for name, mask in masks.items():
            labels = self.rows.frame["label"].filter(mask)
            if labels.n_unique() < 2:
                raise DataError(
                    f"{self.rows.source}: the {name} part has {len(labels)} rows, "
                    f"{int(labels.sum() or 0)} of them positive; each part needs rows of both kinds"
                )
        self.encoding: Encoding = encoding_of(self.fields, self.rows.frame.filter(parts.train))
        self.train, self.validation, self.test = (
            Examples.of(self.encoding, self.rows.frame.filter(mask)) for mask in masks.values()
        )
        self.test_mask = parts.test
        self.shape = Shape.of(self.encoding, self.train.dense.numpy(), self.train.label.numpy())
        self._ready = True
        log.info(
            "%s: %d rows, %.1f%% positive; train %d, validate %d, test %d; %d fields, %d table "
            "rows (%.1f s)",
            self.name,
            len(self.rows.frame),
            100 * float(self.rows.frame["label"].mean() or 0),  # type: ignore[arg-type]
            *(len(part) for part in (self.train, self.validation, self.test)),
            len(self.fields.all),
            sum(t.rows for t in self.shape.tables),
            time.perf_counter() - started,
        )

    def model_arguments(self) -> dict[str, Any]:
        """What a model can know only from the data."""
        return {"shape": self.shape}

    def samples(self, n: int) -> pl.DataFrame:
        """At most `n` raw test rows, evenly spaced: `label` and each field."""
        names = ["label", *(f.name for f in self.fields.all)]
        rows = self.rows.frame.filter(self.test_mask).select(names)
        return rows.gather_every(max(len(rows) // n, 1)).head(n)

    def trained_on(self) -> tuple[str | None, dict[str, Any]]:
        """The feature service of the rows and the versions of its views, as far as fields read."""
        return self.rows.service, dict(self.rows.features)

    def describe(self) -> dict[str, Any]:
        """The `data` part of `metrics.json`."""
        return {
            "name": self.name,
            "rows": len(self.rows.frame),
            "train_rows": len(self.train),
            "test_rows": len(self.test),
            "test_positives": int(self.test.label.sum()),
            "fields": [f.name for f in self.fields.all],
            "sha256": self.rows.sha256(),
        }

    def setup(self, stage: str) -> None:
        self.prepare()

    def train_dataloader(self) -> DataLoader[Batch]:
        return self._loader(self.train, self.batch_size, self.seed)

    def val_dataloader(self) -> DataLoader[Batch]:
        return self._loader(self.validation, max(self.batch_size, 8192), None)

    def _loader(self, examples: Examples, size: int, seed: int | None) -> DataLoader[Batch]:
        trainer = self.trainer
        batches = RowBatches(
            examples,
            size,
            seed,
            rank=trainer.global_rank if trainer else 0,
            world=trainer.world_size if trainer else 1,
            epoch=lambda: due_epoch(self.trainer),
        )
        return DataLoader(batches, batch_size=None)


def select(examples: Examples, most: int | None) -> Examples:
    """At most so many examples, evenly spaced."""
    if most is None or len(examples) <= most:
        return examples
    rows: Tensor = torch.linspace(0, len(examples) - 1, most).long()
    return examples.only(rows)
