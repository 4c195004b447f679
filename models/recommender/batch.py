"""Every user's list at once: histories in, the artifact's lists out, without a server.

The artifact's graph runs in this process, on users of like history lengths together. What is done
lies in hidden parts beside the goal until all of it is there: a stopped run goes on after its last
part, and readers see the old file or the new one, never half of one.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from models import artifact
from models.recommender.export import MASKED
from models.recommender.interactions import DataError
from models.recommender.retrieval.user_inputs import UserInputs
from models.session import session

log = logging.getLogger(__name__)

_DROPPED = MASKED / 10  # scores at or below are of masked items: fewer candidates than places
SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "user_id": pl.String,
    "item_ids": pl.List(pl.String),
    "scores": pl.List(pl.Float32),
    "model": pl.String,
    "event_timestamp": pl.Datetime("us", "UTC"),
}


@dataclass
class BatchRecommender:
    """Runs one recommender over all users.

    Args:
        k: items of a list, at most as many as the graph answers.
        rows: users of one part; bounds memory, and is what a stopped run loses at most.
        batch: histories in one run of the graph.
        threads: of the runtime.
    """

    k: int
    rows: int
    batch: int
    threads: int

    def recommend(self, histories: pl.DataFrame, path: Path, goal: Path) -> dict[str, float]:
        """Write `goal` (Parquet): user_id, item_ids, scores (the best first), model,
        event_timestamp, which is when the run began.

        Users of whose items the model knows none have no row.

        Args:
            histories: user_id, item_ids (oldest first), one row a user; and what is known of
                users, for a model that reads it, in columns named as its fields are. A field
                without a column, and null, are missing values.
            path: the artifact's folder.

        Raises:
            ArtifactError: damaged, or no model that takes histories and answers items.
            DataError: no users.
        """
        started = time.perf_counter()
        loaded = artifact.load(path)
        signature = loaded.signature
        if signature.task != "recommendation":
            raise artifact.ArtifactError(
                f"{path} is for task {signature.task!r}; lists come from task 'recommendation'"
            )
        if histories.is_empty():
            raise DataError("no user has a history; run scripts/materialize.py first")
        k = min(self.k, signature.limits["k"])
        if k < self.k:
            log.info(
                "lists have %d items, not %d: more the graph does not answer (export.k=… when it "
                "is trained)", k, self.k,
            )  # fmt: skip
        graph = Graph(loaded, k, self.batch, self.threads)
        told = [name for name in graph.fields if name in histories.columns]
        histories = histories.select("user_id", "item_ids", *told).sort("user_id")
        parts, began = self._parts(histories, signature, goal)
        model = f"{signature.name} {signature.version}"
        done = 0
        for number, start in enumerate(range(0, len(histories), self.rows)):
            part = parts / f".part-{number:06d}.parquet"
            if part.is_file():
                continue
            some = histories.slice(start, self.rows)
            found = graph.lists(some).with_columns(
                model=pl.lit(model), event_timestamp=pl.lit(began, SCHEMA["event_timestamp"])
            )
            partial = part.with_suffix(".tmp")
            found.select(list(SCHEMA)).cast(SCHEMA).write_parquet(partial)  # type: ignore[arg-type]
            partial.replace(part)
            done += len(some)
            rate = done / (time.perf_counter() - started)
            left = len(histories) - start - len(some)
            log.info("%d of %d users (%.0f a second, %.0f s left)", start + len(some),
                     len(histories), rate, left / rate)  # fmt: skip
        files = sorted(parts.glob(".part-*.parquet"))
        partial = goal.with_name(f".{goal.name}")
        pl.scan_parquet(files).sink_parquet(partial)
        rows = int(pl.scan_parquet(partial).select(pl.len()).collect().item())
        partial.replace(goal)
        shutil.rmtree(parts)
        seconds = time.perf_counter() - started
        return {
            "users": float(len(histories)),
            "now": float(done),
            "without": float(len(histories) - rows),
            "seconds": round(seconds, 2),
            "users_per_s": round(done / seconds, 1),
        }

    def _parts(
        self, histories: pl.DataFrame, signature: artifact.Signature, goal: Path
    ) -> tuple[Path, datetime]:
        """The folder of parts, and when its run began; empty unless it is of these very histories,
        this model and these settings."""
        hashes = histories.hash_rows(1).to_numpy()
        of = {
            "histories": hashlib.sha256(hashes.tobytes()).hexdigest(),
            "model": signature.files,
            "k": self.k,
            "rows": self.rows,
        }
        folder = goal.with_name(f"{goal.name}.parts")
        manifest = folder / "of.json"
        if manifest.is_file():
            known = json.loads(manifest.read_text("utf-8"))
            if known["of"] == of:
                log.info("going on after %d parts", len(list(folder.glob(".part-*.parquet"))))
                return folder, datetime.fromisoformat(known["began"])
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        began = datetime.now(UTC)
        partial = manifest.with_suffix(".tmp")
        partial.write_text(json.dumps({"of": of, "began": began.isoformat()}), "utf-8")
        partial.replace(manifest)
        return folder, began


class Graph:
    """An artifact's graph over frames of histories."""

    def __init__(self, loaded: artifact.Artifact, k: int, batch: int, threads: int) -> None:
        self.k = k
        self.batch = batch
        self.longest = int(loaded.signature.limits["history"])
        names = loaded.read_asset("items.json")
        self.names = pl.Series("item", names, pl.String)
        self.codes = pl.DataFrame(
            {"item": names, "code": np.arange(1, len(names) + 1)},
            schema={"item": pl.String, "code": pl.Int64},
        )
        self.user = UserInputs.of(loaded)
        self.fields = [field.name for field in self.user.fields]
        self.session = session(loaded.model, threads)

    def lists(self, histories: pl.DataFrame) -> pl.DataFrame:
        """user_id, item_ids, scores of those users of whom an item is known."""
        told = [name for name in self.fields if name in histories.columns]
        coded = (
            histories.with_row_index("row")
            .explode("item_ids")
            .join(self.codes, left_on="item_ids", right_on="item", how="inner")
            .sort("row", maintain_order=True)
            .group_by("row", maintain_order=True)
            .agg(pl.col("user_id", *told).first(), pl.col("code"))
            .with_columns(length=pl.col("code").list.len())
            .sort("length")
        )
        frames = [self._run(some) for some in coded.iter_slices(self.batch)]
        if not frames:
            return pl.DataFrame(schema={n: SCHEMA[n] for n in ("user_id", "item_ids", "scores")})
        return pl.concat(frames).sort("row").drop("row")

    def _run(self, some: pl.DataFrame) -> pl.DataFrame:
        lengths = some["length"].to_numpy().astype(np.int64)
        flat = some["code"].explode().to_numpy()
        owner = np.repeat(np.arange(len(some)), lengths)
        within = np.arange(len(flat)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        width = int(lengths.max())
        seen = np.zeros((len(some), width), dtype=np.int64)  # [B, S]
        seen[owner, within + np.repeat(width - lengths, lengths)] = flat
        history = np.ascontiguousarray(seen[:, -self.longest :])  # [B, T], padded on the left
        told = [name for name in self.fields if name in some.columns]
        known = self.user.columns(some.select(told).to_dicts() if told else [{}] * len(some))
        feed = {"history": history, "seen": seen, **known}
        items, scores = self.session.run(["items", "scores"], feed)
        items, scores = items[:, : self.k], scores[:, : self.k]
        real = scores > _DROPPED
        rows = np.repeat(np.arange(len(some)), real.sum(axis=1))
        listed = pl.DataFrame(
            {"place": rows, "item_ids": self.names.gather(items[real] - 1), "scores": scores[real]}
        )
        grouped = listed.group_by("place", maintain_order=True).agg("item_ids", "scores")
        users = some.select("row", "user_id").with_row_index("place")
        joined = users.join(
            grouped.with_columns(pl.col("place").cast(pl.UInt32)), on="place", how="inner"
        )
        return joined.drop("place")
