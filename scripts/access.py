"""API keys and the audit log: `python scripts/access.py create|list|revoke|audit key=value …`."""

import getpass
import json
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa
from omegaconf import DictConfig
from rich.table import Table

from feature_repo.metadata import connect
from scripts.entrypoint import entrypoint
from scripts.feature_tables import console
from serving.gateway.access.audit import Event, as_row, audit_events
from serving.gateway.access.audit_query import FILTERS, AuditQuery
from serving.gateway.access.keys import ApiKeyError, ApiKeys
from serving.gateway.access.roles import parse_role
from serving.gateway.access.spill import Spill


def create(cfg: DictConfig, database: sa.Engine) -> None:
    """Make a key and show its secret, this once."""
    roles = {str(p): parse_role(r) for p, r in (cfg.roles or {cfg.project: cfg.role}).items()}
    lifetime = timedelta(days=cfg.expires_days) if cfg.expires_days is not None else None
    key, secret = ApiKeys(database).create(str(cfg.name or ""), roles, caller(), lifetime)
    record(cfg, database, "keys.create", key.name)
    until = f"{key.expires_at:%Y-%m-%d}" if key.expires_at else "for ever"
    print(secret)
    print(f"# {key.name}: {json.dumps(dict(key.roles))}, {until}. Shown once.", file=sys.stderr)


def revoke(cfg: DictConfig, database: sa.Engine) -> None:
    """End a key; running gateways notice within seconds."""
    key = ApiKeys(database).revoke(str(cfg.name or ""), caller())
    record(cfg, database, "keys.revoke", key.name)
    print(f"{key.name} ({key.id}) is revoked")


def show(cfg: DictConfig, database: sa.Engine) -> None:
    """Every key there is or was."""
    now = datetime.now(UTC)
    table = Table()
    for column in ("name", "id", "roles", "state", "created", "by", "expires"):
        table.add_column(column, overflow="fold")  # cut off, a role or an id says nothing
    for key in ApiKeys(database).all():
        roles = ", ".join(f"{project}:{role}" for project, role in key.roles.items())
        expires = f"{key.expires_at:%Y-%m-%d}" if key.expires_at else "never"
        created = f"{key.created_at:%Y-%m-%d}"
        table.add_row(key.name, key.id, roles, key.state(now), created, key.created_by, expires)
    console.print(table)


def audit(cfg: DictConfig, database: sa.Engine) -> None:
    """Events as JSON lines, newest first."""
    given = {name: cfg[name] for name in (*FILTERS, "from", "to", "limit") if name != "project"}
    for event in AuditQuery.parse(given, max_limit=1_000_000).run(database):
        print(json.dumps(event))
    waiting = Spill(cfg.spill).waiting()
    if waiting:
        text = f"# {waiting} events are still in {cfg.spill}: a gateway brings them in"
        print(text, file=sys.stderr)


def record(cfg: DictConfig, database: sa.Engine, action: str, subject: str) -> None:
    """What is done here is in the audit log too."""
    event = Event(cfg.project, caller(), action, "ok", subject=subject, why=cfg.why)
    with database.begin() as connection:
        connection.execute(audit_events.insert(), as_row(event))


def caller() -> str:
    return f"cli:{getpass.getuser()}"


COMMANDS: Mapping[str, Callable[[DictConfig, sa.Engine], None]] = {
    "create": create,
    "list": show,
    "revoke": revoke,
    "audit": audit,
}


@entrypoint("access", dict.fromkeys(COMMANDS, ()))
def main(cfg: DictConfig) -> None:
    """Run one command on the store's metadata database."""
    if cfg.command not in COMMANDS:
        raise ApiKeyError(f"no command {cfg.command!r}; there are {', '.join(COMMANDS)}")
    database = connect(Path(cfg.paths.features))
    try:
        COMMANDS[cfg.command](cfg, database)
    finally:
        database.dispose()


if __name__ == "__main__":
    main()
