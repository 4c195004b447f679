"""Two towers trained from the shipped configs with tiny limits, extended and served."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from models import artifact
from models.artifact import Artifact
from models.training import train
from scripts.entrypoint import CONFIGS
from serving.torchserve.handler import OnnxHandler
from tests.conftest import ROOT
from tests.serving.torchserve.context import Context


def compose_train(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose("train", list(overrides), return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    OmegaConf.set_struct(cfg, False)
    del cfg["hydra"]
    return cfg


def train_towers(folder: Path, *overrides: str) -> Artifact:
    """Of the folder's `walks.txt` and `items.csv`; the run lies in its `run`."""
    cfg = compose_train(
        "experiment=recommender/two_tower",
        "data=sequences",
        f"data.path={folder / 'walks.txt'}",
        "item_attributes=table",
        f"item_attributes.path={folder / 'items.csv'}",
        "item_attributes.texts=[]",
        "item_attributes.encoder=null",
        f"output_dir={folder / 'run'}",
        f"paths.root={folder}",
        "datamodule.max_length=8",
        "datamodule.batch_size=16",
        "model.item_tower.dim=16",
        "model.uniform_negatives=32",
        "optimizer.lr=0.01",
        "trainer.max_epochs=10",
        "export.k=10",
        "threads=1",
        "logger=none",
        *overrides,
    )
    train(cfg)
    report = json.loads((folder / "run" / "metrics.json").read_text())
    return artifact.load(Path(report["artifact"]))


def index(folder: Path, source: Artifact, items: pl.DataFrame, **more: Any) -> Artifact:
    items.write_csv(folder / "new.csv")
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose(
            "index_items",
            [
                f"artifact={source.path}",
                f"path={folder / 'new.csv'}",
                f"output_dir={folder / 'indexing'}",
                f"paths.root={folder}",
                *(f"{k}={v}" for k, v in more.items()),
            ],
        )
    return artifact.load(instantiate(cfg.indexer)(source.path))


def serve(version: Artifact, *instances: dict[str, Any]) -> list[dict[str, Any]]:
    """What TorchServe's handler answers to a request of these instances."""
    settings = OmegaConf.to_container(
        OmegaConf.load(ROOT / "configs" / "torchserve" / "default.yaml").model
    )
    assert isinstance(settings, dict)
    handler, context = OnnxHandler(version.path, settings["handler"]), Context()
    body = json.dumps({"instances": list(instances)}).encode()
    answers = json.loads(handler.handle([{"body": body}], context)[0])["predictions"]
    assert context.status == {}
    return list(answers)
