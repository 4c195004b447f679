"""A registry's database that is not there, or does not know us."""

from __future__ import annotations

from pathlib import Path

import pytest

from feature_repo.metadata import connect
from feature_repo.store import StoreError
from serving.supervisor import free_port
from tests.feature_repo.registry.conftest import Registry


def test_a_database_that_cannot_be_reached_is_named_without_its_password(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}/millrace"
    made = Registry(tmp_path / "features", f"postgresql+psycopg://millrace:secret@{address}")
    with pytest.raises(StoreError) as refused:
        connect(made.folder)
    assert address in str(refused.value)
    assert "PGPASSWORD or ~/.pgpass" in str(refused.value)
    assert "secret" not in str(refused.value)
