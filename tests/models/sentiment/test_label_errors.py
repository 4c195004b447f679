"""Suspicious labels: found in what was planted."""

import numpy as np
import pytest

from models.sentiment.floors import TfidfFloor
from models.sentiment.label_errors import LabelErrors
from models.sentiment.texts import TextError, Texts


def planted(rows: int, wrong: int) -> tuple[Texts, set[str]]:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, rows)
    words = [["poor", "dull", "weak"], ["fine", "great", "lovely"]]
    text = [" ".join(rng.choice(words[c], 3)) + f" film {i % 7}" for i, c in enumerate(label)]
    flipped = rng.choice(rows, wrong, replace=False)
    label[flipped] = 1 - label[flipped]
    keys = [f"k{i}" for i in range(rows)]
    found = Texts(text, label, np.array([""] * rows), keys, ("negative", "positive"))
    return found, {keys[i] for i in flipped}


def test_planted_errors_come_first() -> None:
    texts, wrong = planted(400, 12)
    rows = LabelErrors(TfidfFloor(1), folds=4, seed=0).find(texts, texts.text)
    first = {str(row["key"]) for row in rows[:12]}
    assert len(first & wrong) >= 11
    top = rows[0]
    assert top["suggested"] != top["label"]
    assert top["verdict"] == ""


def test_too_few_examples_for_the_folds_are_named() -> None:
    texts, _ = planted(40, 0)
    few = texts.take(np.flatnonzero((texts.label == 0) | (np.cumsum(texts.label) <= 2)))
    with pytest.raises(TextError, match="class 'positive' has 2 examples; 5 folds"):
        LabelErrors(TfidfFloor(1), folds=5, seed=0).find(few, few.text)
