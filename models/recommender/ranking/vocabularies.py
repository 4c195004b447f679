"""Which categories get a row of their own: the most frequent of the training rows."""

from __future__ import annotations

import polars as pl

from models.recommender.ranking.encoding import Encoding, text
from models.recommender.ranking.fields import Field, Fields


def encoding_of(fields: Fields, rows: pl.DataFrame) -> Encoding:
    """Count each table's categories in training rows, those of all fields that share it.

    Equal counts are ordered by the category's text, so that the same rows give the same ids.
    """
    return Encoding(fields, {t.name: _frequent(fields, t, rows) for t in fields.tables})


def _frequent(fields: Fields, owner: Field, rows: pl.DataFrame) -> list[str]:
    if owner.vocabulary == 0:
        return []
    parts = []
    for field in fields.sharing(owner):
        column = rows[field.name]
        if field.kind == "multi_hot":
            column = column.explode(empty_as_null=True, keep_nulls=True)
        counts = column.drop_nulls().value_counts()
        texts = [text(field, v) for v in counts.to_series(0).to_list()]
        parts.append(pl.DataFrame({"text": texts, "n": counts["count"]}, _SCHEMA))
    counted = pl.concat(parts).group_by("text").agg(pl.col("n").sum())
    counted = counted.filter(pl.col("n") >= owner.min_count, pl.col("text") != "")
    ordered = counted.sort("n", "text", descending=[True, False]).head(owner.vocabulary)
    return ordered["text"].to_list()


_SCHEMA = {"text": pl.String(), "n": pl.Int64()}
