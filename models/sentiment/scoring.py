"""Score a table of texts with an artifact, a part at a time, so that a stopped run can go on."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from models import artifact
from models.export import session
from models.sentiment.answers import Answer
from models.sentiment.predictor import Predictor
from models.sentiment.readers.table import MissingTextsError
from models.sentiment.texts import TextError

log = logging.getLogger(__name__)

_SCANS: dict[str, Callable[..., pl.LazyFrame]] = {
    ".parquet": pl.scan_parquet,
    ".csv": pl.scan_csv,
    ".jsonl": pl.scan_ndjson,
    ".ndjson": pl.scan_ndjson,
}


@dataclass
class TextScorer:
    """Adds label, probabilities and doubt to each row.

    Args:
        model: folder of the artifact.
        column: that holds the text.
        rows: of one part; a stopped run goes on after the last whole part.
        threads: of ONNX Runtime; 0: as many as cores.
        batch_tokens: see `Predictor`.
        languages: detect each text's language.
        signed: column for one number from −1 (the first class) to 1 (the last); null: none.
    """

    model: str
    column: str
    rows: int
    threads: int
    batch_tokens: int
    languages: bool
    signed: str | None

    def score(self, source: Path, goal: Path) -> dict[str, float]:
        """Write `goal` (.parquet, .csv or .jsonl) with all columns of `source` and the answers.

        A row whose text is missing, or is no text, gets nulls and a reason. Parts lie in
        `<goal>.parts` until all are done; those of another input or model are thrown away.

        Raises:
            MissingTextsError: there is no such file.
            TextError: a kind of file that is not read, or no such column.
        """
        started = time.perf_counter()
        frame = self._scan(source)
        if goal.suffix not in _SCANS:
            raise TextError(f"{goal}: results are written as {', '.join(_SCANS)}")
        loaded = artifact.load(Path(self.model))
        run = session(loaded.model, self.threads)
        predictor = Predictor(loaded, lambda feed: run.run(None, dict(feed)), self.batch_tokens)
        parts = self._parts(source, goal, loaded.signature)
        total = int(frame.select(pl.len()).collect().item())
        scored = 0
        for number, start in enumerate(range(0, total, self.rows)):
            part = parts / f"part-{number:06d}.parquet"
            if part.is_file():
                continue
            rows = frame.slice(start, self.rows).collect()
            partial = part.with_suffix(".tmp")
            self._answered(rows, predictor, loaded.signature.version).write_parquet(partial)
            partial.replace(part)
            scored += len(rows)
            seconds = time.perf_counter() - started
            done = start + len(rows)
            left = (total - done) / (scored / seconds)
            log.info("%d of %d texts (%.0f a second, %.0f s left)", done, total,
                     scored / seconds, left)  # fmt: skip
        self._join(sorted(parts.glob("part-*.parquet")), goal)
        shutil.rmtree(parts)
        seconds = time.perf_counter() - started
        return {"rows": float(total), "scored": float(scored), "seconds": round(seconds, 2)}

    def _scan(self, source: Path) -> pl.LazyFrame:
        if not source.is_file():
            raise MissingTextsError(f"{source}: no such file")
        if source.suffix not in _SCANS:
            raise TextError(f"{source}: {source.suffix} is not read; give {', '.join(_SCANS)}")
        if source.suffix == ".csv":
            frame = pl.scan_csv(source, infer_schema=False, encoding="utf8-lossy")
        else:
            frame = _SCANS[source.suffix](source)
        columns = frame.collect_schema().names()
        if self.column not in columns:
            raise TextError(f"{source}: no column {self.column!r}; it has {columns}")
        return frame

    def _parts(self, source: Path, goal: Path, signature: artifact.Signature) -> Path:
        """The folder of parts; empty unless it belongs to this very input, model and settings."""
        of = {
            "input": _sha256(source), "model": signature.files, "rows": self.rows,
            "column": self.column, "languages": self.languages, "signed": self.signed,
        }  # fmt: skip
        folder = goal.with_name(goal.name + ".parts")
        manifest = folder / "of.json"
        if manifest.is_file() and json.loads(manifest.read_text()) == of:
            log.info("going on after %d parts", len(list(folder.glob("part-*.parquet"))))
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        manifest.write_text(json.dumps(of))
        return folder

    def _answered(self, rows: pl.DataFrame, predictor: Predictor, version: str) -> pl.DataFrame:
        texts = rows[self.column].to_list()
        usable = [i for i, text in enumerate(texts) if isinstance(text, str)]
        found = predictor.answers([texts[i] for i in usable], languages=self.languages)
        answers: dict[int, Answer] = dict(zip(usable, found, strict=True))
        added = [self._row(answers.get(i), predictor.classes, text) for i, text in enumerate(texts)]
        frame = pl.DataFrame(added, infer_schema_length=None, schema=self._schema(predictor))
        clash = sorted(set(frame.columns) & set(rows.columns))
        if clash:
            raise TextError(f"the input has a column {clash[0]!r} already, which results need")
        return pl.concat(
            [rows, frame.with_columns(pl.lit(version).alias("model_version"))], how="horizontal"
        )

    def _schema(self, predictor: Predictor) -> dict[str, type[pl.DataType]]:
        schema: dict[str, type[pl.DataType]] = {"predicted": pl.String, "abstained": pl.Boolean}
        schema |= {f"p_{name}": pl.Float64 for name in predictor.classes}
        if self.signed:
            schema[self.signed] = pl.Float64
        return schema | {"reason": pl.String, "language": pl.String}

    def _row(self, answer: Answer | None, classes: list[str], text: object) -> dict[str, object]:
        if answer is None:
            return {"reason": f"{text!r} is no text"}
        row: dict[str, object] = {
            "predicted": answer.label,
            "abstained": answer.abstained,
            "reason": answer.reason,
            "language": answer.language,
        }
        row |= {f"p_{name}": p for name, p in answer.probabilities.items()}
        if self.signed:
            row[self.signed] = answer.signed(classes)
        return row

    @staticmethod
    def _join(parts: list[Path], goal: Path) -> None:
        goal.parent.mkdir(parents=True, exist_ok=True)
        partial = goal.with_name(f".{goal.name}")
        frames: Iterator[pl.LazyFrame] = (pl.scan_parquet(p) for p in parts)
        whole = pl.concat(list(frames)) if parts else pl.LazyFrame()
        writers: dict[str, Callable[[Path], object]] = {
            ".parquet": whole.sink_parquet,
            ".csv": whole.sink_csv,
        }
        writers.get(goal.suffix, whole.sink_ndjson)(partial)
        partial.replace(goal)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
