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
from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf

from models import artifact
from models.recommender.classics.training import train
from models.recommender.interactions import DataError
from models.run import Run, RunError
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


SMALL = {
    "als": ["model.library.factors=8"],
    "content": ["item_attributes=movielens"],
    "hybrid": ["item_attributes=movielens", "model.parts.als.library.factors=8"],
    "ratings/bayesian": ["model.draws=3", "model.burn_in=1"],
    "ratings/blend": ["model.parts.bayesian.draws=3", "model.parts.bayesian.burn_in=1"],
}


def config(shop: Path, output: Path, *overrides: str) -> DictConfig:
    settings = [
        "data=movielens_100k", f"data.path={shop}", f"output_dir={output}", f"paths.root={output}",
        "threads=1", *overrides,
    ]  # fmt: skip
    if not any("/ratings/" in override for override in overrides):
        settings.append("datamodule.max_length=20")
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose("train", settings, return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    OmegaConf.set_struct(cfg, False)
    del cfg["hydra"]
    OmegaConf.set_struct(cfg, True)
    return cfg


@pytest.mark.parametrize("name", ["item_knn", "user_knn", "ease", "als", "content"])
def test_each_experiment_learns_the_side_of_the_shop(
    name: str, shop: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = config(
        shop, tmp_path, f"experiment=recommender/{name}", "export=none", *SMALL.get(name, [])
    )
    caplog.clear()
    metrics = train(cfg)
    if name == "ease":
        assert "does not beat the floor ease" not in caplog.text, "nothing beats itself"
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


@pytest.mark.parametrize(
    "name",
    [
        "popularity", "item_knn", "user_knn", "ease", "als", "content", "hybrid",
        "ratings/biases", "ratings/svd", "ratings/knn", "ratings/bayesian", "ratings/blend",
    ],
)  # fmt: skip
def test_what_a_run_left_is_measured_and_exported_again(
    name: str, shop: Path, tmp_path: Path
) -> None:
    cfg = config(shop, tmp_path, f"experiment=recommender/{name}", *SMALL.get(name, []))
    artifacts = OmegaConf.to_container(cfg.export, resolve=True)
    cfg.export = None
    metrics = get_method(cfg.trained_by)(cfg)
    again = Run.open(tmp_path, overrides={"export": artifacts})
    report = again.evaluate()
    assert report.model == pytest.approx({k: metrics[k] for k in report.model})
    before = json.loads((tmp_path / "metrics.json").read_text())
    assert report.data == before["data"]
    assert set(report.floors) == set(before["floors"])
    published = artifact.load(again.export(report))
    assert published.signature.task == ("rating" if "/" in name else "recommendation")


def test_a_run_whose_data_changed_says_so(shop: Path, tmp_path: Path) -> None:
    train(config(shop, tmp_path, "experiment=recommender/ease", "export=none"))
    more = tmp_path / "more"
    more.mkdir()
    rows = (shop / "u.data").read_text()
    (more / "u.data").write_text(rows + "u0\ti29\t3\t2000000000\n")
    with pytest.raises(DataError, match=r"other data \(360 rows, .* than what is read now \(361"):
        Run.open(tmp_path, overrides={"datamodule": {"reader": {"path": str(more)}}})


def test_a_run_keeps_nothing_where_it_is_told_so(shop: Path, tmp_path: Path) -> None:
    train(config(shop, tmp_path, "experiment=recommender/ease", "export=none", "keep_fitted=false"))
    with pytest.raises(RunError, match=r"no checkpoint at .*best\.ckpt; there are: none"):
        Run.open(tmp_path)
