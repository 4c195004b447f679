"""Erase one user everywhere, and show that it is done.

Raw tables, offline tables, quarantine, saved training sets and the prediction log are Parquet files
and are written again without the user's rows; the online store forgets the key; tables of the
metadata database (what streaming keeps) lose the rows. A second scan then looks for the user again.

The days that raw tables lose rows of have another fingerprint afterwards, so the next
materialization computes them again: totals of items no longer count what the user did.

Stopped at any point, it can be run again: every step looks for what is left to do.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from feature_repo.governance import erasures, files
from feature_repo.governance.errors import GovernanceError
from feature_repo.governance.online import entity_keys, online_store
from feature_repo.metadata import connect
from feature_repo.store import open_store
from feature_repo.views import VIEWS

log = logging.getLogger(__name__)

USER = "user_id"


@dataclass
class Place:
    """One table, folder or store.

    Args:
        found: rows of the user (online: values).
        removed: of them, removed.
        files: rewritten or deleted.
        left: rows that the second scan found.
    """

    found: int = 0
    removed: int = 0
    files: int = 0
    left: int = 0


@dataclass
class ErasureReport:
    """What an erasure did.

    Args:
        subject_hash: salted hash of the user's id.
        places: by name.
        stale: saved training sets whose content changed; their manifests no longer hold, and they
            can be made again.
        mentions: columns of the metadata database that name the user in other rows than the
            user's own (an audit log), and in how many; they are left as they are.
        unfinished: what could not be read or is being written; empty if all is done.
    """

    subject_hash: str
    places: dict[str, Place] = field(default_factory=dict)
    stale: list[str] = field(default_factory=list)
    mentions: dict[str, int] = field(default_factory=dict)
    unfinished: list[str] = field(default_factory=list)

    @property
    def removed(self) -> int:
        return sum(p.removed for p in self.places.values())

    @property
    def complete(self) -> bool:
        return not self.unfinished and not any(p.left for p in self.places.values())


@dataclass
class Erasure:
    """Erase users of one store and of what surrounds it.

    Args:
        folder: of the store.
        tables: name → folder with raw tables or logs, `<table>/…/*.parquet`.
        columns: columns that hold user ids.
        databases: name → SQLAlchemy URL of further databases, such as streaming's journal;
            `sqlite:///name` without a folder lies in the store's folder. One that does not exist
            is passed over.
        leftover_s: unfinished files older than this are left over from a stopped writer.
    """

    folder: Path
    tables: Mapping[str, Path]
    columns: Sequence[str]
    databases: Mapping[str, str]
    leftover_s: float

    def __call__(self, user: str, why: str, by: str) -> ErasureReport:
        """Erase one user; an unknown one gives a report of zeros.

        Raises:
            GovernanceError: a missing reason or name, or a reason that repeats the id.
            StoreError: the folder holds no store.
        """
        _check(user, why, by)
        folder = Path(self.folder).resolve()
        store = open_store(folder)
        metadata = connect(folder)
        number, code = erasures.begin(metadata, user, by, why)
        report = ErasureReport(code)
        # Raw rows first: what is computed meanwhile must not find them.
        roots = {name: Path(path).resolve() for name, path in self.tables.items()}
        roots |= {"features": folder, **_saved(store, [*roots.values(), folder])}
        for name, root in roots.items():
            for young in files.clear_leftovers(root, self.leftover_s):
                report.unfinished.append(f"{young} is being written")
            self._files(report, name, root, user, raw=name in self.tables)
        report.places["online"] = Place(found=(n := _online(store, user, False)), removed=n)
        databases = {"metadata": metadata, **self._others(folder)}
        for name, database in databases.items():
            _rows(report, name, database, user)
        report.unfinished += _databases(store, folder, databases, user)
        self._verify(report, roots, store, databases, user)
        if report.complete:
            erasures.finish(metadata, number, report.removed)
        return report

    def _others(self, folder: Path) -> dict[str, sa.Engine]:
        found = {}
        for name, text in self.databases.items():
            url = sa.make_url(text)
            if url.get_backend_name() == "sqlite":
                path = folder / str(url.database)
                if not path.is_file():
                    continue
                url = url.set(database=str(path))
            found[name] = sa.create_engine(url)
        return found

    def _files(self, report: ErasureReport, name: str, root: Path, user: str, raw: bool) -> None:
        for file in files.tables(root):
            place = report.places.setdefault(_place(name, root, file), Place())
            try:
                found = files.count(file, self.columns, user)
            except GovernanceError as error:
                report.unfinished.append(str(error))
                continue
            if not found:
                continue
            files.rewrite(file, self.columns, user, keep_empty=raw)
            place.found += found
            place.removed += found
            place.files += 1
            manifest = next(
                (p for p in file.parents if p != root and (p / "manifest.json").is_file()), None
            )
            if manifest is not None and str(manifest) not in report.stale:
                report.stale.append(str(manifest))

    def _verify(
        self,
        report: ErasureReport,
        roots: Mapping[str, Path],
        store: Any,
        databases: Mapping[str, sa.Engine],
        user: str,
    ) -> None:
        for name, root in roots.items():
            for file in files.tables(root):
                try:
                    left = files.count(file, self.columns, user)
                except GovernanceError as error:
                    if str(error) not in report.unfinished:
                        report.unfinished.append(str(error))
                    continue
                report.places.setdefault(_place(name, root, file), Place()).left += left
        report.places["online"].left = _online(store, user, True)
        for name, database in databases.items():
            for table in _tables_of_users(database):
                query = sa.select(sa.func.count()).where(sa.cast(table.c[USER], sa.String) == user)
                with database.connect() as connection:
                    left = int(connection.execute(query.select_from(table)).scalar_one())
                report.places.setdefault(f"{name}/{table.name}", Place()).left = left


def _online(store: Any, user: str, dry_run: bool) -> int:
    """Values of the user in all views of entities whose key is a user id; 0: none left."""
    views = {v.key: v.entity for v in VIEWS if v.key == USER}
    keys = [k for key, entity in views.items() for k in entity_keys(key, entity, [user])]
    return int(online_store(store).forget(store.config, keys, dry_run=dry_run)) if keys else 0


def _rows(report: ErasureReport, name: str, database: sa.Engine, user: str) -> None:
    """Delete the user's rows from a database, and count what else in it names the user."""
    removed = 0
    for table in _tables_of_users(database):
        with database.begin() as connection:
            if database.dialect.name == "sqlite":
                connection.exec_driver_sql("PRAGMA secure_delete=ON")
            which = sa.cast(table.c[USER], sa.String) == user
            found = connection.execute(table.delete().where(which)).rowcount
        report.places[f"{name}/{table.name}"] = Place(found=found, removed=found)
        removed += found
    if removed:
        with database.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM")
            if database.dialect.name == "sqlite":  # its write-ahead log holds the old pages
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    report.mentions |= _mentions(name, database, user)


