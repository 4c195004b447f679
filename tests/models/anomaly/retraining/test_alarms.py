"""Alarms that nobody judged: found in the stream's scores, and kept out of what is learnt."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from models.anomaly import training
from models.anomaly.retraining.alarms import UnjudgedAlarms
from models.anomaly.retraining.judged import JudgedReader
from models.anomaly.retraining.splits import Newest, SplitAt
from models.anomaly.telemetry import (
    ANOMALOUS,
    DOUBTED,
    NORMAL,
    UNKNOWN,
    Telemetry,
    TelemetryError,
)
from pipelines.anomalies.scores import SCHEMA
from scripts.entrypoint import CONFIGS
from tests.models.anomaly.retraining.test_judged import Given, row, table, telemetry


def scored(source: str, second: float, score: float | None, threshold: float = 4.0) -> Any:
    return {
        "source": source, "timestamp": datetime.fromtimestamp(second, UTC), "score": score,
        "threshold": threshold, "anomalous": score is not None and score > threshold,
        "version": "1",
    }  # fmt: skip


def scores(folder: Path, *rows: dict[str, Any]) -> Path:
    """A file for each row, as a stream lands them."""
    day = folder / "scores" / "date=1970-01-01"
    day.mkdir(parents=True, exist_ok=True)
    for n, one in enumerate(rows):
        pl.DataFrame([one], schema=SCHEMA).write_parquet(day / f"p000-{n:012d}-{n:012d}.parquet")
    return folder / "scores"


def read(
    folder: Path, *rows: dict[str, Any], labels: Path | None = None, given: Any = None, **more: Any
) -> tuple[Telemetry, JudgedReader]:
    alarms = UnjudgedAlarms(scores(folder, *rows), **{"most_share": 0.5, **more})
    reader = JudgedReader(Given(given or telemetry()), labels or folder / "labels", alarms=alarms)
    return reader.read(), reader


def test_alarms_and_what_was_not_scored_are_doubted(tmp_path: Path) -> None:
    found, reader = read(
        tmp_path,
        scored("a", 60.25, 9.0),
        scored("a", 120, 3.9),
        scored("b", 180, None),
        scored("gone", 60, 9.0),
    )
    assert np.flatnonzero(found.label == DOUBTED).tolist() == [1, 13]
    assert (found.label == UNKNOWN).sum() == 18
    assert reader.counts == (0, 0, 0, 2)


def test_a_verdict_ends_the_doubt(tmp_path: Path) -> None:
    labels = table(tmp_path, row("a", 60.25, "confirmed"), row("b", 120, "dismissed"))
    found, reader = read(
        tmp_path,
        scored("a", 60.25, 9.0),
        scored("b", 120, 9.0),
        scored("b", 180, 9.0),
        labels=labels,
    )
    assert (found.label[1], found.label[12], found.label[13]) == (ANOMALOUS, NORMAL, DOUBTED)
    assert reader.counts == (2, 0, 0, 1)


def test_what_a_log_knows_is_in_no_doubt(tmp_path: Path) -> None:
    given = telemetry()
    given.label[1] = ANOMALOUS
    found, _ = read(tmp_path, scored("a", 60, 9.0), given=given)
    assert found.label[1] == ANOMALOUS


def test_weak_alarms_may_be_learnt(tmp_path: Path) -> None:
    rows = (scored("a", 60, 4.4), scored("a", 120, 8.4), scored("b", 60, 1.0, threshold=-1.0))
    found, _ = read(tmp_path, *rows, least_ratio=2.0)
    assert np.flatnonzero(found.label == DOUBTED).tolist() == [2, 11]


def test_where_too_much_alarms_the_gravest_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [scored("a", 60.0 * n, 5.0 + n) for n in range(10)]
    with caplog.at_level(logging.WARNING):
        found, _ = read(tmp_path, *rows, most_share=0.1)
    assert np.flatnonzero(found.label == DOUBTED).tolist() == [8, 9]
    assert "10 of 20 rows alarmed and nobody judged them; the 2 highest" in caplog.text


def test_without_scores_nothing_is_doubted(tmp_path: Path) -> None:
    reader = JudgedReader(
        Given(telemetry()), tmp_path / "labels", alarms=UnjudgedAlarms(tmp_path / "scores")
    )
    assert (reader.read().label == UNKNOWN).all()


@pytest.mark.parametrize(("setting", "value"), [("least_ratio", 0.5), ("most_share", 1.0)])
def test_a_setting_out_of_its_range_is_named(setting: str, value: float) -> None:
    with pytest.raises(TelemetryError, match=rf"{setting} is {value}"):
        UnjudgedAlarms("scores", **{setting: value})


def test_doubt_outlives_hidden_labels_and_the_cut() -> None:
    given = telemetry()
    given.label[[1, 2, 9]] = DOUBTED, ANOMALOUS, DOUBTED
    train, test = SplitAt(at=480, labels=False)(given)
    assert train.label[[1, 2]].tolist() == [DOUBTED, UNKNOWN]
    assert DOUBTED in test.label
    assert len(train.learnable()) == 15
    assert (train.undoubted().label == UNKNOWN).all()


def test_training_learns_none_of_it_and_calibrates_on_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calibrated without its alarms, a threshold would sink from one training to the next."""
    given = Telemetry.of(
        np.random.default_rng(0).normal(size=(400, 2)), ("cpu", "memory"), np.arange(400)
    )
    given.label[[10, 330, 390]] = DOUBTED  # learnt from, held out, tested on
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose(
            "train",
            ["experiment=anomaly/knn", "data=judged_telemetry", "data.split.at=360",
             f"paths.root={tmp_path}", f"output_dir={tmp_path}", "export=none"],
        )  # fmt: skip
    told: dict[str, Any] = {}

    class Spy:
        def score(self, part: Telemetry) -> Any:
            told.setdefault("scored", []).append(part)
            return type("Scores", (), {"score": np.zeros(len(part), np.float32)})

    def made(node: Any, *args: Any, **kwargs: Any) -> Any:
        if node is cfg.data.reader:
            return Given(given)
        return Spy() if node is cfg.model else instantiate(node, *args, **kwargs)

    monkeypatch.setattr(training, "instantiate", made)
    training.train(cfg, lambda _, telemetry: told.update(learnt=telemetry))
    held_out, tested = told["scored"]
    assert len(told["learnt"]) == 323
    assert (len(held_out), len(tested)) == (36, 40)
    for part in (told["learnt"], held_out, tested):
        assert (part.label == UNKNOWN).all()
    assert Newest(0.1)(given.take(given.time < 360)).test.label[6] == DOUBTED
