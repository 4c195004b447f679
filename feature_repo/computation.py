"""Compute a view's rows, day by day, and only the days that are not up to date.

A day is up to date while the code, the settings and the raw days that it depends on are what they
were when it was computed. Stale days are computed in stretches, checked, and put in place one file
at a time: a day computed twice leaves the same rows, and a reader never sees half a file.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import ibis
import polars as pl
import sqlalchemy as sa

from feature_repo.dates import Dates
from feature_repo.engines import Engine
from feature_repo.governance.erasures import Erased
from feature_repo.governance.horizons import horizon_of
from feature_repo.metadata import METADATA, connect
from feature_repo.quality.rules import check, quarantine
from feature_repo.quality.schema import polars_schema
from feature_repo.sources import Partition, RawTable
from feature_repo.store import StoreError
from feature_repo.view import CREATED, DAY, TIME, View

log = logging.getLogger(__name__)

WHOLE = date(1970, 1, 1)  # stands for the one part of a view that is not cut by days
FILE = "part-0.parquet"  # what computation writes; pushes lie beside it under other names

computations = sa.Table(
    "computations",
    METADATA,
    sa.Column("view", sa.String(255), primary_key=True),
    sa.Column("day", sa.Date, primary_key=True),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("code_hash", sa.String(16), nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("rejected", sa.BigInteger, nullable=False),
    sa.Column("computed_at", sa.DateTime(timezone=True), nullable=False),
    # Null: not yet written online, be it that the process died in between.
    sa.Column("published_at", sa.DateTime(timezone=True)),
)


@dataclass
class Computed:
    """What one call did."""

    days: list[date]
    rows: int
    rejected: int
    seconds: float


class Computation:
    """Keeps the offline tables of a store up to date.

    Args:
        folder: of the store.
        engine: what runs the transformations.
        settings: values that transformations may ask for, by name.
        rows_per_stretch: raw rows computed together; bounds memory.
        max_reject_share: a view with a larger share of rejected rows fails.
    """

    def __init__(
        self,
        folder: Path,
        engine: Engine,
        settings: Mapping[str, Any],
        rows_per_stretch: int,
        max_reject_share: float,
    ) -> None:
        self.folder = folder
        self.engine = engine
        self.settings = settings
        self.rows_per_stretch = rows_per_stretch
        self.max_reject_share = max_reject_share
        self._metadata = connect(folder)

    def update(
        self, view: View, tables: Mapping[str, RawTable], within: Dates | None = None
    ) -> Computed:
        """Compute the stale days of a view.

        Args:
            within: compute these days, stale or not, and no others (a backfill); of a chained
                view also all later ones, which follow from them.

        Raises:
            StoreError: a raw file cannot be read, or a view has too many bad rows.
        """
        started = time.perf_counter()
        sources = [tables[name] for name in view.sources]
        raw, expected = self._expected(view, sources)
        expected = self._kept(view, expected, within)
        known = self._known(view)
        stale = [d for d, code in expected.items() if known.get(d) != code]
        if within is not None:
            stale = [
                d for d in expected if d >= within.first and (d <= within.last or view.chained)
            ]
            if expected and not stale:
                log.warning(
                    "%s: no day from %s to %s has raw data, so nothing is computed; there are %s "
                    "to %s",
                    view.full_name, within.first, within.last, min(expected), max(expected),
                )  # fmt: skip
        rows = rejected = 0
        for stretch in self._stretches(view, stale, raw):
            written, bad = self._compute(view, sources, stretch)
            rows, rejected = rows + sum(written.values()), rejected + sum(bad.values())
            self._remember(view, {d: expected[d] for d in stretch}, written, bad)
        gone = [d for d in known if d not in expected]
        for day in gone if within is None else []:
            self._remove(view, day)
        seconds = time.perf_counter() - started
        log.info(
            "%s: %d days, %d rows, %d rejected (%.1f s)",
            view.full_name,
            len(stale),
            rows,
            rejected,
            seconds,
        )
        return Computed(stale, rows, rejected, seconds)

    def unpublished(self, view: View) -> list[date]:
        """Days whose rows have not been written online since they were computed."""
        query = sa.select(computations.c.day).where(
            computations.c.view == view.full_name, computations.c.published_at.is_(None)
        )
        with self._metadata.connect() as connection:
            return list(connection.scalars(query.order_by(computations.c.day)))

    def mark_published(self, view: View, days: Sequence[date]) -> None:
        """Remember that these days' rows are online."""
        mine = computations.c.view == view.full_name
        with self._metadata.begin() as connection:
            connection.execute(
                computations.update()
                .where(mine, computations.c.day.in_(list(days)))
                .values(published_at=datetime.now(UTC))
            )

    def stale_days(self, view: View, tables: Mapping[str, RawTable]) -> list[date]:
        """Days whose rows do not follow from what the raw tables, code and settings are now."""
        _, expected = self._expected(view, [tables[name] for name in view.sources])
        known = self._known(view)
        gone = [d for d in known if d not in expected]
        return sorted([d for d, code in expected.items() if known.get(d) != code] + gone)

    def computed_at(self, view: View) -> dict[date, datetime]:
        """When each day of a view was computed last."""
        query = sa.select(computations.c.day, computations.c.computed_at).where(
            computations.c.view == view.full_name
        )
        with self._metadata.connect() as connection:
            rows = connection.execute(query).all()
        # SQLite keeps no zone.
        return {r.day: r.computed_at.replace(tzinfo=r.computed_at.tzinfo or UTC) for r in rows}

    def _expected(
        self, view: View, sources: list[RawTable]
    ) -> tuple[dict[date, int], dict[date, str]]:
        """Raw rows by day, and the fingerprint that each day of the view should carry."""
        values = {name: self.settings[name] for name in view.settings}
        basis = f"{view.code_hash()}:{json.dumps(values, sort_keys=True)}"
        if not view.partitioned:
            return {WHOLE: 0}, {WHOLE: _digest(basis, *(s.fingerprint() for s in sources))}
        merged: dict[date, list[Partition]] = {}
        for source in sources:
            for day, partition in source.partitions().items():
                merged.setdefault(day, []).append(partition)
        if not merged:
            return {}, {}
        every = Dates(min(merged), max(merged))
        codes = {d: ".".join(p.fingerprint for p in merged[d]) for d in merged}
        expected: dict[date, str] = {}
        chain = ""
        for day in every.days() if view.lookback else sorted(merged):
            window = [codes.get(d, "") for d in Dates(day - timedelta(view.lookback), day).days()]
            expected[day] = chain = _digest(basis, *window, chain if view.chained else "")
        return {d: sum(p.rows for p in parts) for d, parts in merged.items()}, expected

    def _kept(self, view: View, expected: dict[date, str], within: Dates | None) -> dict[date, str]:
        """Without the days that retention has deleted: they stay deleted."""
        first = horizon_of(self._metadata, view.full_name) if view.partitioned else None
        if first is None:
            return expected
        asked = [d for d in expected if within and within.first <= d <= within.last and d < first]
        if asked:
            log.warning(
                "%s: %d days before %s are not computed again: retention has deleted them",
                view.full_name,
                len(asked),
                first,
            )
        return {d: code for d, code in expected.items() if d >= first}

    def _stretches(
        self, view: View, stale: list[date], raw: Mapping[date, int]
    ) -> Iterator[list[date]]:
        """Stale days in order, cut where a gap lies between them or enough rows are together."""
        stretch: list[date] = []
        rows = 0
        for day in sorted(stale):
            size = raw.get(day, 0)
            gap = bool(stretch) and view.lookback > 0 and (day - stretch[-1]).days > view.lookback
            if stretch and (gap or rows + size > self.rows_per_stretch):
                yield stretch
                stretch, rows = [], 0
            stretch.append(day)
            rows += size
        if stretch:
            yield stretch

    def _compute(
        self, view: View, sources: list[RawTable], stretch: list[date]
    ) -> tuple[dict[date, int], dict[date, int]]:
        """Rows written and rows rejected, by day."""
        staging = self.folder / "offline" / ".staging"
        staging.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f"{view.full_name}-", dir=staging))
        try:
            self._run(view, sources, Dates(stretch[0], stretch[-1]), scratch)
            return self._put_in_place(view, stretch, scratch)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _run(self, view: View, sources: list[RawTable], dates: Dates, scratch: Path) -> None:
        read = dates.widened(view.lookback) if view.partitioned else None
        erased = Erased.of(self._metadata)
        arguments: dict[str, Any] = {
            name: erased.without(source.read(self.engine, read), self.engine)
            for name, source in zip(view.sources, sources, strict=True)
        }
        arguments |= {name: self.settings[name] for name in view.settings}
        if view.chained:
            arguments["previous"] = self._previous(view, dates.first)
        try:
            table = view.transformation(**arguments, dates=dates)
            if not view.partitioned:
                table = table.mutate(**{DAY: ibis.literal(WHOLE)})
            self.engine.write(table, scratch)
        except Exception as error:
            raise StoreError(f"view {view.full_name}: {str(error).splitlines()[0]}") from error

    def _previous(self, view: View, first: date) -> Any:
        """Each key's newest computed row of the days before `first`.

        Not of pushed rows: a day must follow from raw data alone, as its fingerprint says.
        """
        files = [
            f
            for d, f in view_files(view, self.folder)
            if d is not None and d < first and f.name == FILE
        ]
        if not files:
            columns = polars_schema(view)
            return self.engine.arrow(pl.DataFrame(schema=columns).to_arrow())
        table = self.engine.read(files)
        newest = ibis.window(group_by=view.key, order_by=[ibis.desc(TIME), ibis.desc(CREATED)])
        return table.mutate(place=ibis.row_number().over(newest)).filter(ibis._.place == 0)

    def _put_in_place(
        self, view: View, stretch: list[date], scratch: Path
    ) -> tuple[dict[date, int], dict[date, int]]:
        created = datetime.now(UTC)
        written, rejected = dict.fromkeys(stretch, 0), dict.fromkeys(stretch, 0)
        if view.partitioned:
            parts = {d: sorted((scratch / f"{DAY}={d}").glob("*.parquet")) for d in stretch}
        else:
            parts = {WHOLE: sorted(scratch.rglob("*.parquet"))}
        for day, files in parts.items():
            frame = _typed(view, files, created)
            good, bad = check(view, frame)
            if len(bad):
                quarantine(self.folder, view, bad, created)
                self._complain(view, day, len(bad), len(frame))
            _replace(good, part_path(view, self.folder, day))
            written[day], rejected[day] = len(good), len(bad)
        return written, rejected

    def _complain(self, view: View, day: date, bad: int, of: int) -> None:
        message = (
            f"view {view.full_name}, {day}: {bad} of {of} rows rejected; "
            f"see {self.folder / 'quarantine' / view.full_name}"
        )
        if bad > self.max_reject_share * of:
            raise StoreError(
                f"{message}. That is more than max_reject_share={self.max_reject_share:.1%}"
            )
        log.warning(message)

    def _known(self, view: View) -> dict[date, str]:
        query = sa.select(computations.c.day, computations.c.fingerprint).where(
            computations.c.view == view.full_name
        )
        with self._metadata.connect() as connection:
            return {row.day: row.fingerprint for row in connection.execute(query)}

    def _remember(
        self,
        view: View,
        expected: Mapping[date, str],
        written: Mapping[date, int],
        rejected: Mapping[date, int],
    ) -> None:
        now = datetime.now(UTC)
        mine = computations.c.view == view.full_name
        with self._metadata.begin() as connection:
            connection.execute(
                computations.delete().where(mine, computations.c.day.in_(list(expected)))
            )
            connection.execute(
                computations.insert(),
                [
                    {
                        "view": view.full_name,
                        "day": day,
                        "fingerprint": code,
                        "code_hash": view.code_hash(),
                        "rows": written[day],
                        "rejected": rejected[day],
                        "computed_at": now,
                    }
                    for day, code in expected.items()
                ],
            )

    def _remove(self, view: View, day: date) -> None:
        """A day whose raw rows are gone."""
        part_path(view, self.folder, day).unlink(missing_ok=True)
        with self._metadata.begin() as connection:
            connection.execute(
                computations.delete().where(
                    computations.c.view == view.full_name, computations.c.day == day
                )
            )


