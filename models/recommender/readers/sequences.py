"""Sequence files: `user item` a line, or `user item item …` a line, in chronological order.

They carry no times: the order in the file is the order in time, and timestamps count seconds
from 1970 in that order.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from models.recommender.readers import checks
from models.recommender.readers.files import find, read_lines
from models.recommender.rejects import Rejects


@dataclass
class SequenceReader:
    """Read a sequence file; which of the two forms it has is seen from its first lines.

    Args:
        path: the file, or a folder with one `.txt` file that matches `names`.
        names: patterns to look for in a folder.
    """

    path: str | Path
    rejects: str | Path
    max_reject_share: float = 0.01
    names: tuple[str, ...] = ("*.txt",)

    def read(self) -> pl.DataFrame:
        """Columns user_id, item_id, rating (null), timestamp; rows in the order of the file."""
        source = find(self.path, self.names)
        lines = read_lines(source)
        words = lines.with_columns(
            pl.col("text")
            .str.replace_all(r"[ \t]+", " ")
            .str.strip_chars()
            .str.split(" ")
            .alias("words")
        )
        pairs = bool((words.head(1000)["words"].list.len() == 2).all())
        n_words = pl.col("words").list.len()
        rows = words.with_columns(
            pl.col("words").list.get(0).alias("user_id"),
            (
                pl.col("words").list.slice(1) if not pairs else pl.col("words").list.slice(1, 1)
            ).alias("item_id"),
        )
        arity = (n_words != 2, "expected `user item`") if pairs else (n_words < 2, "no item")
        bad = rows.filter(arity[0]).with_columns(pl.lit("").alias("item_id"))
        good = rows.filter(~arity[0]).explode("item_id")
        both = pl.concat([good, bad.select(good.columns)]) if len(bad) else good
        checked = checks.interactions(both, rating=False, time=None, reasons=[arity])
        rejects = Rejects(Path(self.rejects), self.max_reject_share)
        return rejects.set_aside(checked, source)
