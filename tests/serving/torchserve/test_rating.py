"""Rating artifacts through the handler: known pairs, strangers, malformed instances."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from models.recommender.ratings.training import train
from scripts.entrypoint import CONFIGS
from serving.torchserve.handler import OnnxHandler
from tests.serving.torchserve.context import Context


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the real config on ratings that biases explain wholly."""
    folder = tmp_path_factory.mktemp("ratings")
    rows = [
        f"u{u}\ti{i}\t{1 + u % 2 + i % 3}\t{1_000_000_000 + i}"
        for u in range(12)
        for i in range(9)
        if (u + i) % 4
    ]
    (folder / "u.data").write_text("\n".join(rows) + "\n")
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose(
            "train",
            [
                "experiment=recommender/ratings/biases", f"data.path={folder / 'u.data'}",
                f"output_dir={folder / 'run'}", f"paths.root={folder}", "threads=1",
                "model.user_shrinkage=0.01", "model.item_shrinkage=0.01",
                "evaluation.floors.biases=null", "evaluation.ks=[5]",
            ],
            return_hydra_config=True,
        )  # fmt: skip
    HydraConfig.instance().set_config(cfg)
    OmegaConf.set_struct(cfg, False)
    del cfg["hydra"]
    metrics = train(cfg)
    assert metrics["rmse"] < 0.1
    assert metrics["val_rmse"] < 0.2
    return folder


@pytest.fixture(scope="module")
def handler(trained: Path, handler_settings: dict[str, Any]) -> OnnxHandler:
    artifact = json.loads((trained / "run" / "metrics.json").read_text())["artifact"]
    card = (Path(artifact) / "MODEL_CARD.md").read_text()
    assert "Biases of users and items: how many stars" in card
    assert "| floor: mean |" in card
    return OnnxHandler(Path(artifact), handler_settings["handler"])


def ask(handler: OnnxHandler, *instances: Any) -> tuple[list[Any], dict[int, int]]:
    context = Context()
    body = {"body": json.dumps({"instances": list(instances)}).encode()}
    return json.loads(handler.handle([body], context)[0])["predictions"], context.status


def test_pairs_get_their_stars_and_strangers_what_is_usual(handler: OnnxHandler) -> None:
    answers, status = ask(
        handler,
        {"user": "u1", "item": "i2"},
        {"user": "u0", "item": "i0"},
        {"user": "nobody", "item": "i2"},
        {"user": "nobody", "item": "nothing"},
    )
    assert status == {}
    assert answers[0]["rating"] == pytest.approx(4, abs=0.1)
    assert answers[1]["rating"] == pytest.approx(1, abs=0.1)
    assert answers[2]["rating"] == pytest.approx(3.5, abs=0.2)
    assert answers[2]["known"] == {"user": False, "item": True}
    assert answers[3]["rating"] == pytest.approx(2.5, abs=0.3)


@pytest.mark.parametrize(
    ("instance", "words"),
    [("u1", "an object, not str"), ({"user": "u1"}, "item is an id string, not None"),
     ({"user": 1, "item": "i1"}, "user is an id string, not 1")],
)  # fmt: skip
def test_a_malformed_instance_says_what_is_wrong(
    handler: OnnxHandler, instance: Any, words: str
) -> None:
    answers, status = ask(handler, instance)
    assert status == {0: 400}
    assert words in answers[0]["error"]["detail"]
