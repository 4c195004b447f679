"""MovieLens likes: who gave a film four stars or more, by what was known before that moment.

Attributes of users and films come from the files beside the ratings: `.user` and `.item` of
RecBole's form, `u.user` and `u.item` of GroupLens's. A user or film that they lack has missing
attributes. Statistics count earlier ratings only, of strictly earlier moments: people rate films by
the page, so that many ratings have one moment.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from models.recommender.ranking.rows import Rows
from models.recommender.readers.files import read_lines
from models.recommender.readers.movielens import MovieLensReader
from models.recommender.rejects import Rejects

log = logging.getLogger(__name__)

GENRES = (  # the flags of u.item, in order
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary",
    "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi",
    "Thriller", "War", "Western",
)  # fmt: skip


@dataclass
class MovieLensLikes:
    """Read ratings with attributes and point-in-time statistics.

    Args:
        path: the folder with ratings and attribute files.
        threshold: ratings of at least this are likes.
        history: liked films before the moment that a row keeps, the newest.
    """

    path: str | Path
    rejects: str | Path
    threshold: float = 4.0
    history: int = 50
    max_reject_share: float = 0.01

    def read(self) -> Rows:
        """Rows in order of time; equal times keep the order of the file.

        Columns: user_id, item_id, age, gender, occupation, zip_code, title_words, release_year,
        genres, liked_items, other_items (rated, not liked), and for prefixes user and item
        …_ratings (how many), …_like_rate, …_mean (stars).

        Raises:
            MissingInputError: no ratings.
            DataError: too many malformed rows.
        """
        ratings = MovieLensReader(self.path, self.rejects, self.max_reject_share).read()
        frame = ratings.sort("timestamp", maintain_order=True).select(
            "user_id",
            "item_id",
            "timestamp",
            "rating",
            (pl.col("rating") >= self.threshold).cast(pl.Int8).alias("label"),
        )
        for key, prefix in (("user_id", "user"), ("item_id", "item")):
            frame = _with_statistics(frame, key, prefix)
        frame = frame.drop("rating").with_columns(
            _earlier(frame, self.history, like=True).alias("liked_items"),
            _earlier(frame, self.history, like=False).alias("other_items"),
        )
        folder = Path(self.path)
        folder = folder if folder.is_dir() else folder.parent
        for key, table in (("user_id", self._users(folder)), ("item_id", self._items(folder))):
            unknown = int((~frame[key].is_in(table[key].implode())).sum())
            if unknown:
                log.warning("%s: %d of %d rows have no attributes", key, unknown, len(frame))
            frame = frame.join(table, on=key, how="left", maintain_order="left")
        return Rows(frame, str(self.path))

    def _users(self, folder: Path) -> pl.DataFrame:
        names = ["user_id", "age", "gender", "occupation", "zip_code"]
        found = self._attributes(folder, {"u.user": ("|", 0), "*.user": ("\t", 1)}, names)
        return found.with_columns(pl.col("age").cast(pl.Float32, strict=False))

    def _items(self, folder: Path) -> pl.DataFrame:
        title = pl.col("title").str.to_lowercase().str.extract_all(r"[\p{L}\p{N}]+")
        if (folder / "u.item").is_file():
            names = ["item_id", "title", "released", "video", "url", *GENRES]
            found = self._attributes(folder, {"u.item": ("|", 0)}, names)
            year = pl.col("released").str.extract(r"(\d{4})$")
            flags = [pl.when(pl.col(g) == "1").then(pl.lit(g)) for g in GENRES]
            genres = pl.concat_list(flags).list.drop_nulls()
            title = pl.col("title").str.replace(r" \(\d{4}\)$", "").str.to_lowercase()
            title = title.str.extract_all(r"[\p{L}\p{N}]+")
        else:
            names = ["item_id", "title", "release_year", "class"]
            found = self._attributes(folder, {"*.item": ("\t", 1)}, names)
            year = pl.col("release_year").str.extract(r"(\d{4})")
            genres = pl.when(pl.col("class") != "").then(pl.col("class").str.split(" "))
        return found.select(
            "item_id",
            title.alias("title_words"),
            year.cast(pl.Float32, strict=False).alias("release_year"),
            genres.alias("genres"),
        )

    def _attributes(
        self, folder: Path, forms: dict[str, tuple[str, int]], names: list[str]
    ) -> pl.DataFrame:
        """The first file of these forms (pattern → separator, header lines); none: no rows."""
        for pattern, (separator, header) in forms.items():
            for path in sorted(folder.glob(pattern)):
                lines = read_lines(path, skip=header)
                parts = pl.col("text").str.split(separator)
                wrong = parts.list.len() != len(names)
                reason = pl.when(wrong).then(
                    pl.lit(f"expected {len(names)} fields separated by {separator!r}")
                )
                rows = lines.with_columns(
                    reason.alias("reason"),
                    *(
                        parts.list.get(n, null_on_oob=True).str.strip_chars().alias(name)
                        for n, name in enumerate(names)
                    ),
                )
                aside = Path(self.rejects).with_name(f"rejects_{path.name}.csv")
                good = Rejects(aside, self.max_reject_share).set_aside(rows, path)
                return good.unique(names[0], keep="last", maintain_order=True)
        log.warning("%s: none of %s; attributes are missing", folder, ", ".join(forms))
        return pl.DataFrame(schema=dict.fromkeys(names, pl.String()))


def _with_statistics(frame: pl.DataFrame, key: str, prefix: str) -> pl.DataFrame:
    """How often a key was rated before each row's moment, and the share of likes among those."""
    moments = (
        frame.group_by(key, "timestamp", maintain_order=True)
        .agg(
            pl.len().cast(pl.Int64).alias("n"),
            pl.col("label").cast(pl.Int64).sum().alias("likes"),
            pl.col("rating").cast(pl.Float64).sum().alias("stars"),
        )
        .sort(key, "timestamp")
        .select(
            key,
            "timestamp",
            *(
                (pl.col(c).cum_sum().over(key) - pl.col(c)).alias(c)
                for c in ("n", "likes", "stars")
            ),
        )
    )
    # One like of one says little: both shares start from a middle that weighs as two ratings.
    known, weight = pl.col("n") > 0, pl.col("n") + 2
    columns = moments.select(
        key,
        "timestamp",
        pl.col("n").alias(f"{prefix}_ratings"),
        pl.when(known).then((pl.col("likes") + 1) / weight).alias(f"{prefix}_like_rate"),
        pl.when(known).then((pl.col("stars") + 7) / weight).alias(f"{prefix}_mean"),
    )
    return frame.join(columns, on=[key, "timestamp"], how="left", maintain_order="left")


def _earlier(frame: pl.DataFrame, history: int, like: bool) -> pl.Series:
    """The films that each row's user had liked, or not, before its moment, oldest first."""
    order = frame.with_row_index("row").sort("user_id", "timestamp", maintain_order=True)
    time = order["timestamp"].dt.epoch("us").to_numpy()
    user = order["user_id"].rle_id().to_numpy()
    wanted = order["label"].to_numpy() == int(like)
    new = np.r_[True, (user[1:] != user[:-1]) | (time[1:] != time[:-1])]
    page = np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))
    before = np.r_[0, np.cumsum(wanted)]
    first = before[np.searchsorted(user, user, side="left")]
    end = before[page]
    start = np.maximum(first, end - history)
    lengths = end - start
    offsets = np.r_[0, np.cumsum(lengths)]
    places = np.arange(offsets[-1]) + np.repeat(start - offsets[:-1], lengths)
    items = order["item_id"].filter(pl.Series(wanted)).gather(places)
    lists = pl.from_arrow(pa.LargeListArray.from_arrays(offsets, items.to_arrow()))
    found = pl.DataFrame({"row": order["row"], "items": lists})
    return found.sort("row")["items"]
