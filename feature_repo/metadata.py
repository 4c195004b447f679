"""The metadata database: Feast's registry, and what we keep beside it, in one place.

SQLite inside the folder by default, PostgreSQL by `features/registry=postgres`.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from feature_repo.store import StoreError, read_config

METADATA = sa.MetaData()


def connect(folder: Path) -> sa.Engine:
    """An engine on the store's metadata database; the tables of `METADATA` are made if missing.

    Raises:
        StoreError: the folder holds no store yet, or the database cannot be reached.
    """
    # Connections are closed after use: nobody disposes of the engines made here.
    engine = sa.create_engine(read_config(folder)["registry"]["path"], poolclass=sa.NullPool)
    try:
        try:
            METADATA.create_all(engine)
        except sa.exc.DBAPIError:  # another process made a table between our look and our making
            METADATA.create_all(engine)
    except sa.exc.OperationalError as error:
        url = engine.url.render_as_string(hide_password=True)
        reason = str(error.orig).splitlines()[0]
        raise StoreError(
            f"the registry's database at {url} cannot be used ({reason}); a PostgreSQL password "
            "comes from PGPASSWORD or ~/.pgpass"
        ) from error
    return engine
