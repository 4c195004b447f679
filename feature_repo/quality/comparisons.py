"""Rules across the columns of a row, written as people write them: `views_1d <= views_7d`.

A rule is a chain of comparisons. Each side is a feature, a number, or `len(feature)` for a list.
A row in which a side is null or NaN keeps the rule: whether a column may be so is another rule.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Sequence

import polars as pl

# Sums of the same numbers in another order differ by a little more than one rounding.
TOLERANCE = 1e-9

_SIGN = re.compile(r"\s*(<=|>=|==|<|>)\s*")
_LENGTH = re.compile(r"len\((\w+)\)")


class RuleError(ValueError):
    """A rule that cannot be read, or a frame that rules cannot be applied to."""

    exit_code = 65  # EX_DATAERR


def nested(names: Sequence[str], windows: Sequence[int]) -> tuple[str, ...]:
    """A sum over a short window is at most that over a longer one: one rule for each name."""
    return tuple(" <= ".join(f"{name}_{days}d" for days in windows) for name in names)


def columns(rule: str) -> list[str]:
    """The features that a rule mentions, in order."""
    names = [side.removeprefix("len(").removesuffix(")") for side in _sides(rule)[::2]]
    return list(dict.fromkeys(n for n in names if not _is_number(n)))


def expression(rule: str, features: Collection[str]) -> pl.Expr:
    """Whether a row keeps the rule; null where a side is.

    Args:
        features: the names that may occur.

    Raises:
        RuleError: no comparison, or a name that is no feature.
    """
    sides = _sides(rule)
    for name in columns(rule):
        if name not in features:
            near = difflib.get_close_matches(name, list(features), n=3)
            hint = f"; nearest: {', '.join(near)}" if near else f"; there are {', '.join(features)}"
            raise RuleError(f"rule {rule!r}: no feature {name!r}{hint}")
    steps = [
        _compare(_value(sides[i]), sides[i + 1], _value(sides[i + 2]))
        for i in range(0, len(sides) - 2, 2)
    ]
    return pl.all_horizontal(steps)


def _sides(rule: str) -> list[str]:
    """Values and signs by turns."""
    sides = _SIGN.split(rule.strip())
    if len(sides) < 3 or not all(sides):
        raise RuleError(f"rule {rule!r} is no comparison such as 'views_1d <= views_7d'")
    return sides


def _is_number(side: str) -> bool:
    try:
        float(side)
    except ValueError:
        return False
    return True


def _value(side: str) -> pl.Expr:
    if _is_number(side):
        return pl.lit(float(side))
    length = _LENGTH.fullmatch(side)
    return pl.col(length.group(1)).list.len() if length else pl.col(side)


def _compare(left: pl.Expr, sign: str, right: pl.Expr) -> pl.Expr:
    a, b = (side.cast(pl.Float64).fill_nan(None) for side in (left, right))
    slack = TOLERANCE * pl.max_horizontal(a.abs(), b.abs())
    return {
        "<=": a <= b + slack,
        ">=": a >= b - slack,
        "==": (a - b).abs() <= slack,
        "<": a < b,
        ">": a > b,
    }[sign]
