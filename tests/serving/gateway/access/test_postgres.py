"""Keys and the audit log in PostgreSQL, beside a registry that lies there."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pgserver
import pytest
import yaml

from serving.gateway.access.audit import AuditLog, Event
from serving.gateway.access.audit_query import AuditQuery
from serving.gateway.access.database import Database
from serving.gateway.access.keys import ApiKeyError, ApiKeys
from serving.gateway.access.roles import Role
from serving.gateway.access.spill import Spill
from serving.gateway.metrics import GatewayMetrics

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A features folder whose metadata database is a real PostgreSQL."""
    made = tmp_path_factory.mktemp("features")
    server = pgserver.get_server(tmp_path_factory.mktemp("postgres"))
    uri = server.get_uri().replace("postgresql://", "postgresql+psycopg://")
    settings = {"registry": {"registry_type": "sql", "path": uri}}
    (made / "feature_store.yaml").write_text(yaml.safe_dump(settings))
    yield made
    server.cleanup()


def test_keys(folder: Path) -> None:
    database = Database(folder)
    keys = ApiKeys(database.engine())
    key, secret = keys.create("pg", {"*": Role.ADMIN}, "test", timedelta(days=1))
    stored = keys.stored()[0]
    assert stored.key == key
    assert stored.matches(secret.split("_", 2)[2])
    assert stored.key.expires_at is not None
    assert stored.key.expires_at.tzinfo == UTC
    with pytest.raises(ApiKeyError):
        keys.create("pg", {"*": Role.ADMIN}, "test", None)
    assert keys.revoke("pg", "test").state(datetime.now(UTC)) == "revoked"
    database.close()


def test_events_with_all_kinds_of_text(folder: Path, tmp_path: Path) -> None:
    log = AuditLog(Spill(tmp_path), max_queue=100, max_batch=10, retry_s=0.1)
    database = Database(folder)
    log.open(database, GatewayMetrics())
    for why in ("plain", "nul \0", "half \ud800", "long " * 1000, "日本"):
        log.append(Event("millrace", "user:ada", "push", "ok", why=why))
    log.close()
    today = datetime.now(UTC).date().isoformat()
    found = AuditQuery.parse({"who": "user:*", "from": today}, 100).run(database.engine())
    assert len(found) == 5
    assert all(e["at"].endswith("+00:00") for e in found)
    assert not list(tmp_path.glob("spill-*"))
    database.close()
