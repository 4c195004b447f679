"""What is known of users besides what they touched: numbers and categories, a row a user.

Fields and encoding are those of rankers, so that serving reads raw values by the same code, without
torch and polars. A missing value has an id of its own, and so have all values that training did not
see often enough.

Limits: no texts; tables of all users in memory.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import numpy as np
import polars as pl
import torch
from torch import Tensor

from models.recommender.interactions import DataError
from models.recommender.ranking.encoding import Encoding
from models.recommender.ranking.fields import Field, Fields
from models.recommender.ranking.vocabularies import encoding_of
from models.recommender.retrieval.content_encoder import Columns, numbers_of


class Profiles:
    """Users as columns; row 0 is a user of whom nothing is known.

    A plain class: Hydra hands a model's arguments on as they are, but turns data classes into
    configs.

    Args:
        encoding: makes ids and numbers of raw values.
        columns: field → numbers [U + 1] (NaN: missing), ids [U + 1], or padded bags [U + 1, L].
    """

    def __init__(self, encoding: Encoding, columns: Mapping[str, Tensor]) -> None:
        self.encoding = encoding
        self.columns = dict(columns)

    @classmethod
    def of(
        cls,
        frame: pl.DataFrame,
        trained: np.ndarray,
        columns: Columns,
        features: Mapping[str, str | None],
        min_count: int,
    ) -> Profiles:
        """Of a table with a row for each user of the vocabulary, nulls where nothing is known.

        Args:
            trained: [U] bool, users of the training, whose values get ids of their own.
            features: column → the feature store's `view:feature`, where serving finds it; a column
                without one is sent by whoever asks.
            min_count: trained users that must share a value, or it counts as any other.

        Raises:
            DataError: a text, a feature of no column, a column of two kinds, or none at all.
            FieldError: a column's name that cannot be an input's, or a value that is no category.
        """
        if columns.texts:
            raise DataError(
                f"texts of users are {list(columns.texts)}; user towers read categories and "
                "numbers only: leave them out with user_attributes.texts=[]"
            )
        strange = sorted(set(features) - {*columns.categories, *columns.numbers})
        if strange:
            raise DataError(
                f"features names the column {strange[0]!r}, which is neither among categories "
                f"{list(columns.categories)} nor numbers {list(columns.numbers)}"
            )
        twice = sorted(set(columns.categories) & set(columns.numbers))
        if twice:
            raise DataError(f"column {twice[0]!r} is among categories and numbers; name it in one")
        made, raw = [], raw_values(frame, columns)
        for name in columns.categories:
            kind = "multi_hot" if isinstance(raw[name].dtype, pl.List) else "categorical"
            made.append(
                Field(name, kind, "user", features.get(name), min_count=min_count)  # type: ignore[arg-type]
            )
        for name in columns.numbers:
            made.append(Field(name, "dense", "user", features.get(name)))
        if not made:
            raise DataError("users have no attributes to read: name categories or numbers")
        fields = Fields(tuple(made))
        known = pl.DataFrame(raw)
        encoding = encoding_of(fields, known.filter(pl.Series(trained)))
        coded = {
            f.name: torch.from_numpy(encoding.column(f, [None, *raw[f.name].to_list()]))
            for f in fields.all
        }
        return cls(encoding, coded)

    def take(self, users: Tensor) -> dict[str, Tensor]:
        """The columns' rows of graph codes [B]."""
        return {name: column[users] for name, column in self.columns.items()}

    def sha256(self) -> str:
        """Of what the ids mean."""
        told = json.dumps(self.encoding.as_json(), sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()


def raw_values(frame: pl.DataFrame, columns: Columns) -> dict[str, pl.Series]:
    """Categories and numbers by column, as callers of the gateway would send them."""
    raw = {name: _categories(frame[name], columns.separator) for name in columns.categories}
    for name in columns.numbers:
        raw[name] = numbers_of(frame[name])
    return raw


def _categories(column: pl.Series, separator: str | None) -> pl.Series:
    """Values without spaces around them; lists of them where some row has several."""
    if isinstance(column.dtype, pl.List):
        return column.cast(pl.List(pl.String)).list.eval(_bare(pl.element())).list.drop_nulls()
    if column.dtype == pl.String:
        if separator and column.str.contains(separator, literal=True).any():
            return column.str.split(separator).list.eval(_bare(pl.element())).list.drop_nulls()
        return column.to_frame().select(_bare(pl.col(column.name))).to_series()
    return column


def _bare(text: pl.Expr) -> pl.Expr:
    trimmed = text.str.strip_chars()
    return pl.when(trimmed != "").then(trimmed)
