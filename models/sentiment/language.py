"""Which language a text is in, as far as its length allows to say."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

from models.sentiment.cleaning import Cleaner

LEAST_LETTERS = 20  # below, detection is mostly guessing
# A language that gets less probability than this is not the text's. None of 3,858 English SST-2
# sentences falls below; short sentences in other languages do (English gets 1e-6 to 2e-3 there),
# while the winner often stays under .9, since its neighbours take a share.
LEAST_SHARE = 0.005
# What is in no language; the model's own cleaning may add English words, or take common ones away.
_bare = Cleaner(["html_entities", "html_tags", "urls", "mentions"])


class Language(NamedTuple):
    """The likeliest language of a text, and the probability of each that the detector knows."""

    code: str  # ISO 639
    shares: Mapping[str, float]

    def excludes(self, code: str) -> bool:
        """Whether the text is certainly not in this language."""
        return self.code != code and self.shares.get(code, 0.0) < LEAST_SHARE


@functools.cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # loads a second of tables

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def detect(text: str) -> Language | None:
    """None for a text with fewer than 20 letters, markup and addresses left out."""
    text = _bare(text)
    if sum(c.isalpha() for c in text[:200]) < LEAST_LETTERS:
        return None
    ranked = [(str(code), float(share)) for code, share in _identifier().rank(text)]
    return Language(ranked[0][0], dict(ranked))
