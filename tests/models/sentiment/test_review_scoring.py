"""The warehouse's reviews get a sentiment: once a version, a day at a time, with reasons."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from models import artifact, champion
from models.artifact import ArtifactError
from models.sentiment.readers.table import MissingTextsError
from models.sentiment.review_judge import ReviewJudge
from models.sentiment.review_scoring import ReviewScorer
from models.sentiment.texts import TextError
from tests.serving.texts import make_classifier

FRENCH = "Ce film est une merveille, je le recommande à tous mes amis sans la moindre hésitation"


def write_reviews(root: Path, day: int, texts: list[Any], first: int = 0) -> None:
    folder = root / "warehouse" / "reviews" / f"date=2026-01-0{day}"
    folder.mkdir(parents=True, exist_ok=True)
    moment = datetime(2026, 1, day, 12, tzinfo=UTC)
    frame = pl.DataFrame(
        {
            "review_id": [f"r{day}{first + n}" for n in range(len(texts))],
            "user_id": "ann",
            "item_id": "lamp",
            "stars": 4,
            "text": texts,
            "timestamp": moment,
        },
        schema_overrides={"timestamp": pl.Datetime("us", "UTC"), "text": pl.String},
    )
    frame.write_parquet(folder / f"part-{first}.parquet")


def scorer(root: Path, languages: bool = True) -> ReviewScorer:
    judge = ReviewJudge(str(root / "artifacts"), "sentiment", None, 1, 4096, languages)
    return ReviewScorer(judge, str(root / "warehouse"), rows=2, report_s=0.0)


def said(root: Path) -> dict[str, tuple[float | None, str | None]]:
    frame = pl.read_parquet(root / "warehouse" / "review_sentiment" / "**" / "*.parquet")
    assert frame["review_id"].is_unique().all()
    return {r: (v, w) for r, v, w in frame.select("review_id", "sentiment", "reason").iter_rows()}


def times(root: Path) -> dict[str, int]:
    files = (root / "warehouse" / "review_sentiment").rglob("*.parquet")
    return {f.parent.name: f.stat().st_mtime_ns for f in files}


def test_reviews_are_scored_once_and_only_changed_days_are_written(tmp_path: Path) -> None:
    make_classifier(tmp_path)
    write_reviews(tmp_path, 1, ["good film", "bad film", "film", None, " ", "<p>", "unheard"])
    write_reviews(tmp_path, 2, ["good"])
    done = scorer(tmp_path).score()
    assert (done["reviews"], done["scored"], done["without"], done["days"]) == (8, 8, 4, 2)
    found = said(tmp_path)
    assert found["r10"][0] == pytest.approx(-found["r11"][0], abs=1e-6)  # type: ignore[operator]
    assert found["r10"][0] > 0.8  # type: ignore[operator]
    assert found["r12"] == (pytest.approx(0), None)
    assert found["r13"] == (None, "there is no text")
    assert found["r14"][0] is found["r15"][0] is found["r16"][0] is None
    assert found["r15"][1] == "no text is left after cleaning"
    assert found["r16"][1] == "none of its words is known to the model"
    before = times(tmp_path)
    assert scorer(tmp_path).score()["scored"] == 0
    write_reviews(tmp_path, 2, ["bad"], first=1)
    assert scorer(tmp_path).score()["scored"] == 1
    after = times(tmp_path)
    assert after["date=2026-01-01"] == before["date=2026-01-01"]
    assert after["date=2026-01-02"] != before["date=2026-01-02"]


def test_another_version_in_force_scores_again_and_a_stopped_run_goes_on(tmp_path: Path) -> None:
    old = make_classifier(tmp_path)
    for day in (1, 2, 3):
        write_reviews(tmp_path, day, ["good"])
    scorer(tmp_path).score()
    new = old.with_name("20270101-000000-000")
    signature = artifact.load(old).signature
    artifact.write(
        old, tmp_path / "artifacts",
        artifact.Signature(**{**signature.__dict__, "version": new.name, "files": {}}),
    )  # fmt: skip
    job = scorer(tmp_path)
    real, calls = job.judge.judge, 0

    def interrupted(texts: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return real(texts)

    job.judge.judge = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        job.score()
    assert scorer(tmp_path).score()["scored"] == 2
    champion.promote(tmp_path / "artifacts", "sentiment", old.name, "worse", "ann")
    assert scorer(tmp_path).score()["scored"] == 3, "also going back is another opinion"


def test_a_text_in_another_language_is_not_judged(tmp_path: Path) -> None:
    make_classifier(tmp_path, max_length=64)
    write_reviews(tmp_path, 1, [FRENCH])
    scorer(tmp_path).score()
    assert said(tmp_path)["r10"] == (None, "the text is in fr, the model knows en")
    shutil.rmtree(tmp_path / "warehouse" / "review_sentiment")
    scorer(tmp_path, languages=False).score()
    assert said(tmp_path)["r10"][0] is not None


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingTextsError, match="reviews: no reviews; fill the warehouse first"):
        scorer(tmp_path).score()
    write_reviews(tmp_path, 1, ["good"])
    with pytest.raises(ArtifactError, match="sentiment"):
        scorer(tmp_path).score()
    make_classifier(tmp_path)
    broken = tmp_path / "warehouse" / "reviews" / "date=2026-01-01" / "part-0.parquet"
    broken.write_bytes(b"no parquet")
    with pytest.raises(TextError, match="date=2026-01-01: cannot be read"):
        scorer(tmp_path).score()
