"""Labelled texts, and how raw labels become classes."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

log = logging.getLogger(__name__)


class TextError(ValueError):
    """Texts or labels that cannot be learnt from; the message names the place and the value."""

    exit_code = 65  # EX_DATAERR


@dataclass(frozen=True)
class Texts:
    """Texts in the order in which they were read.

    Args:
        text: [N] as they came, not cleaned.
        label: [N] index into `classes`; −1: unlabelled.
        split: [N] "train", "validation" or "test" where the data brings its split, else "".
        key: [N] an id of the row for reports: its own, or its line.
    """

    text: list[str]
    label: NDArray[np.int64]
    split: NDArray[np.str_]
    key: list[str]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.text)

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> Texts:
        numbers = np.arange(len(self))[rows]
        return Texts(
            [self.text[i] for i in numbers],
            self.label[numbers],
            self.split[numbers],
            [self.key[i] for i in numbers],
            self.classes,
        )

    def of_split(self, name: str) -> Texts:
        """Those of one split that the data brings; raises `TextError` if there are none."""
        there = sorted(set(self.split.tolist()) - {""})
        if name not in there:
            found = f"it has {', '.join(there)}" if there else "the data brings none"
            raise TextError(f"no text lies in the split {name!r}; {found}")
        return self.take(self.split == name)

    def sha256(self) -> str:
        digest = hashlib.sha256()
        for text, label, split in zip(self.text, self.label, self.split, strict=True):
            digest.update(f"{text}\0{label}\0{split}\0".encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class Classes:
    """Raw labels, or stars, to classes.

    Args:
        names: the classes in order; for two or three of them, from the worst to the best.
        mapping: raw label → class, or null to leave such rows out; None: raw labels are class
            names already. 5, 5.0 and "5" are one label.

    Raises:
        TextError: fewer than two names, a name twice, or a label mapped to none of them.
    """

    names: Sequence[str]
    mapping: Mapping[Any, Any] | None = None

    def __post_init__(self) -> None:
        # Names may be numbers, as keys of the mapping are where the command line gives it.
        object.__setattr__(self, "names", tuple(_plain(name) for name in self.names))
        if len(set(self.names)) != len(self.names) or len(self.names) < 2:
            raise TextError(f"classes are at least two different names, not {list(self.names)}")
        if self.mapping is None:
            return
        plain = {_plain(k): None if c is None else _plain(c) for k, c in self.mapping.items()}
        object.__setattr__(self, "mapping", plain)
        wrong = sorted({c for c in plain.values() if c is not None} - set(self.names))
        if wrong:
            raise TextError(f"labels are mapped to {wrong}, which are none of {list(self.names)}")

    def of(self, raw: Any) -> tuple[int | None, str | None]:
        """The class of a raw label, or the reason why it has none; (None, None): left out."""
        text = _plain(raw)
        if self.mapping is None:
            name: str | None = text
        elif text in self.mapping:
            name = self.mapping[text]
            if name is None:
                return None, None
        else:
            return None, f"label {text!r} is not in the mapping ({', '.join(self.mapping)})"
        if name is None or name not in self.names:
            return None, f"label {text!r} is none of {', '.join(self.names)}"
        return list(self.names).index(name), None


_WHOLE = re.compile(r"(-?\d+)\.0+")


def _plain(raw: Any) -> str:
    """5, 5.0 and "5" are one label: a column with gaps often has whole numbers as floats."""
    text = str(raw).strip()
    whole = _WHOLE.fullmatch(text)
    return whole[1] if whole else text


def texts_of(
    frame: pl.DataFrame, classes: Classes, labelled: bool = True
) -> tuple[Texts, pl.DataFrame]:
    """Columns text, label, split, key → texts, and the rows that were refused with a reason.

    Raises:
        TextError: nothing is left.
    """
    kept: list[int] = []
    labels: list[int] = []
    refused: list[tuple[str, str, str]] = []  # key, reason, text
    for row, (text, label, key) in enumerate(frame.select("text", "label", "key").iter_rows()):
        if not isinstance(text, str):
            refused.append((str(key), f"text is {text!r}, not a text", ""))
            continue
        if not text.strip():
            refused.append((str(key), "text is empty", text))
            continue
        code, reason = classes.of(label) if labelled else (-1, None)
        if reason is not None:
            refused.append((str(key), reason, text))
        elif code is not None:
            kept.append(row)
            labels.append(code)
    aside = pl.DataFrame(
        refused, schema={"line": pl.String, "reason": pl.String, "text": pl.String}, orient="row"
    )
    if not kept:
        reason = f"; the first ({refused[0][0]}): {refused[0][1]}" if refused else ""
        raise TextError(f"no text is left of {len(frame)} rows{reason}")
    chosen = frame[kept]
    return (
        Texts(
            chosen["text"].to_list(),
            np.array(labels, dtype=np.int64),
            chosen["split"].fill_null("").to_numpy().astype(np.str_),
            [str(k) for k in chosen["key"].to_list()],
            tuple(classes.names),
        ),
        aside,
    )


def set_aside(name: str, refused: pl.DataFrame, kept: int, path: Path, most: float) -> None:
    """Write refused rows to a CSV and say so; raises `TextError` if their share is above `most`."""
    if refused.is_empty():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    refused.write_csv(path)
    share = len(refused) / (len(refused) + kept)
    message = (
        f"{name}: {len(refused)} rows set aside, the first ({refused['line'][0]}): "
        f"{refused['reason'][0]}; see {path}"
    )
    if share > most:
        raise TextError(f"{message}. That is {share:.1%}, more than max_reject_share={most:.1%}")
    log.warning(message)
