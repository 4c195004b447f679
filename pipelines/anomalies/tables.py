"""What processors keep in the anomaly store for themselves: who has which partition, and where."""

from __future__ import annotations

import sqlalchemy as sa

from pipelines.anomalies.store import METADATA

PARTITIONS = sa.Table(
    "anomaly_partitions",
    METADATA,
    sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("owner", sa.String(255)),  # null: free
    # Rises with each change of owner: the fencing token that every commit must name.
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("beat", sa.BigInteger, nullable=False),  # rises while the owner lives
    sa.Column("position", sa.String(64)),  # in the broker; null: the beginning
    sa.Column("commits", sa.BigInteger, nullable=False),
    sa.Column("verdict", sa.BigInteger, nullable=False),  # sequence of the last one applied
    sa.Column("state", sa.LargeBinary),  # arrays as npz, as of an earlier commit; see JOURNAL
)

# What happened to a partition since `state`: Arrow streams, see `journal.py`.
JOURNAL = sa.Table(
    "anomaly_journal",
    METADATA,
    sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("commit", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("record", sa.LargeBinary, nullable=False),
)

# Dead letters on their way to the broker: one row holds those of a partition's commit.
LETTERS = sa.Table(
    "anomaly_letters",
    METADATA,
    sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("token", sa.String(32), nullable=False),  # unlike any other: brokers keep it once
    sa.Column("letters", sa.JSON, nullable=False),  # a list of `DeadLetter.as_json`
    sqlite_autoincrement=True,
)

PROCESSORS = sa.Table(
    "anomaly_processors",
    METADATA,
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("beat", sa.BigInteger, nullable=False),
)
