"""Answers that can be computed by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from models import artifact
from models.export import session
from models.sentiment.predictor import Predictor
from tests.serving.texts import make_classifier


def test_a_long_text_is_explained_as_a_whole(tmp_path: Path) -> None:
    """Its first piece speaks against the answer: that must not look like speaking for it."""
    loaded = artifact.load(make_classifier(tmp_path, max_length=8))
    graph = session(loaded.model)
    answering = Predictor(loaded, lambda feed: graph.run(None, dict(feed)), explained_tokens=10)
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
