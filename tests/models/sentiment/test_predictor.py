"""Answers that can be computed by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models import artifact
from models.sentiment.local import local_predictor
from tests.serving.texts import make_classifier


def test_a_long_text_is_explained_as_a_whole(tmp_path: Path) -> None:
    """Its first piece speaks against the answer: that must not look like speaking for it."""
    loaded = artifact.load(make_classifier(tmp_path, max_length=8))
    answering = local_predictor(loaded, explained_tokens=10)
    text = "bad " * 2 + "film " * 6 + "good good film film film film film film " * 3
    (answer,) = answering.answers([text], explain=True)
    assert (answer.label, answer.pieces) == ("positive", 4)
    assert answer.explanation is not None
    assert [token for token, _ in answer.explanation] == text.split()[:10]
    effects = dict(answer.explanation)
    # Logits are means over four pieces: 1.5 against 4.5, and 0.75 less without one "bad".
    before, after = 1 / (1 + math.exp(1.5 - 4.5)), 1 / (1 + math.exp(0.75 - 4.5))
    assert effects["bad"] == pytest.approx(before - after)
    assert effects["film"] == pytest.approx(0)


# Lead of "positive", exact and rounded: 6 and 6 − .25; 0 and −.25; 3 and 3 − .5.
MIXED = ["good good film", "good bad film", "film good film"]


def test_nearly_even_classes_are_read_again_in_float32(tmp_path: Path) -> None:
    loaded = artifact.load(make_classifier(tmp_path, exact_below=1.0))
    logits = local_predictor(loaded).logits(MIXED)
    assert (logits[:, 1] - logits[:, 0]).tolist() == [5.75, 0.0, 2.5]


def test_an_explanation_is_of_the_float32_graph(tmp_path: Path) -> None:
    loaded = artifact.load(make_classifier(tmp_path, exact_below=1.0))
    effects = dict(local_predictor(loaded).explain("good film"))
    assert effects["film"] == 0
    assert effects["good"] > 0.4


def test_batches_side_by_side_give_what_one_after_the_other_gives(tmp_path: Path) -> None:
    loaded = artifact.load(make_classifier(tmp_path, max_length=8, exact_below=1.0))
    rng = np.random.default_rng(0)
    words = ["good", "bad", "film", "unknown"]
    texts = [" ".join(rng.choice(words, rng.integers(0, 30))) for _ in range(500)]
    alone = local_predictor(loaded, threads=1, batch_tokens=10**6).logits(texts)
    assert np.array_equal(local_predictor(loaded, threads=4, batch_tokens=16).logits(texts), alone)


def test_a_batch_that_fails_fails_the_call(tmp_path: Path) -> None:
    """From a worker's thread too."""
    answering = local_predictor(artifact.load(make_classifier(tmp_path)), threads=2, batch_tokens=8)

    def broken(*_: object, exact: bool) -> list[NDArray[np.generic]]:
        raise RuntimeError("no memory")

    answering.run = broken
    with pytest.raises(RuntimeError, match="no memory"):
        answering.answers(["good"] * 100)
