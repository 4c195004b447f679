"""Cleaning steps, one by one and together."""

import doctest

import pytest

from models.sentiment import cleaning
from models.sentiment.cleaning import STEPS, Cleaner, UnknownStepError

ALL = ["html_entities", "html_tags", "urls", "mentions", "emoji_words", "unicode_nfkc",
       "control_characters", "lowercase", "elongations", "spaces"]  # fmt: skip


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(cleaning).failed == 0
    assert doctest.testmod(cleaning).attempted >= len(STEPS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<p>It&#39;s GREAT!!!</p>", "it's great!!!"),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
        ("@bob look at https://x.org/?a=1 😀👎", "user look at url grinning face thumbs down"),
        ("👩‍🚀", "woman astronaut"),
        ("null\x00byte", "null byte"),
        ("tab\tand\nnewline", "tab and newline"),
        ("<div></div>", ""),
        ("   ", ""),
        ("", ""),
        ("mail me@example.com", "mail me@example.com"),
        ("Прекрасный фильм — très bon", "прекрасный фильм — très bon"),
        ("half \ud83d of a pair", "half of a pair"),
    ],
)
def test_steps_together(text: str, expected: str) -> None:
    assert Cleaner(ALL)(text) == expected


def test_negations_are_no_stop_words() -> None:
    assert Cleaner(["stop_words", "spaces"])("this is not a very good film") == "not very good film"


def test_a_hundred_thousand_words_are_cleaned() -> None:
    text = "wonderful film &amp; <b>more</b> " * 33_334
    assert len(Cleaner(ALL)(text).split()) == 4 * 33_334


def test_an_unknown_step_is_named_with_those_that_there_are() -> None:
    with pytest.raises(UnknownStepError, match=r"no cleaning step 'lower'; there are .*lowercase"):
        Cleaner(["lower"])
