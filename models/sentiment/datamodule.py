"""Texts from any reader: cleaned, split, cut into tokens, batched by length."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl
import pytorch_lightning as lightning
from numpy.typing import NDArray
from tokenizers import Tokenizer

from models.sentiment.buckets import LengthBuckets
from models.sentiment.cleaning import Cleaner
from models.sentiment.embeddings import Vectors
from models.sentiment.review import read_review, reviewed
from models.sentiment.splits import Split, duplicates_across, whole
from models.sentiment.text_reader import Reading, TextReader
from models.sentiment.texts import Classes, Texts, set_aside, texts_of

log = logging.getLogger(__name__)


class Reader(Protocol):
    """Anything that reads columns text, label, split, key."""

    def read(self) -> pl.DataFrame: ...


class Splitter(Protocol):
    """Anything that tells training, validation and test apart."""

    def split(self, texts: Texts) -> Split: ...


class VectorSource(Protocol):
    """Anything that has vectors for a vocabulary."""

    def of(self, tokenizer: Tokenizer) -> Vectors: ...


class TextsDataModule(lightning.LightningDataModule):
    """See the module.

    Args:
        tokenizer: called with the cleaned texts of the training split.
        vectors: word vectors for the vocabulary, or None.
        max_length: tokens that the model reads at once; longer texts are cut into pieces in
            evaluation and serving, and only their first piece is trained on.
        duplicates: what to do with texts that lie in several splits: "report", or "drop" them
            from training and validation.
        language: ISO 639-1 code of the training texts; None: texts of any are welcome.
        reviewed: a review file whose verdicts correct labels; see `label_errors`.
        teacher: called with this module, makes a `TransferSet` to train on instead.
        rejects: CSV for rows without a usable text or label.
        reports: folder for duplicates.csv.
        max_reject_share: more unusable rows fail the run.
    """

    def __init__(
        self,
        name: str,
        reader: Reader,
        classes: Classes,
        split: Splitter,
        cleaning: Sequence[str],
        tokenizer: Callable[[Iterable[str]], Tokenizer],
        max_length: int,
        batch_size: int,
        rejects: str,
        reports: str,
        vectors: VectorSource | None = None,
        duplicates: str = "report",
        max_reject_share: float = 0.01,
        language: str | None = "en",
        reviewed: str | None = None,
        teacher: Callable[..., Any] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if duplicates not in ("report", "drop"):
            raise ValueError(f"duplicates is {duplicates!r}; it must be 'report' or 'drop'")
        self.name = name
        self.reader = reader
        self.classes = classes
        self.splitter = split
        self.cleaner = Cleaner(cleaning)
        self.make_tokenizer = tokenizer
        self.max_length = max_length
        self.batch_size = batch_size
        self.rejects = Path(rejects)
        self.reports = Path(reports)
        self.vector_source = vectors
        self.duplicates = duplicates
        self.max_reject_share = max_reject_share
        self.language = language
        self.reviewed = reviewed
        self.make_teacher = teacher
        self.seed = seed
        self._ready = False

    def prepare(self) -> None:
        """Read, split and tokenize once; later calls do nothing.

        Raises:
            TextError: too many rows cannot be used, or a split lacks a class.
        """
        if self._ready:
            return
        self.texts, refused = texts_of(self.reader.read(), self.classes)
        name = str(self.name)  # Lightning's base class allows None
        set_aside(name, refused, len(self.texts), self.rejects, self.max_reject_share)
        if self.reviewed is not None:
            verdicts = read_review(Path(self.reviewed), self.texts.classes)
            self.texts = reviewed(self.texts, verdicts)
        self.split = self.splitter.split(self.texts)
        self._look_for_duplicates()
        known = [self.cleaner(self.texts.text[i]) for i in self.split.train]
        self.tokenizer = self.make_tokenizer(known)
        self.text_reader = TextReader(self.cleaner, self.tokenizer, self.max_length)
        self.vectors = self.vector_source.of(self.tokenizer) if self.vector_source else None
        self.readings = self.text_reader.read(self.texts.text)
        self._ready = True
        log.info(
            "%s: %d texts, classes %s; train %d, validation %d, test %d; %d tokens known",
            self.name, len(self.texts), ", ".join(self.texts.classes),
            *(len(part) for part in self.split), self.tokenizer.get_vocab_size(),
        )  # fmt: skip

    def model_arguments(self) -> dict[str, Any]:
        """What a model must know of the data."""
        labels = self.texts.label[self.split.train]
        counts = np.bincount(labels, minlength=len(self.texts.classes)).tolist()
        known = {"vocabulary": self.tokenizer.get_vocab_size(), "counts": counts}
        return known if self.vectors is None else known | {"vectors": self.vectors}

    def readings_of(self, rows: NDArray[np.integer]) -> list[Reading]:
        """What the model reads of these texts."""
        return [self.readings[row] for row in rows.tolist()]

    def train_dataloader(self) -> LengthBuckets:
        rows = self.split.train
        if self.make_teacher is not None:
            taught = self.make_teacher(self)
            return LengthBuckets(
                taught.ids, taught.labels, self.batch_size, True, self.seed, taught=taught.logits
            )
        pieces = [r.pieces[0] for r in self.readings_of(rows)]
        return LengthBuckets(pieces, self.texts.label[rows], self.batch_size, True, self.seed)

    def val_dataloader(self) -> LengthBuckets:
        rows = self.split.validation
        pieces = [r.pieces[0] for r in self.readings_of(rows)]
        return LengthBuckets(pieces, self.texts.label[rows], 4 * self.batch_size, False, 0)

    def describe(self) -> dict[str, Any]:
        """The `data` part of `metrics.json`."""
        return {
            "name": self.name,
            "rows": len(self.texts),
            "classes": list(self.texts.classes),
            "train": len(self.split.train),
            "validation": len(self.split.validation),
            "test": len(self.split.test),
            "duplicates_across_splits": self.n_duplicates,
            "sha256": self.texts.sha256(),
            "vocabulary": self.tokenizer.get_vocab_size(),
            "vector_coverage": None if self.vectors is None else round(self.vectors.coverage, 4),
        }

    def _look_for_duplicates(self) -> None:
        found = duplicates_across(self.texts, self.split)
        self.n_duplicates = len(found)
        if not found:
            return
        self.reports.mkdir(parents=True, exist_ok=True)
        path = self.reports / "duplicates.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "places"])
            writer.writerows([d.text, "; ".join(d.places)] for d in found)
        log.warning("%d texts lie in several splits; see %s", len(found), path)
        if self.duplicates == "drop":
            self._drop(found)

    def _drop(self, found: Sequence[Any]) -> None:
        """What is in the test stays there only; what is in validation leaves training."""
        normal = [" ".join(t.lower().split()) for t in self.texts.text]
        leaked = {" ".join(d.text.lower().split()) for d in found}
        test = {normal[i] for i in self.split.test} & leaked
        validation = {normal[i] for i in self.split.validation} & leaked
        train, checked, tested = self.split
        left = Split(
            train[[normal[i] not in test | validation for i in train]],
            checked[[normal[i] not in test for i in checked]],
            tested,
        )
        self.split = whole(self.texts, left)
