"""The only door through which definitions reach Feast.

Under a lease, in this order: settle what an earlier apply left unfinished, compare with the
history, refuse what would break readers, write the new revisions down as pending, give everything
to Feast, mark the revisions applied. A process may die at any point: the history never claims what
Feast does not have, because every object in Feast carries its definition's digest.

Feast is always given all current definitions, not only new ones: that repairs a Feast registry that
was lost or changed from elsewhere.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from feature_repo.metadata import connect
from feature_repo.registry import versions
from feature_repo.registry.author import Author
from feature_repo.registry.compatibility import (
    Change,
    IncompatibleError,
    compare,
    entity_conflict,
    refusal,
)
from feature_repo.registry.definition import ON_DEMAND, SERVICE, VIEW, Definition
from feature_repo.registry.lease import Lease, LeaseTerms, hold
from feature_repo.registry.objects import build, digest_of, registered
from feature_repo.registry.versions import Revision
from feature_repo.store import StoreError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Applied:
    """What an apply did.

    Args:
        recorded: new revisions.
        vanished: registered, but no longer in the code; still served as they were.
        older: registered versions of views that the code has in a newer version.
        settled: revisions that an earlier apply had left pending, with their final state.
    """

    recorded: list[Revision]
    vanished: list[str] = field(default_factory=list)
    older: list[str] = field(default_factory=list)
    settled: list[Revision] = field(default_factory=list)


def refuse_breaking(folder: Path, definitions: Sequence[Definition]) -> None:
    """Raise `IncompatibleError` for what `apply` would refuse, before anything is computed."""
    with connect(folder).connect() as connection:
        _compared(definitions, versions.current(connection))


def apply(
    store: Any,
    folder: Path,
    definitions: Sequence[Definition],
    author: Author,
    terms: LeaseTerms,
    declared: Iterable[str] | None = None,
) -> Applied:
    """Register definitions with Feast and in the history.

    Args:
        definitions: see `declaration.py`; those of other names stay as they are.
        declared: the full names of everything that the code has; None: `definitions` are all.

    Raises:
        IncompatibleError: a definition would break its readers; nothing is changed then.
        LeaseHeldError: somebody else is applying.
    """
    with hold(engine := connect(folder), terms, author.by) as lease:
        settled = _settle(store, engine)
        with engine.connect() as connection:
            now = versions.current(connection)
            changed = _compared(definitions, now)
            new = [_next(connection, d, author, now, c) for d, c in changed]
        _carry_out(store, folder, lease, now, new)
    code = set(declared) if declared is not None else {d.full_name for d in definitions}
    vanished, older = _left(now, code, definitions)
    for name in vanished:
        log.warning(
            "%s is registered but no longer in the code; it is served as it was, and not computed. "
            "`python scripts/features.py remove view=%s why=…` removes it",
            name,
            name,
        )
    for revision in new:
        log.info("%s, revision %d: %s", revision.full_name, revision.revision, _told(revision))
    return Applied(new, vanished, older, settled)


def restore(
    store: Any, folder: Path, full_name: str, revision: int, author: Author, terms: LeaseTerms
) -> Revision:
    """Apply an old revision's definition again, as a new revision.

    Raises:
        StoreError: no such revision, or a request-time view, whose function is in the code.
        IncompatibleError: going back would break what reads it now.
        LeaseHeldError: somebody else is applying.
    """
    with hold(engine := connect(folder), terms, author.by) as lease:
        _settle(store, engine)
        with engine.connect() as connection:
            now = versions.current(connection)
            wanted = find(connection, full_name, revision)
            if wanted.kind == ON_DEMAND:
                raise StoreError(
                    f"{full_name} runs as the function in {wanted.definition['code_path']}; bring "
                    f"its revision {revision} back there (`features.py diff` shows it), and apply"
                )
            definition = definition_of(wanted)
            changed = _compared([definition], now)
            if not changed:
                raise StoreError(f"{full_name} is as in revision {revision} already")
            new = _next(connection, definition, author, now, changed[0][1])
            new = replace(new, action=versions.RESTORED)
        _carry_out(store, folder, lease, now, [new])
    return replace(new, state=versions.APPLIED)


def remove(store: Any, folder: Path, full_name: str, author: Author, terms: LeaseTerms) -> Revision:
    """Take a view or service out of Feast; its history and its offline rows stay.

    Raises:
        StoreError: no such name, or something else still uses it.
        LeaseHeldError: somebody else is applying.
    """
    with hold(engine := connect(folder), terms, author.by) as lease:
        _settle(store, engine)
        with engine.connect() as connection:
            now = versions.current(connection)
            if full_name not in now:
                raise StoreError(unknown("view or service", full_name, now))
            users = [r.full_name for r in now.values() if full_name in _reads(r)]
            if users:
                raise StoreError(
                    f"{full_name} is used by {', '.join(users)}; remove or change that first"
                )
            new = _next(connection, definition_of(now[full_name]), author, now, [])
            new = replace(new, action=versions.REMOVED)
        with engine.begin() as connection:
            lease.require(connection)
            versions.insert(connection, [new])
        item = registered(store).get(full_name)
        if item is not None:
            sources = [getattr(item, "batch_source", None), getattr(item, "stream_source", None)]
            gone = [item, *(s for s in sources if s is not None)]
            store.apply([], objects_to_delete=gone, partial=False)
        with engine.begin() as connection:
            versions.settle(connection, [new], versions.APPLIED)
    return replace(new, state=versions.APPLIED)


def registered_views(folder: Path) -> list[str]:
    """The full names of the views that the registry has."""
    with connect(folder).connect() as connection:
        return [n for n, r in versions.current(connection).items() if r.kind == VIEW]


def find(connection: sa.Connection, full_name: str, revision: int) -> Revision:
    """One applied revision; raises `StoreError` naming those that there are."""
    kept = [r for r in versions.revisions(connection, full_name) if r.state == versions.APPLIED]
    if not kept:
        every = versions.current(connection, removed=True)
        raise StoreError(unknown("view or service", full_name, every))
    for candidate in kept:
        if candidate.revision == revision:
            return candidate
    there = ", ".join(str(r.revision) for r in kept)
    raise StoreError(f"{full_name} has no revision {revision}; there are {there}")


def definition_of(revision: Revision) -> Definition:
    """The definition that a revision keeps."""
    return Definition(
        revision.kind,
        revision.name,
        revision.full_name,
        revision.version,
        revision.definition,
        revision.code,
    )


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """ "no view x; nearest: y" for an error's message."""
    there = sorted(known)
    near = difflib.get_close_matches(name, there, n=3, cutoff=0.5)
    if near:
        return f"no {what} {name!r}; nearest: {', '.join(near)}"
    return f"no {what} {name!r}; there are {', '.join(there) or 'none'}"


