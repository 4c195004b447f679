"""MovieLens in every form it is passed around in (GroupLens; Harper & Konstan, TiiS 2015).

100K `u.data` and RecBole's `ml-100k.inter` (tabs), 1M `ratings.dat` (`::`), 20M and later
`ratings.csv`, and the sequence form `ml-1m.txt` of SASRec papers.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from models.recommender.readers import checks
from models.recommender.readers.files import find, read_lines
from models.recommender.readers.sequences import SequenceReader
from models.recommender.rejects import Rejects

log = logging.getLogger(__name__)

# file name pattern → separator, header lines
FORMS = {
    "u.data": ("\t", 0),
    "*.inter": ("\t", 1),
    "ratings.dat": ("::", 0),
    "ratings.csv": (",", 1),
}
SEQUENCE = "ml-*.txt"


@dataclass
class MovieLensReader:
    """Read the ratings of any MovieLens release.

    Args:
        path: the file, or the folder that holds it.
        min_rating: keep ratings of at least this; None keeps all.
        scale: lowest and highest rating; rows with another are rejected. None: any number is right.
    """

    path: str | Path
    rejects: str | Path
    max_reject_share: float = 0.01
    min_rating: float | None = None
    scale: Sequence[float] | None = None

    def read(self) -> pl.DataFrame:
        """Columns user_id, item_id, rating, timestamp (seconds in the files)."""
        source = find(self.path, (*FORMS, SEQUENCE))
        form = next((f for name, f in FORMS.items() if source.match(name)), None)
        if form is None:
            names = (SEQUENCE,)
            return SequenceReader(source, self.rejects, self.max_reject_share, names).read()
        separator, header = form
        parts, arity = checks.fields(4, separator)
        rows = read_lines(source, skip=header).with_columns(
            parts.struct.rename_fields(
                ["user_id", "item_id", "rating", "timestamp", "rest"]
            ).struct.unnest(),
            arity.alias("arity"),
        )
        wrong = (~pl.col("arity"), f"expected 4 fields separated by {separator!r}")
        checked = checks.interactions(
            rows, rating=True, time="s", reasons=[wrong], scale=self.scale
        )
        frame = Rejects(Path(self.rejects), self.max_reject_share).set_aside(checked, source)
        if self.min_rating is not None:
            frame = frame.filter(pl.col("rating") >= self.min_rating)
        return frame

    @property
    def exclude_from_metrics(self) -> Path | None:
        """Users whom the folder itself lists as incomplete: they train but are not measured."""
        path = Path(self.path)
        listed = (path if path.is_dir() else path.parent) / "incomplete_users.txt"
        return listed if listed.is_file() else None
