"""Telemetry with people's verdicts as labels."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import polars as pl

from models.anomaly.retraining.alarms import UnjudgedAlarms
from models.anomaly.telemetry import ANOMALOUS, DOUBTED, NORMAL, UNKNOWN, Telemetry

log = logging.getLogger(__name__)

# As the `labels` table says it.
_MEANING = {"confirmed": ANOMALOUS, "dismissed": NORMAL}


class Reader(Protocol):
    def read(self) -> Telemetry: ...


class LabelCounts(NamedTuple):
    """What became of the verdicts.

    Args:
        matched: a row of telemetry has the label.
        restored: the telemetry is gone; the row was put back from the values that the stream saw.
        lost: the telemetry is gone and the verdict has none of the fields: nothing to learn.
        doubted: rows that alarmed and that nobody judged.
    """

    matched: int = 0
    restored: int = 0
    lost: int = 0
    doubted: int = 0


@dataclass
class JudgedReader:
    """Telemetry of another reader; rows that somebody judged are labelled.

    Verdicts win over labels that the reader gives. A verdict finds its row by source and second;
    where a source has several rows in that second, by the values that the stream saw, and where
    none has those, all of them are labelled.

    Args:
        reader: gives the telemetry.
        labels: folder of the warehouse's `labels` table; absent or empty: nobody judged.
        restore: put judged events back whose telemetry is gone.
        alarms: finds what alarmed and nobody judged: those rows are `DOUBTED`, unless the reader
            or a verdict labels them; None: they are unknown like others, and learnt as normal.
    """

    reader: Reader
    labels: str | Path
    restore: bool = True
    alarms: UnjudgedAlarms | None = None
    counts: LabelCounts = field(default=LabelCounts(), init=False)

    def read(self) -> Telemetry:
        telemetry = self.reader.read()
        table = self._table()
        telemetry, doubted = self._doubted(telemetry, table)
        if table is None:
            log.info("%s: no verdicts", self.labels)
            self.counts = LabelCounts(doubted=doubted)
            return telemetry
        rows = pl.DataFrame(
            {
                "source": np.asarray(telemetry.sources)[telemetry.source],
                "second": telemetry.time,
                "row": np.arange(len(telemetry)),
            }
        )
        # Where two verdicts speak of one second, the later event's counts.
        met = table.sort("timestamp").join(rows, on=["source", "second"], how="inner")
        met = _alike(met, telemetry)
        label = telemetry.label.copy()
        label[met["row"].to_numpy()] = met["label"].to_numpy()
        gone = table.join(rows, on=["source", "second"], how="anti")
        labelled = replace(telemetry, label=label)
        values = _values(gone, telemetry.fields)
        there = ~np.isnan(values).all(axis=1)
        if not self.restore:
            there[:] = False
        lost = len(gone) - int(there.sum())
        self.counts = LabelCounts(met["id"].n_unique(), int(there.sum()), lost, doubted)
        log.info("verdicts: %d matched, %d restored, %d lost", *self.counts[:3])
        return _joined(labelled, gone.filter(there), values[there]) if there.any() else labelled

    def _table(self) -> pl.DataFrame | None:
        """The verdicts, with the second and the label."""
        files = sorted(Path(self.labels).glob("**/*.parquet"))
        if not files:
            return None
        return pl.concat([pl.read_parquet(f, hive_partitioning=False) for f in files]).with_columns(
            pl.col("timestamp").dt.epoch("s").alias("second"),
            pl.col("verdict").replace_strict(_MEANING, return_dtype=pl.Int8).alias("label"),
        )

    def _doubted(self, telemetry: Telemetry, table: pl.DataFrame | None) -> tuple[Telemetry, int]:
        """With alarms that nobody judged marked, and how many rows that are."""
        if self.alarms is None:
            return telemetry, 0
        judged = None if table is None else table.select("source", "timestamp")
        doubted = self.alarms(telemetry, judged) & (telemetry.label == UNKNOWN)
        label = np.where(doubted, DOUBTED, telemetry.label).astype(np.int8)
        log.info("%d rows alarmed and nobody judged them", doubted.sum())
        return replace(telemetry, label=label), int(doubted.sum())


def _alike(met: pl.DataFrame, telemetry: Telemetry) -> pl.DataFrame:
    """Of several rows that a verdict met, those with the values that it speaks of, if there are."""
    several = met.filter(pl.len().over("id") > 1)
    if several.is_empty():
        return met
    said = _values(several, telemetry.fields)
    there = telemetry.values[several["row"].to_numpy()]
    same = np.isnan(said) | (np.abs(there - said) <= 1e-5 * (1 + np.abs(said)))
    known = ~np.isnan(said).all(axis=1)
    alike = several.select("id", "row").filter(same.all(axis=1) & known)
    others = met.join(alike, on="id", how="anti")
    return pl.concat([others, met.join(alike, on=["id", "row"], how="semi")]).sort("timestamp")


def _values(gone: pl.DataFrame, fields: tuple[str, ...]) -> np.ndarray:
    """[N, F] as the stream saw them; NaN: missing, or a field that it did not have."""
    values = np.full((len(gone), len(fields)), np.nan, dtype=np.float32)
    column = {name: i for i, name in enumerate(fields)}
    for row, parts in enumerate(gone["fields"].to_list()):
        for part in parts:
            if part["name"] in column and part["value"] is not None:
                values[row, column[part["name"]]] = part["value"]
    return values


def _joined(telemetry: Telemetry, gone: pl.DataFrame, values: np.ndarray) -> Telemetry:
    return Telemetry.of(
        np.concatenate([telemetry.values, values]),
        telemetry.fields,
        np.concatenate([telemetry.time, gone["second"].to_numpy()]),
        [*np.asarray(telemetry.sources)[telemetry.source].tolist(), *gone["source"].to_list()],
        np.concatenate([telemetry.label, gone["label"].to_numpy()]),
    )