def part_path(view: View, store: Path, day: date) -> Path:
    """Where the computed rows of a day lie."""
    folder = view.folder(store)
    return (
        folder / FILE if day == WHOLE and not view.partitioned else folder / f"{DAY}={day}" / FILE
    )


def view_files(view: View, store: Path) -> list[tuple[date | None, Path]]:
    """Every offline file of a view with its day, computed and pushed ones."""
    found = []
    for file in sorted(view.folder(store).rglob("*.parquet")):
        name = file.parent.name
        day = date.fromisoformat(name[len(DAY) + 1 :]) if name.startswith(f"{DAY}=") else None
        found.append((day, file))
    return found


def _digest(*parts: str) -> str:
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:32]


def _typed(view: View, files: list[Path], created: datetime) -> pl.DataFrame:
    """The rows of some files in the view's own types, ordered by key and time."""
    schema = polars_schema(view)
    if not files:
        return pl.DataFrame(schema=schema)
    rows = pl.concat([pl.read_parquet(f, hive_partitioning=False) for f in files])
    moment = pl.col(TIME)
    if rows.schema[TIME] == pl.Datetime("us") or rows.schema[TIME] == pl.Datetime("ns"):
        moment = moment.dt.replace_time_zone("UTC")
    return (
        rows.with_columns(moment, pl.lit(created).alias(CREATED))
        .select(pl.col(name).cast(dtype) for name, dtype in schema.items())
        .sort(view.key, TIME)
    )


def _replace(frame: pl.DataFrame, path: Path) -> None:
    """Write beside the goal and rename: readers never see half a file. No rows: no file."""
    if frame.is_empty():
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    try:
        frame.write_parquet(partial)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StoreError(f"{path}: cannot be written ({error})") from error
