"""Labelled texts from a database."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
import sqlalchemy as sa

from models.sentiment.texts import TextError


@dataclass
class TextQuery:
    """Run a query that answers columns text and label, and may answer split and key.

    Args:
        url: SQLAlchemy's; a password comes from PGPASSWORD or ~/.pgpass.
    """

    url: str
    sql: str

    def read(self) -> pl.DataFrame:
        """Columns text, label, split, key.

        Raises:
            TextError: the database or the query fails, or a column is missing.
        """
        engine = sa.create_engine(self.url, poolclass=sa.NullPool)
        try:
            frame = pl.read_database(sa.text(self.sql), engine, infer_schema_length=None)
        except sa.exc.SQLAlchemyError as error:
            shown = engine.url.render_as_string(hide_password=True)
            raise TextError(f"{shown}: {str(error).splitlines()[0]}") from error
        for name in ("text", "label"):
            if name not in frame.columns:
                raise TextError(f"the query answers {frame.columns}; a column {name!r} is needed")
        if "split" not in frame.columns:
            frame = frame.with_columns(split=pl.lit(""))
        if "key" not in frame.columns:
            frame = frame.with_row_index("key", offset=1)
        return frame.select(
            "text", pl.col("label").cast(pl.String), "split", pl.col("key").cast(pl.String)
        )
