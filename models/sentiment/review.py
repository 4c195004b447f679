"""The review file: suspicious labels, and what a person says of them."""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from models.sentiment.texts import TextError, Texts

log = logging.getLogger(__name__)

csv.field_size_limit(2**31 - 1)  # a text may be longer than the 128 KiB that csv takes at most

COLUMNS = ("key", "label", "suggested", "probability", "quality", "verdict", "text")
KEEP, DROP = "keep", "drop"


def write_review(path: Path, rows: list[dict[str, object]]) -> None:
    """CSV; a person fills `verdict`: keep, drop, or the right class."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def read_review(path: Path, classes: tuple[str, ...]) -> Mapping[str, str]:
    """Row key → verdict, for rows that have one.

    Raises:
        TextError: no such file, or a verdict that is none; the text names line and value.
    """
    if not path.is_file():
        raise TextError(f"{path}: no such review file; find_label_errors.py writes one")
    allowed = {KEEP, DROP, *classes}
    verdicts = {}
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if not {"key", "verdict"} <= set(reader.fieldnames or ()):
            raise TextError(f"{path}: needs columns key and verdict; it has {reader.fieldnames}")
        for row in reader:
            verdict = (row["verdict"] or "").strip()
            if verdict and verdict not in allowed:
                raise TextError(
                    f"{path}, line {reader.line_num}: verdict {verdict!r} is none of keep, drop, "
                    f"{', '.join(classes)}"
                )
            if verdict:
                verdicts[row["key"]] = verdict
    return verdicts


def reviewed(texts: Texts, verdicts: Mapping[str, str]) -> Texts:
    """Labels corrected, dropped rows left out."""
    unknown = sorted(set(verdicts) - set(texts.key))
    if unknown:
        raise TextError(f"{len(unknown)} reviewed rows are not in the data, such as {unknown[0]!r}")
    label = texts.label.copy()
    kept = np.ones(len(texts), dtype=bool)
    for row, key in enumerate(texts.key):
        verdict = verdicts.get(key, KEEP)
        if verdict == DROP:
            kept[row] = False
        elif verdict != KEEP:
            label[row] = texts.classes.index(verdict)
    changed = int(np.sum(label != texts.label))
    log.info("reviewed labels: %d changed, %d rows dropped", changed, int(np.sum(~kept)))
    return Texts(texts.text, label, texts.split, texts.key, texts.classes).take(kept)
