"""The demo's parts that need no marketplace: what it trains, and what it says of an answer."""

from __future__ import annotations

from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from rich.console import Console

from scripts import demo
from scripts.entrypoint import CONFIGS

ANSWER = {
    "items": [{"item_id": "i1", "score": 0.25, "reasons": [{"text": "goes with Kettle"}]}],
    "source": "model",
    "reason": None,
    "ranker": {"model": "ranker", "version": "20260101-000000-000"},
    "skipped": [],
}


@pytest.mark.parametrize(
    ("change", "said", "unsaid"),
    [
        ({}, "model, ranked by ranker", "without"),
        (
            {"ranker": None, "skipped": [{"stage": "ranker", "reason": "deadline"}]},
            "without ranker: deadline",
            "ranked by",
        ),
    ],
)
def test_an_answer_says_whether_a_ranker_ran(
    change: dict[str, Any],
    said: str,
    unsaid: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(demo, "ask", lambda *_: ANSWER | change)
    monkeypatch.setattr(demo, "console", Console(width=200))
    shown = demo.show("http://127.0.0.1:8000/recommend?user_id=u1", {"i1": "Quiet Lamp"})
    printed = " ".join(capsys.readouterr().out.split())  # a narrow table wraps its title
    assert "Quiet Lamp" in printed
    assert "goes with Kettle" in printed
    assert said in printed
    assert unsaid not in printed
    assert shown["source"] == "model"


def test_what_it_trains_is_what_it_serves() -> None:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose("demo", ["paths.root=x"])
        for use, experiment in (("recommender", cfg.training), ("ranker", cfg.ranking)):
            train = compose("train", [f"experiment={experiment}", "paths.root=x", "data.path=x"])
            assert train.name == cfg.models[use].name
        assert train.data.reader.label == "label"
        impressions = compose("impressions", ["paths.root=x", "output=y"])
    assert impressions.service == "ranking_v2"
