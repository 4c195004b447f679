"""Training, validation and test; and what lies in two of them."""

from __future__ import annotations

import logging
from collections import defaultdict
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.sentiment.texts import TextError, Texts

log = logging.getLogger(__name__)

NAMES = ("train", "validation", "test")


class Split(NamedTuple):
    """Row numbers of each part."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]


class GivenSplit:
    """The split that the data brings; where it has no validation part, one is taken from training.

    Args:
        validation: share of training to take then, stratified by class.
    """

    def __init__(self, validation: float = 0.1, seed: int = 0) -> None:
        self.validation = validation
        self.seed = seed

    def split(self, texts: Texts) -> Split:
        """Raises `TextError` for a split of another name, or an empty part."""
        named = set(texts.split.tolist())
        if named == {""}:
            raise TextError(
                "the data brings no split; name its column or files, or take data/split=stratified"
            )
        unknown = sorted(named - set(NAMES))
        if unknown:
            raise TextError(f"split {unknown[0]!r} is none of {', '.join(NAMES)}")
        train, validation, test = (np.flatnonzero(texts.split == n) for n in NAMES)
        if not len(validation):
            train, validation = _parted(texts, train, self.validation, self.seed)
        return whole(texts, Split(train, validation, test))


class StratifiedSplit:
    """Shares of each class, drawn at random.

    Args:
        validation, test: shares of all.
    """

    def __init__(self, validation: float = 0.1, test: float = 0.1, seed: int = 0) -> None:
        if min(validation, test) <= 0 or validation + test >= 1:
            raise TextError(
                f"validation={validation} and test={test} must be above 0, and below 1 together"
            )
        self.validation = validation
        self.test = test
        self.seed = seed

    def split(self, texts: Texts) -> Split:
        """Raises `TextError` for a class too small to lie in all three parts."""
        if (texts.split != "").any():
            log.warning("the data brings a split, which is not used; data/split=given would use it")
        for code, name in enumerate(texts.classes):
            found = int(np.sum(texts.label == code))
            if found < len(NAMES):
                raise TextError(
                    f"class {name!r} has {_examples(found)} to split; "
                    "at least 3 are needed for training, validation and test"
                )
        rest, test = _parted(texts, np.arange(len(texts)), self.test, self.seed)
        share = self.validation / (1 - self.test)
        train, validation = _parted(texts, rest, share, self.seed + 1)
        return whole(texts, Split(train, validation, test))


def _examples(number: int) -> str:
    return f"{number} example{'' if number == 1 else 's'}"


def _parted(
    texts: Texts, rows: NDArray[np.int64], share: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(the rest, a share of each class of the rows); at least one row of each class is in both."""
    rng = np.random.default_rng(seed)
    taken = []
    for code, name in enumerate(texts.classes):
        own = rng.permutation(rows[texts.label[rows] == code])
        if len(own) < 2:
            raise TextError(
                f"class {name!r} has {_examples(len(own))} in training; at least 2 are needed, "
                "one of them for validation"
            )
        taken.append(own[: min(len(own) - 1, max(1, round(share * len(own))))])
    part = np.sort(np.concatenate(taken))
    return np.setdiff1d(rows, part), part


def whole(texts: Texts, split: Split) -> Split:
    """The split, if each part has texts and training has every class; else raises `TextError`."""
    for name, rows in zip(NAMES, split, strict=True):
        if not len(rows):
            raise TextError(f"the {name} split is empty")
    for code, name in enumerate(texts.classes):
        if not np.any(texts.label[split.train] == code):
            raise TextError(f"class {name!r} has no example in training")
    return split


class Duplicate(NamedTuple):
    """One text in several places."""

    text: str
    places: list[str]  # "split key label"


def duplicates_across(texts: Texts, split: Split) -> list[Duplicate]:
    """Texts that occur in more than one part, alike but for case and space: they leak."""
    where: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for name, rows in zip(NAMES, split, strict=True):
        for row in rows.tolist():
            where[" ".join(texts.text[row].lower().split())].append((name, row))
    found = []
    for places in where.values():
        if len({name for name, _ in places}) > 1:
            shown = [
                f"{name} {texts.key[row]} {texts.classes[texts.label[row]]}" for name, row in places
            ]
            found.append(Duplicate(texts.text[places[0][1]], shown))
    return found
