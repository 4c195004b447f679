"""Score a table of texts with an artifact, a part at a time, so that a stopped run can go on."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from models import artifact
from models.sentiment.answers import Answer
from models.sentiment.local import local_predictor
from models.sentiment.predictor import Predictor
from models.sentiment.readers.damage import damage
from models.sentiment.readers.table import MissingTextsError
from models.sentiment.texts import TextError

log = logging.getLogger(__name__)

KINDS = (".parquet", ".csv", ".tsv", ".jsonl", ".ndjson")


@dataclass
class TextScorer:
    """Adds label, probabilities and doubt to each row.

    Args:
        model: folder of the artifact.
        column: that holds the text.
        rows: of one part; a stopped run goes on after the last whole part.
        threads: batches at a time; 0: as many as cores.
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
        """Write `goal` with all columns of `source` and the answers; both of any of `KINDS`.

        A row whose text is missing, or is no text, gets nulls and a reason. Parts lie in
        `<goal>.parts` until all are done; those of another input or model are thrown away.

        Raises:
            MissingTextsError: there is no such file.
            TextError: a kind of file that is not read, a damaged file, no such column, columns
                that results need, or one file for both.
        """
        try:
            return self._score(source, goal)
        except pl.exceptions.PolarsError as error:
            kind = source.suffix.removeprefix(".")
            where = (
                damage(source, kind, _separator(source), True)
                if source.suffix != ".parquet"
                else None
            )
            reason = where or str(error).splitlines()[0]
            raise TextError(f"{source}: cannot be read as .{kind} ({reason})") from error

    def _score(self, source: Path, goal: Path) -> dict[str, float]:
        started = time.perf_counter()
        frame = self._scan(source)
        if goal.suffix not in KINDS:
            raise TextError(f"{goal}: results are written as {', '.join(KINDS)}")
        if goal.resolve() == source.resolve():
            raise TextError(f"{goal}: input and output are one file, which would be written over")
        loaded = artifact.load(Path(self.model))
        predictor = local_predictor(loaded, self.threads, self.batch_tokens)
        schema = self._schema(predictor)
        clash = sorted(schema.keys() & frame.collect_schema().names())
        if clash:
            raise TextError(f"{source}: has a column {clash[0]!r} already, which results need")
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
        if not total:  # no part, but columns
            empty = frame.collect().with_columns(**{n: pl.lit(None, t) for n, t in schema.items()})
            empty.write_parquet(parts / "part-000000.parquet")
        self._join(sorted(parts.glob("part-*.parquet")), goal)
        shutil.rmtree(parts)
        seconds = time.perf_counter() - started
        return {"rows": float(total), "scored": float(scored), "seconds": round(seconds, 2)}

    def _scan(self, source: Path) -> pl.LazyFrame:
        if not source.is_file():
            raise MissingTextsError(f"{source}: no such file")
        if source.suffix not in KINDS:
            raise TextError(f"{source}: {source.suffix} is not read; give {', '.join(KINDS)}")
        if source.suffix in (".csv", ".tsv"):
            frame = pl.scan_csv(
                source, separator=_separator(source), infer_schema=False, encoding="utf8-lossy"
            )
        elif source.suffix == ".parquet":
            frame = pl.scan_parquet(source)
        else:
            frame = pl.scan_ndjson(source, infer_schema_length=None)
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
        frame = pl.DataFrame(added, schema=self._schema(predictor))
        return pl.concat(
            [rows, frame.with_columns(model_version=pl.lit(version))], how="horizontal"
        )

    def _schema(self, predictor: Predictor) -> dict[str, type[pl.DataType]]:
        schema: dict[str, type[pl.DataType]] = {"predicted": pl.String, "abstained": pl.Boolean}
        schema |= {f"p_{name}": pl.Float64 for name in predictor.classes}
        if self.signed:
            schema[self.signed] = pl.Float64
        return schema | {
            "reason": pl.String,
            "language": pl.String,
            "outside_language": pl.Boolean,
            "model_version": pl.String,
        }

    def _row(self, answer: Answer | None, classes: list[str], text: object) -> dict[str, object]:
        if answer is None:
            return {"reason": f"{text!r} is no text"}
        row: dict[str, object] = {
            "predicted": answer.label,
            "abstained": answer.abstained,
            "reason": answer.reason,
            "language": answer.language,
            "outside_language": answer.outside,
        }
        row |= {f"p_{name}": p for name, p in answer.probabilities.items()}
        if self.signed:
            row[self.signed] = answer.signed(classes)
        return row

    @staticmethod
    def _join(parts: list[Path], goal: Path) -> None:
        goal.parent.mkdir(parents=True, exist_ok=True)
        partial = goal.with_name(f".{goal.name}")
        whole = pl.concat([pl.scan_parquet(p) for p in parts])
        if goal.suffix == ".parquet":
            whole.sink_parquet(partial)
        elif goal.suffix in (".csv", ".tsv"):
            whole.sink_csv(partial, separator=_separator(goal))
        else:
            whole.sink_ndjson(partial)
        partial.replace(goal)


def _separator(path: Path) -> str:
    return "\t" if path.suffix == ".tsv" else ","


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
