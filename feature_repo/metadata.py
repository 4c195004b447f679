"""The metadata database: Feast's registry, and what we keep beside it, in one place.

SQLite inside the folder by default, PostgreSQL by `features/registry=postgres`.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from feature_repo.store import read_config

METADATA = sa.MetaData()


def connect(folder: Path) -> sa.Engine:
    """An engine on the store's metadata database; the tables of `METADATA` are made if missing.

    Raises:
        StoreError: the folder holds no store yet.
    """
    engine = sa.create_engine(read_config(folder)["registry"]["path"])
    METADATA.create_all(engine)
    return engine
