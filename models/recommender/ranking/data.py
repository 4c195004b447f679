"""What a ranker's data modules share: parts are coded, measured and batched alike.

A subclass reads the parts; see `datamodule.py` for rows in memory, `stream.py` for blocks.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import polars as pl
import pytorch_lightning as lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from models.recommender.interactions import DataError
from models.recommender.ranking.encoding import Encoding
from models.recommender.ranking.examples import Batch, Examples
from models.recommender.ranking.fields import Fields
from models.recommender.ranking.shape import Shape
from models.recommender.ranking.vocabularies import encoding_of

log = logging.getLogger(__name__)

PARTS = ("train", "validation", "test")


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


class RankingData(lightning.LightningDataModule):
    """Code the parts that a subclass reads; serve validation batches.

    Args:
        name: the data's, in reports and messages.
        fields: name → settings; see `models.recommender.ranking.fields.Field`.
        batch_size: rows a step, of all processes together.

    Raises:
        DataError: nothing to learn from or to evaluate on; a field without a column.
        FieldError: fields that do not make a row.
    """

    encoding: Encoding

    def __init__(
        self,
        name: str,
        fields: Mapping[str, Mapping[str, Any] | None],
        batch_size: int,
        seed: int,
        path: str | None,
    ) -> None:
        super().__init__()
        self.name: str = name
        self.fields = Fields.of(fields)
        self.batch_size = batch_size
        self.seed = seed
        self.path = path
        self._ready = False

    def read_parts(self) -> dict[str, pl.DataFrame]:
        """Rows with `label` and every field, by the names in `PARTS`."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Read and code once; later calls do nothing."""
        if self._ready:
            return
        started = time.perf_counter()
        parts = self.read_parts()
        for part in PARTS:
            labels = parts[part]["label"]
            if labels.n_unique() < 2:
                raise DataError(
                    f"{self.path or self.name}: the {part} part has {len(labels)} rows, "
                    f"{int(labels.sum() or 0)} of them positive; each part needs rows of both kinds"
                )
        self.encoding = encoding_of(self.fields, parts["train"])
        self.train, self.validation, self.test = (
            Examples.of(self.encoding, parts[part]) for part in PARTS
        )
        self._test_rows = parts["test"].select("label", *(f.name for f in self.fields.all))
        self.shape = Shape.of(self.encoding, self.train.dense.numpy(), self.train.label.numpy())
        self._ready = True
        log.info(
            "%s: train %d rows, %.1f%% positive, validate %d, test %d; %d fields, %d table rows "
            "(%.1f s)",
            self.name,
            len(self.train),
            100 * float(self.train.label.mean()),
            len(self.validation),
            len(self.test),
            len(self.fields.all),
            sum(t.rows for t in self.shape.tables),
            time.perf_counter() - started,
        )

    def model_arguments(self) -> dict[str, Any]:
        """What a model can know only from the data."""
        return {"shape": self.shape}

    def samples(self, n: int) -> pl.DataFrame:
        """At most `n` raw test rows, evenly spaced: `label` and each field."""
        return self._test_rows.gather_every(max(len(self._test_rows) // n, 1)).head(n)

    def trained_on(self) -> tuple[str | None, dict[str, Any]]:
        """The feature service of the rows and the versions of its views; None: no feature store."""
        return None, {}

    def describe(self) -> dict[str, Any]:
        """The `data` part of `metrics.json`."""
        return {
            "name": self.name,
            "train_rows": len(self.train),
            "test_rows": len(self.test),
            "test_positives": int(self.test.label.sum()),
            "fields": [f.name for f in self.fields.all],
        }

    def setup(self, stage: str) -> None:
        self.prepare()

    def val_dataloader(self) -> DataLoader[Batch]:
        return self.loader(self.validation, max(self.batch_size, 8192), None)

    def loader(
        self, examples: Examples, size: int, seed: int | None, epoch: Callable[[], int] = lambda: 0
    ) -> DataLoader[Batch]:
        """This process's share of batches of examples; see `RowBatches`."""
        rank, world = self.place()
        return DataLoader(RowBatches(examples, size, seed, rank, world, epoch), batch_size=None)

    def place(self) -> tuple[int, int]:
        """This process's rank, and how many there are."""
        trainer = self.trainer
        return (trainer.global_rank, trainer.world_size) if trainer else (0, 1)


def select(examples: Examples, most: int | None) -> Examples:
    """At most so many examples, evenly spaced."""
    if most is None or len(examples) <= most:
        return examples
    rows: Tensor = torch.linspace(0, len(examples) - 1, most).long()
    return examples.only(rows)
