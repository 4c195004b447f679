"""Registries on SQLite and on a real PostgreSQL, and a small view to change in every way."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pgserver
import pytest
import sqlalchemy as sa

from feature_repo.entities import user
from feature_repo.registry.apply import Applied, apply
from feature_repo.registry.author import Author
from feature_repo.registry.definition import of_service, of_view
from feature_repo.registry.lease import LeaseTerms
from feature_repo.store import create_store
from feature_repo.transformations.user_counters import user_counters
from feature_repo.view import Feature, View
from feature_repo.views import Float64, Int64

TERMS = LeaseTerms(wait_s=20, expiry_s=5, poll_s=0.05)
ANN = Author("ann", "a test")
VIEWS = Feature("views", Int64, "products viewed", lowest=0)
SPEND = Feature("spend", Float64, "money spent", lowest=0)


def a_view(*features: Feature, **changes: Any) -> View:
    """A view of users; `changes` are other arguments of `View`."""
    given: dict[str, Any] = {
        "name": "shopping",
        "entity": user,
        "features": features or (VIEWS, SPEND),
        "transformation": user_counters,
        "sources": ("events",),
        "description": "What a user bought.",
        "ttl": timedelta(days=1),
        **changes,
    }
    return View(**given)


class Registry:
    """A store in a folder, with shorter words for what tests do."""

    def __init__(self, folder: Path, path: str) -> None:
        self.folder = folder
        self.store = create_store(
            folder,
            {"type": "feature_repo.online.stores.SqliteOnlineStore", "path": "online.db"},
            {"type": "feature_repo.offline.store.AsofOfflineStore"},
            {"registry_type": "sql", "path": path, "cache_ttl_seconds": 60},
        )

    def apply(self, *views: View, services: tuple[str, ...] = (), who: Author = ANN) -> Applied:
        """Views, and services over all of them."""
        made = [of_view(v) for v in views]
        made += [of_service(s, [v.full_name for v in views]) for s in services]
        return apply(self.store, self.folder, made, who, TERMS)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Callable[[], str]]:
    """Makes an empty database of a real PostgreSQL server; gives its address."""
    # PostgreSQL refuses to run as root, and pytest's own folders are closed to other users.
    folder = Path(tempfile.mkdtemp(prefix="millrace-postgres-"))
    folder.chmod(0o755)
    server = pgserver.get_server(folder, cleanup_mode="delete")
    address = server.get_uri().replace("postgresql://", "postgresql+psycopg://")
    engine = sa.create_engine(address, isolation_level="AUTOCOMMIT")

    def make() -> str:
        name = f"m{uuid.uuid4().hex}"
        with engine.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name}"))
        return str(sa.make_url(address).set(database=name).render_as_string(hide_password=False))

    yield make
    engine.dispose()
    server.cleanup()


@pytest.fixture(
    params=["sqlite", pytest.param("postgres", marks=pytest.mark.services)],
)
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Registry:
    if request.param == "sqlite":
        return Registry(tmp_path / "features", "sqlite:///registry.db")
    return Registry(tmp_path / "features", request.getfixturevalue("postgres")())


@pytest.fixture
def local(tmp_path: Path) -> Registry:
    """On SQLite only, for what does not depend on the database."""
    return Registry(tmp_path / "features", "sqlite:///registry.db")