def _tables_of_users(metadata: sa.Engine) -> list[sa.Table]:
    """Tables with a column of user ids, whoever made them."""
    found = sa.MetaData()
    found.reflect(metadata)
    return [table for table in found.sorted_tables if USER in table.c]


def _mentions(name: str, database: sa.Engine, user: str) -> dict[str, int]:
    found = sa.MetaData()
    found.reflect(database)
    word = re.compile(rf"(?<![\w-]){re.escape(user)}(?![\w-])")
    counts = {}
    with database.connect() as connection:
        for table in found.sorted_tables:
            for column in table.c:
                if not isinstance(column.type, sa.String):
                    continue
                like = sa.select(column).where(column.contains(user, autoescape=True))
                hits = sum(bool(word.search(str(text))) for (text,) in connection.execute(like))
                if hits:
                    counts[f"{name}/{table.name}.{column.name}"] = hits
    return counts


def _saved(store: Any, inside: Sequence[Path]) -> dict[str, Path]:
    """Folders of Feast's saved datasets that lie outside those that are searched anyway."""
    found = {}
    for dataset in store.registry.list_saved_datasets(store.project):
        uri = str(
            getattr(dataset.storage, "file_options", None) and dataset.storage.file_options.uri
        )
        path = Path(uri.removeprefix("file://")).resolve().parent
        if path.is_dir() and not any(path.is_relative_to(root) for root in inside):
            found[f"saved/{dataset.name}"] = path
    return found


def _databases(
    store: Any, folder: Path, databases: Mapping[str, sa.Engine], user: str
) -> list[str]:
    """SQLite files of the store's folder that it no longer uses and that name the user."""
    used = {d.url.database for d in databases.values()}
    used.add(getattr(store.config.online_store, "path", None))
    paths = {(folder / str(path)).resolve() for path in used if path}
    return [
        f"{file} names the user, and the store does not use it: remove it"
        for file in sorted(folder.glob("*.db"))
        if file.resolve() not in paths and user.encode() in file.read_bytes()
    ]


def _place(name: str, root: Path, file: Path) -> str:
    """`warehouse/events`, `features/offline/user_history`, …: without the days."""
    folders = [part for part in file.relative_to(root).parts[:-1] if "=" not in part]
    return "/".join([name, *folders[:2]])


def _check(user: str, why: str, by: str) -> None:
    for name, value, meaning in (
        ("user", user, "whom to erase"),
        ("why", why, "the reason, such as a ticket"),
        ("by", by, "who asks for it"),
    ):
        if not value.strip():
            raise GovernanceError(f"{name} is empty; give {name}=… ({meaning})")
    if re.search(rf"(?<![\w-]){re.escape(user)}(?![\w-])", why):
        raise GovernanceError(
            "why repeats the user's id, which would be kept in the register; give a reason or a "
            "ticket without it"
        )