def _carry_out(
    store: Any, folder: Path, lease: Lease, now: Mapping[str, Revision], new: Sequence[Revision]
) -> None:
    """Pending, Feast, applied."""
    after = {n: definition_of(r) for n, r in now.items()}
    after |= {r.full_name: definition_of(r) for r in new}
    with lease.engine.begin() as connection:
        lease.require(connection)
        versions.insert(connection, new)
    store.apply(build(folder, list(after.values())))
    with lease.engine.begin() as connection:
        lease.require(connection)
        versions.settle(connection, new, versions.APPLIED)


def _settle(store: Any, engine: sa.Engine) -> list[Revision]:
    """Find out what became of revisions whose apply did not end."""
    with engine.connect() as connection:
        pending = [r for r in versions.revisions(connection) if r.state == versions.PENDING]
    if not pending:
        return []
    there = registered(store)
    settled = []
    for revision in pending:
        item = there.get(revision.full_name)
        if revision.action == versions.REMOVED:
            happened = item is None
        else:
            happened = item is not None and digest_of(item) == revision.digest
        state = versions.APPLIED if happened else versions.ABANDONED
        with engine.begin() as connection:
            versions.settle(connection, [revision], state)
        log.warning(
            "%s, revision %d by %s: its apply did not end; it is %s",
            revision.full_name,
            revision.revision,
            revision.changed_by,
            "complete" if happened else "abandoned, as Feast never got it",
        )
        settled.append(replace(revision, state=state))
    return settled


def _compared(
    definitions: Sequence[Definition], now: Mapping[str, Revision]
) -> list[tuple[Definition, list[Change]]]:
    """The definitions that differ from what is registered, and how.

    Raises:
        IncompatibleError: one would break its readers.
    """
    found, refused = [], []
    for new in definitions:
        old = now.get(new.full_name)
        if old is not None and old.digest == new.digest():
            continue
        changes = compare(old.definition, new.content) if old is not None else []
        if any(c.breaking for c in changes):
            refused.append(refusal(new.kind, new.name, new.full_name, new.version, changes))
        found.append((new, changes))
    if not refused:
        refused = entity_conflict(definitions, now)
    if refused:
        raise IncompatibleError("\n".join(refused))
    return found


def _next(
    connection: sa.Connection,
    definition: Definition,
    author: Author,
    now: Mapping[str, Revision],
    changes: Sequence[Change],
) -> Revision:
    """A definition as the next revision of its name, still pending."""
    earlier = versions.revisions(connection, definition.full_name)
    there = definition.full_name in now
    return Revision(
        kind=definition.kind,
        name=definition.name,
        full_name=definition.full_name,
        version=definition.version,
        revision=max((r.revision for r in earlier), default=0) + 1,
        digest=definition.digest(),
        schema_hash=definition.schema_hash(),
        definition=dict(definition.content),
        code=definition.code,
        action=versions.CHANGED if there else versions.ADDED,
        changes=tuple(c.text for c in changes),
        state=versions.PENDING,
        created_at=datetime.now(UTC),
        changed_by=author.by,
        why=author.why,
    )


def _left(
    now: Mapping[str, Revision], code: set[str], definitions: Sequence[Definition]
) -> tuple[list[str], list[str]]:
    """Registered names that the code lacks: those that vanished, and older versions."""
    newest = {d.name: d.version for d in definitions if d.kind == VIEW}
    vanished: list[str] = []
    older: list[str] = []
    for name, revision in now.items():
        if name in code:
            continue
        has_newer = revision.kind == VIEW and newest.get(revision.name, 0) > revision.version
        (older if has_newer else vanished).append(name)
    return vanished, older


def _reads(revision: Revision) -> list[str]:
    """The views that a service or a request-time view needs."""
    if revision.kind == SERVICE:
        return list(revision.definition["views"])
    return list(revision.definition.get("inputs", ()))


def _told(revision: Revision) -> str:
    return "; ".join(revision.changes) or revision.action
