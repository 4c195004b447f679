"""Classics as a user launches them: the real experiments, served by the handler unchanged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from models import artifact
from models.recommender.classics.training import train
from scripts.entrypoint import CONFIGS
from serving.torchserve.handler import OnnxHandler


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Users who stay on their side of the shop, with a table of its items."""
    folder = tmp_path_factory.mktemp("shop")
    rng = np.random.default_rng(0)
    lines = []
    for user in range(40):
        own = [i for i in range(30) if i % 2 == user % 2]
        lines += [f"u{user}\ti{i}\t4\t{1_000_000_000 + n}"
                  for n, i in enumerate(rng.choice(own, 9, replace=False))]  # fmt: skip
    (folder / "u.data").write_text("\n".join(lines) + "\n")
    items = ["item_id:token\tmovie_title:token_seq\tclass:token_seq\trelease_year:token"]
    items += [f"i{i}\t{('wooden', 'iron')[i % 2]} thing\tkind{i % 2}\t1990" for i in range(30)]
    (folder / "shop.item").write_text("\n".join(items) + "\n")
    return folder


def config(shop: Path, output: Path, *overrides: str) -> DictConfig:
    settings = [
        "data=movielens_100k", f"data.path={shop}", f"output_dir={output}", f"paths.root={output}",
        "threads=1", "datamodule.max_length=20", *overrides,
    ]  # fmt: skip
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose("train", settings, return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    OmegaConf.set_struct(cfg, False)
    del cfg["hydra"]
    OmegaConf.set_struct(cfg, True)
    return cfg


@pytest.mark.parametrize("name", ["item_knn", "user_knn", "ease", "als", "content"])
def test_each_experiment_learns_the_side_of_the_shop(name: str, shop: Path, tmp_path: Path) -> None:
    extra = {"als": ["model.library.factors=8"], "content": ["item_attributes=movielens"]}
    cfg = config(
        shop, tmp_path, f"experiment=recommender/{name}", "export=none", *extra.get(name, [])
    )
    metrics = train(cfg)
    popularity = json.loads((tmp_path / "metrics.json").read_text())["floors"]["popularity"]
    assert metrics["hit_rate@10"] > popularity["hit_rate@10"] + 0.2
    assert metrics["val_ndcg@10"] > 0.2


def test_a_hybrid_is_one_artifact_that_the_handler_serves(shop: Path, tmp_path: Path) -> None:
    cfg = config(
        shop, tmp_path, "experiment=recommender/hybrid", "item_attributes=movielens",
        "model.parts.als=null", "model.parts.user_knn=null", "evaluation.floors.ease=null",
        "export.k=5",
    )  # fmt: skip
    train(cfg)
    report = json.loads((tmp_path / "metrics.json").read_text())
    published = artifact.load(Path(report["artifact"]))
    assert published.signature.task == "recommendation"
    card = (published.path / "MODEL_CARD.md").read_text()
    assert "A blend of popularity (" in card
    torchserve: Any = OmegaConf.load(CONFIGS / "torchserve" / "default.yaml")
    settings: Any = OmegaConf.to_container(torchserve.model.handler)
    handler = OnnxHandler(published.path, settings)
    body = {"instances": [{"history": ["i2", "never heard of", "i4"], "k": 4}]}
    answer = json.loads(handler.handle([{"body": json.dumps(body).encode()}], Mock())[0])
    (served,) = answer["predictions"]
    assert len(served["items"]) == 4
    assert all(int(item[1:]) % 2 == 0 for item in served["items"])
    assert not {"i2", "i4"} & set(served["items"])
    assert served["unknown"] == 1
