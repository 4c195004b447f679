"""Who touched what, when: the coded form of a data set that splits, floors and models share.

Limits: everything is in memory (about 28 bytes an interaction); 100 million fit in 3 GB.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


class DataError(ValueError):
    """Data that cannot be trained on; the message says what was found and what is needed."""

    exit_code = 65  # EX_DATAERR


@dataclass(frozen=True)
class Interactions:
    """Coded interactions, sorted by user, then time; equal times keep the order of the input.

    Graph ids are 1…V, so that 0 can stand for padding everywhere.
    """

    user_ids: pl.Series  # str vocabulary [U]
    item_ids: pl.Series  # str vocabulary [V]; graph id = position + 1
    user: Ints  # [N] positions into user_ids, non-decreasing
    item: Ints  # [N] graph ids 1…V
    timestamp: Ints  # [N] microseconds since 1970, UTC
    rating: Floats | None  # [N]

    @classmethod
    def from_frame(cls, frame: pl.DataFrame) -> Interactions:
        """Code a frame `user_id, item_id, timestamp[, rating]`; raises `DataError` if it is empty.

        Vocabularies keep the order of first appearance, so the coding is stable.
        """
        if frame.is_empty():
            raise DataError(
                "no interactions left after reading and filtering; at least 1 is needed"
            )
        user_ids = frame["user_id"].unique(maintain_order=True)
        item_ids = frame["item_id"].unique(maintain_order=True)
        coded = frame.select(
            _code(frame["user_id"], user_ids).alias("user"),
            (_code(frame["item_id"], item_ids) + 1).alias("item"),
            pl.col("timestamp").dt.epoch("us").alias("timestamp"),
            *([pl.col("rating").cast(pl.Float32)] if "rating" in frame.columns else []),
        ).sort("user", "timestamp", maintain_order=True)
        rated = "rating" in coded.columns and coded["rating"].null_count() < len(coded)
        return cls(
            user_ids=user_ids,
            item_ids=item_ids,
            user=coded["user"].to_numpy(),
            item=coded["item"].to_numpy(),
            timestamp=coded["timestamp"].to_numpy(),
            rating=coded["rating"].to_numpy() if rated else None,
        )

    def __len__(self) -> int:
        return len(self.user)

    @property
    def n_users(self) -> int:
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        return len(self.item_ids)

    def sha256(self) -> str:
        """A hash of who touched what, when."""
        digest = hashlib.sha256()
        for part in (self.user, self.item, self.timestamp):
            digest.update(part.tobytes())
        return digest.hexdigest()

    def user_starts(self) -> Ints:
        """Where each user's run begins; one more entry, N, closes the last: [U + 1]."""
        starts = np.searchsorted(self.user, np.arange(self.n_users + 1), side="left")
        return starts.astype(np.int64)


def _code(values: pl.Series, vocabulary: pl.Series) -> pl.Series:
    positions = pl.DataFrame({"id": vocabulary, "code": np.arange(len(vocabulary), dtype=np.int64)})
    left = pl.DataFrame({"id": values})
    return left.join(positions, on="id", how="left", maintain_order="left")["code"]
