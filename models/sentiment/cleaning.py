"""Text cleaning: small steps in an order that the config chooses.

The names of the steps travel in the artifact, and serving runs them from this module: training and
serving clean alike because they run the same code. It needs neither torch nor a tokenizer.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Sequence

import emoji

_TAG = re.compile(r"<(?:!--.*?--|/?[a-zA-Z][^<>]*)>", re.DOTALL)
_URL = re.compile(r"\b(?:https?://|www\.)\S+", re.IGNORECASE)
_MENTION = re.compile(r"(?<![\w@])@\w+")
_ELONGATED = re.compile(r"([^\W\d_])\1{2,}")
_SPACE = re.compile(r"\s+")
_PUNCTUATION = re.compile(r"[^\w\s]|_")
_WORD = re.compile(r"\w+")
# What says nothing of sentiment. Negations and degrees ("not", "very", "too", "but") stay.
_STOP_WORDS = frozenset(
    """a an the this that these those i me my we our you your he his
    she her it its they them their of at by for with about into to from
    in on and or as is am are was were be been being have has had
    having do does did doing will would shall should can could may might""".split()  # noqa: SIM905
)


def html_entities(text: str) -> str:
    """
    >>> html_entities("good &amp; cheap")
    'good & cheap'
    """
    return html.unescape(text) if "&" in text else text


def html_tags(text: str) -> str:
    """
    >>> html_tags("a <b>great</b><br/>buy")
    'a  great  buy'
    """
    return _TAG.sub(" ", text) if "<" in text else text


def urls(text: str) -> str:
    """
    >>> urls("see https://example.com/x now")
    'see url now'
    """
    return _URL.sub("url", text)


def mentions(text: str) -> str:
    """
    >>> mentions("thanks @anna")
    'thanks user'
    """
    return _MENTION.sub("user", text) if "@" in text else text


def emoji_words(text: str) -> str:
    """
    >>> emoji_words("nice 👍")
    'nice  thumbs up '
    """
    if text.isascii():
        return text
    named = emoji.demojize(text, delimiters=("\x01", "\x02"))
    return re.sub(
        "\x01(.*?)\x02", lambda match: f" {match[1].replace('_', ' ').replace('-', ' ')} ", named
    )


def unicode_nfkc(text: str) -> str:
    """
    >>> unicode_nfkc("ｇｏｏｄ ﬁlm")
    'good film'
    """
    return text if text.isascii() else unicodedata.normalize("NFKC", text)


def control_characters(text: str) -> str:
    """
    >>> control_characters("go\\x00od\\u200b")
    'go od'
    """
    if text.isprintable():
        return text
    kept = [
        c
        if c.isprintable() or c in "\u200d\ufe0f"
        else ("" if unicodedata.category(c) == "Cf" else " ")
        for c in text
    ]
    return "".join(kept)


def lowercase(text: str) -> str:
    """
    >>> lowercase("GOOD")
    'good'
    """
    return text.lower()


def elongations(text: str) -> str:
    """
    >>> elongations("sooooo goood")
    'soo good'
    """
    return _ELONGATED.sub(r"\1\1", text)


def punctuation(text: str) -> str:
    """
    >>> punctuation("well, good!")
    'well  good '
    """
    return _PUNCTUATION.sub(" ", text)


def stop_words(text: str) -> str:
    """
    >>> stop_words("it was not a good film")
    '  not  good film'
    """
    return _WORD.sub(lambda m: "" if m[0].lower() in _STOP_WORDS else m[0], text)


def spaces(text: str) -> str:
    """
    >>> spaces("  a   b ")
    'a b'
    """
    return _SPACE.sub(" ", text).strip()


STEPS: dict[str, Callable[[str], str]] = {
    step.__name__: step
    for step in (
        html_entities,
        html_tags,
        urls,
        mentions,
        emoji_words,
        unicode_nfkc,
        control_characters,
        lowercase,
        elongations,
        punctuation,
        stop_words,
        spaces,
    )
}


class UnknownStepError(ValueError):
    """A cleaning step that does not exist."""

    exit_code = 78  # EX_CONFIG


class Cleaner:
    """Runs steps in order.

    Raises:
        UnknownStepError: naming the step, and all that there are.
    """

    def __init__(self, steps: Sequence[str]) -> None:
        unknown = [step for step in steps if step not in STEPS]
        if unknown:
            raise UnknownStepError(f"no cleaning step {unknown[0]!r}; there are {', '.join(STEPS)}")
        self.steps = tuple(steps)
        self._functions = [STEPS[step] for step in steps]

    def __call__(self, text: str) -> str:
        for function in self._functions:
            text = function(text)
        return text
