"""The metadata database, connected at the first use that succeeds: a gateway starts without it."""

from __future__ import annotations

import threading
from pathlib import Path

import sqlalchemy as sa

from feature_repo.metadata import connect


class Database:
    """The engine of a features folder's metadata database."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._engine: sa.Engine | None = None
        self._lock = threading.Lock()

    def engine(self) -> sa.Engine:
        """May wait for the network: call it from a thread.

        Raises:
            SQLAlchemyError: the database cannot be reached.
            StoreError: the folder holds no store.
        """
        with self._lock:
            if self._engine is None:
                self._engine = connect(self.folder)
            return self._engine

    def close(self) -> None:
        if self._engine is not None:
            self._engine.dispose()
