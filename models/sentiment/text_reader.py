"""From a text to pieces of token ids: the same object in training, in export and in serving.

It travels in the artifact as `assets/tokenizer.json` and `assets/reading.json`. Limits: needs the
`tokenizers` and `emoji` packages, but neither torch nor transformers.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from models.artifact import Artifact
from models.sentiment.cleaning import Cleaner


class ReadingError(ValueError):
    """A text reader that cannot be built."""

    exit_code = 65  # EX_DATAERR


@dataclass(frozen=True)
class Reading:
    """What a model reads of one text.

    Args:
        pieces: token ids, special ones included; at least one piece, which may hold no word.
        sizes: words or subwords of each piece, special tokens left out.
        known: how many of them are in the vocabulary.
        text: as cleaned.
    """

    pieces: list[list[int]]
    sizes: list[int]
    known: int
    text: str


class TextReader:
    """Cleans, cuts into tokens, and cuts long texts into pieces: nothing is dropped.

    Args:
        max_length: tokens of one piece, special ones included.

    Raises:
        ReadingError: `max_length` leaves no room for a token.
    """

    def __init__(self, cleaner: Cleaner, tokenizer: Tokenizer, max_length: int) -> None:
        self.cleaner = cleaner
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.before, self.after = _around(tokenizer)
        self.room = max_length - len(self.before) - len(self.after)
        if self.room < 1:
            raise ReadingError(f"max_length is {max_length}: no room for a token")
        unknown = tokenizer.token_to_id("[UNK]")
        if unknown is None:
            raise ReadingError("the tokenizer has no [UNK], which stands for unknown words")
        self.unknown: int = unknown

    def read(self, texts: Sequence[str]) -> list[Reading]:
        """One reading a text."""
        cleaned = [self.cleaner(text) for text in texts]
        encoded = self.tokenizer.encode_batch_fast(cleaned, add_special_tokens=False)
        return [self._reading(text, e.ids) for text, e in zip(cleaned, encoded, strict=True)]

    def tokens(self, reading: Reading) -> list[str]:
        """What each token stood for in the cleaned text, in order, for explanations."""
        encoded = self.tokenizer.encode(reading.text, add_special_tokens=False)
        return [reading.text[start:end] for start, end in encoded.offsets]

    def _reading(self, text: str, ids: list[int]) -> Reading:
        pieces = max(1, -(-len(ids) // self.room))
        bounds = [len(ids) * i // pieces for i in range(pieces + 1)]
        return Reading(
            [[*self.before, *ids[a:b], *self.after] for a, b in itertools.pairwise(bounds)],
            [b - a for a, b in itertools.pairwise(bounds)],
            sum(i != self.unknown for i in ids),
            text,
        )

    def save(self, assets: Path, **more: Any) -> None:
        """Write the two files; `more` goes into reading.json."""
        self.tokenizer.save(str(assets / "tokenizer.json"))
        content = {"cleaning": list(self.cleaner.steps), "max_length": self.max_length, **more}
        (assets / "reading.json").write_text(json.dumps(content, indent=2) + "\n", "utf-8")

    @classmethod
    def of(cls, artifact: Artifact) -> TextReader:
        """The reader that an artifact brings."""
        settings = artifact.read_asset("reading.json")
        tokenizer = Tokenizer.from_file(str(artifact.asset("tokenizer.json")))
        return cls(Cleaner(settings["cleaning"]), tokenizer, int(settings["max_length"]))


def _around(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """The special tokens that the tokenizer puts before and after a text."""
    marked = tokenizer.encode("a", add_special_tokens=True).ids
    bare = tokenizer.encode("a", add_special_tokens=False).ids
    for start in range(len(marked) - len(bare) + 1):
        if marked[start : start + len(bare)] == bare:
            return marked[:start], marked[start + len(bare) :]
    raise ReadingError("the tokenizer changes a text when it adds special tokens")
