"""Which language a text is in, as far as its length allows to say."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

from models.sentiment.cleaning import Cleaner

LEAST_LETTERS = 20  # below, detection is mostly guessing
# What is in no language; the model's own cleaning may add English words, or take common ones away.
_bare = Cleaner(["html_entities", "html_tags", "urls", "mentions"])


class Language(NamedTuple):
    """ISO 639-1 code and how sure the detector is, 0 to 1."""

    code: str
    probability: float


@functools.cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # loads a second of tables

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def detect(text: str) -> Language | None:
    """None for a text with fewer than 20 letters, markup and addresses left out."""
    text = _bare(text)
    if sum(c.isalpha() for c in text[:200]) < LEAST_LETTERS:
        return None
    code, probability = _identifier().classify(text)
    return Language(str(code), float(probability))
