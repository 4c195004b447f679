"""Raw values ↔ the graph's ids and numbers: the same code in training and in serving.

Rows of a table: 0 is padding and never looked up, 1 stands for a missing value, then come hash
buckets for categories without a row of their own, then the vocabulary. An empty list is an empty
bag, which adds nothing; a list that is missing is one missing value.

Limits: needs neither torch nor polars, so that serving can import it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from models.recommender.ranking.fields import Field, FieldError, Fields
from models.recommender.ranking.hashing import hashes

PADDING, MISSING, FIRST = 0, 1, 2  # FIRST: of the hash buckets

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

_LARGEST = float(np.finfo(np.float32).max)
_PLAIN = {int, float, type(None)}


@dataclass(frozen=True)
class Encoding:
    """Fields and the vocabularies that training found; see `vocabularies.py`.

    Args:
        vocabularies: field that owns a table → its categories, in the order of their rows.
    """

    fields: Fields
    vocabularies: Mapping[str, Sequence[str]]
    _rows: dict[str, dict[str, int]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        rows = {
            owner.name: {
                text: FIRST + owner.buckets + n
                for n, text in enumerate(self.vocabularies.get(owner.name, ()))
            }
            for owner in self.fields.tables
        }
        object.__setattr__(self, "_rows", rows)
        object.__setattr__(self, "_owners", {f.name: f for f in self.fields.tables})

    def size(self, owner: Field) -> int:
        """Rows of a table, the padding's included."""
        return FIRST + owner.buckets + len(self._rows[owner.name])

    def ids(self, asked: Field, values: Sequence[Any]) -> Ints:
        """[N] ids of N single values; None and the empty text are missing.

        Raises:
            FieldError: a value that is neither text, nor a whole number, nor true or false.
        """
        table, buckets = self._rows[asked.owner], self._buckets(asked)
        plain = set(map(type, values)) <= {str}  # a request asks for hundreds at a time
        texts = list(values) if plain else [text(asked, v) for v in values]
        found = np.array([MISSING if t == "" else table.get(t, -1) for t in texts], dtype=np.int64)
        strange = np.flatnonzero(found < 0)
        if len(strange):
            found[strange] = FIRST + _bucket([texts[n] for n in strange], buckets)
        return found

    def bags(self, asked: Field, values: Sequence[Any]) -> tuple[Ints, Ints]:
        """Ids one after another, and the [N] lengths of N lists' bags, each the list's last values.

        Raises:
            FieldError: no list, or a value in one that no category can be.
        """
        lists = [_listed(asked, v) for v in values]
        lengths = np.array([len(each) for each in lists], dtype=np.int64)
        return self.ids(asked, [v for each in lists for v in each]), lengths

    def numbers(self, asked: Field, values: Sequence[Any]) -> Floats:
        """[N] numbers; None is NaN, which the graph takes as missing.

        Raises:
            FieldError: a value that is no number, or beyond 32 bits.
        """
        if set(map(type, values)) <= _PLAIN:  # a request asks for thousands, one by one too slow
            try:
                given = np.array(values, dtype=np.float64)  # None becomes NaN
            except OverflowError:
                given = np.full(1, math.inf)
            if not (np.abs(given) > _LARGEST).any():
                return given.astype(np.float32)
        return np.array([number(asked, v) for v in values], dtype=np.float32)

    def column(self, asked: Field, values: Sequence[Any]) -> npt.NDArray[Any]:
        """N raw values as the graph takes them: numbers [N], ids [N], or padded bags [N, L].

        Raises:
            FieldError: a value that the field cannot take.
        """
        if asked.kind == "dense":
            return self.numbers(asked, values)
        if asked.kind == "categorical":
            return self.ids(asked, values)
        return padded(*self.bags(asked, values))

    def as_json(self) -> dict[str, Any]:
        return {
            "fields": self.fields.as_json(),
            "vocabularies": {k: list(v) for k, v in self.vocabularies.items()},
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Encoding:
        fields = Fields(tuple(Field(**f) for f in content["fields"]))
        return cls(fields, content["vocabularies"])

    def _buckets(self, asked: Field) -> int:
        owners: dict[str, Field] = self._owners  # type: ignore[attr-defined]
        return owners[asked.owner].buckets


def text(asked: Field, value: Any) -> str:
    """A category as text; missing ones as the empty text.

    Raises:
        FieldError: a value that cannot be a category.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | np.integer):
        return str(int(value))
    raise FieldError(
        f"{asked.name} is {_shown(value)}; a category is text, a whole number, true, false or null"
    )


def number(asked: Field, value: Any) -> float:
    """A number of 32 bits; missing ones as NaN.

    Raises:
        FieldError: anything else.
    """
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise FieldError(f"{asked.name} is {_shown(value)}; it must be a number or null")
    given = float(value) if not isinstance(value, int) or abs(value) < 1 << 200 else math.inf
    if math.isnan(given):
        return math.nan
    if not abs(given) <= _LARGEST:
        raise FieldError(f"{asked.name} is {_shown(value)}; it must be a finite number or null")
    return given


def padded(ids: Ints, lengths: Ints) -> Ints:
    """Bags as a table [N, L], L the longest but at least 1, padded on the right."""
    width = max(int(lengths.max(initial=0)), 1)
    table = np.full((len(lengths), width), PADDING, dtype=np.int64)
    table[np.arange(width) < lengths[:, None]] = ids
    return table


def _bucket(texts: Sequence[str], buckets: int) -> Ints:
    """[N] buckets; each text is hashed once, as candidates share brands and the like."""
    place = {each: n for n, each in enumerate(dict.fromkeys(texts))}
    found = (hashes(list(place)) % np.uint64(buckets)).astype(np.int64)
    return found[[place[each] for each in texts]]


def _listed(asked: Field, value: Any) -> list[Any]:
    if value is None:
        return [None]
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise FieldError(f"{asked.name} is {_shown(value)}; it must be a list of categories")
    return list(value)[-asked.most :]


def _shown(value: Any) -> str:
    """A stranger's value, cut short and safe to print."""
    shown = repr(value) if not isinstance(value, int) or value.bit_length() < 200 else "huge"
    shown = shown.encode("utf-8", "replace").decode()
    return shown if len(shown) <= 60 else f"{shown[:57]}…"
