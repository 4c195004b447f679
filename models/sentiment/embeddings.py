"""Word vectors from elsewhere, for the words that a vocabulary has."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from models.pretrained import encoder_files, mean_states
from models.sentiment.texts import TextError
from models.sentiment.tokenization import PAD, UNKNOWN

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Vectors:
    """Vectors of a vocabulary.

    Args:
        weight: [V, D]; rows of words that have none are drawn with the others' spread.
        found: how many words have one.
    """

    weight: Tensor
    found: int

    @property
    def coverage(self) -> float:
        """Share of the vocabulary, special tokens left out."""
        return self.found / max(1, len(self.weight) - 2)


@dataclass(frozen=True)
class VectorFile:
    """GloVe's or word2vec's text format, or a JSON object word → list.

    Args:
        path: `word v1 v2 …` a line; a first line of two numbers (word2vec) is skipped.
        seed: for the words that the file does not have.

    Raises:
        TextError: a line has another number of values than the first; the text names it.
    """

    path: str
    seed: int = 0

    def of(self, tokenizer: Tokenizer) -> Vectors:
        vocabulary = tokenizer.get_vocab()
        found: dict[int, NDArray[np.float32]] = {}
        for word, vector in self._words(Path(self.path)):
            code = vocabulary.get(word)
            if code is not None and code not in found:
                found[code] = vector
        return filled(vocabulary, found, self.path, self.seed)

    def _words(self, path: Path) -> Iterator[tuple[str, NDArray[np.float32]]]:
        if not path.is_file():
            raise TextError(f"{path}: no such file of word vectors")
        if path.suffix == ".json":
            yield from self._json(path)
            return
        width = 0
        with path.open(encoding="utf-8", errors="replace") as file:
            for number, line in enumerate(file, 1):
                word, *values = line.rstrip().split(" ")
                if number == 1 and len(values) == 1:
                    continue  # word2vec's header: words and width
                width = width or len(values)
                more = max(0, len(values) - width)
                if more and not any(_is_number(part) for part in values[:more]):
                    word, values = " ".join([word, *values[:more]]), values[more:]  # ". . ."
                if len(values) != width:
                    raise TextError(
                        f"{path}, line {number}: {len(values)} values, but {width} in the lines "
                        "before; the file is damaged"
                    )
                try:
                    yield word, np.array(values, dtype=np.float32)
                except ValueError as error:
                    raise TextError(f"{path}, line {number}: {error}") from error

    @staticmethod
    def _json(path: Path) -> Iterator[tuple[str, NDArray[np.float32]]]:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise TextError(f"{path}: not JSON ({error})") from error
        if not isinstance(content, dict):
            raise TextError(f"{path}: a JSON {type(content).__name__}; it must be word → numbers")
        width = None
        for word, values in content.items():
            try:
                vector = np.array(values, dtype=np.float32)
            except (TypeError, ValueError) as error:
                raise TextError(f"{path}, word {word!r}: {error}") from error
            if vector.ndim != 1 or not len(vector):
                raise TextError(f"{path}, word {word!r}: no list of numbers")
            width = width or len(vector)
            if len(vector) != width:
                raise TextError(f"{path}, word {word!r}: {len(vector)} values, others have {width}")
            yield word, vector


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@dataclass(frozen=True)
class EncoderVectors:
    """What a pretrained encoder says of each word by itself, reduced to D numbers.

    The idea of Model2Vec (Tulkens & van Dongen, 2024): one pass over the vocabulary gives static
    vectors that know more than those learnt from a small training set; principal components keep
    most of it, and the scale is set to that of common word vectors.

    Args:
        encoder: see `models.pretrained`.
        dim: D, at most the encoder's width.
        cache: folder for what the encoder says, which takes most of the time; None: none.
    """

    encoder: str
    dim: int
    batch_size: int = 256
    cache: str | None = None

    def of(self, tokenizer: Tokenizer) -> Vectors:
        vocabulary = tokenizer.get_vocab()
        words = sorted(w for w in vocabulary if w not in (PAD, UNKNOWN))
        matrix = self._cached(words)
        matrix = matrix - matrix.mean(0)
        _, _, components = torch.linalg.svd(matrix, full_matrices=False)
        reduced = matrix @ components[: self.dim].T
        reduced = reduced / reduced.std()
        # A vocabulary smaller than the width has fewer components than that.
        reduced = torch.nn.functional.pad(reduced, (0, self.dim - reduced.shape[1]))
        found = {vocabulary[w]: row for w, row in zip(words, reduced.numpy() * 0.4, strict=True)}
        return filled(vocabulary, found, self.encoder, 0)

    def _cached(self, words: list[str]) -> Tensor:
        if self.cache is None:
            return self._ask(words)
        said = [self.encoder, *encoder_files(self.encoder), *words]
        digest = hashlib.sha256("\0".join(said).encode()).hexdigest()[:16]
        file = Path(self.cache) / f"{digest}.npy"
        if file.is_file():
            return torch.from_numpy(np.load(file, allow_pickle=False))
        matrix = self._ask(words)
        file.parent.mkdir(parents=True, exist_ok=True)
        whole = file.with_suffix(f".{os.getpid()}.tmp")
        with whole.open("wb") as stream:
            np.save(stream, matrix.numpy(), allow_pickle=False)
        whole.replace(file)  # two runs may write it together
        return matrix

    def _ask(self, words: list[str]) -> Tensor:
        """[words, the encoder's width]: the mean over a word's own subwords."""
        return mean_states(self.encoder, words, self.batch_size)


def filled(
    vocabulary: Mapping[str, int], found: Mapping[int, NDArray[np.float32]], name: str, seed: int
) -> Vectors:
    """A full table; words without a vector are drawn with the spread of those that have one."""
    if not found:
        raise TextError(f"{name}: has none of the {len(vocabulary)} words of the vocabulary")
    known = np.stack(list(found.values()))
    rng = np.random.default_rng(seed)
    weight = rng.normal(0, known.std(), (len(vocabulary), known.shape[1])).astype(np.float32)
    for code, vector in found.items():
        weight[code] = vector
    weight[0] = 0  # padding
    vectors = Vectors(torch.from_numpy(weight), len(found))
    log.info("%s: vectors for %.1f %% of the vocabulary", name, 100 * vectors.coverage)
    return vectors
