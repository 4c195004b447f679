"""Every net of the family trains, learns and is served through the same commands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf, open_dict

from models import artifact
from models.training import train
from scripts.entrypoint import CONFIGS


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty users who walk along a ring of 20 items."""
    path = tmp_path_factory.mktemp("data") / "ring.txt"
    rng = np.random.default_rng(0)
    walks = [(u, rng.integers(20), rng.integers(4, 14)) for u in range(60)]
    lines = [" ".join([f"u{u}", *(f"i{(s + n) % 20}" for n in range(k))]) for u, s, k in walks]
    path.write_text("\n".join(lines) + "\n")
    return path


def config(data: Path, output: Path, *overrides: str) -> DictConfig:
    settings = [
        "data=sequences", f"data.path={data}", f"output_dir={output}", f"paths.root={output}",
        "datamodule.max_length=8", "datamodule.batch_size=8", "model.net.dim=16",
        "optimizer.lr=0.02", "threads=1", "logger=none", "evaluation.floors.ease=null",
        "callbacks.early_stopping=null", *overrides,
    ]  # fmt: skip
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose("train", settings, return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    with open_dict(cfg):
        del cfg["hydra"]
    OmegaConf.set_struct(cfg, True)
    return cfg


@pytest.mark.parametrize("name", ["hstu", "bert4rec"])
def test_it_learns(name: str, ring: Path, tmp_path: Path) -> None:
    metrics = train(
        config(
            ring,
            tmp_path,
            f"experiment=recommender/{name}",
            "trainer.max_epochs=30",
            "export=none",
        )
    )
    floors = json.loads((tmp_path / "metrics.json").read_text())["floors"]
    assert metrics["hit_rate@1"] > 0.5, "a ring is easy"
    assert metrics["hit_rate@1"] > 3 * floors["popularity"]["hit_rate@1"]


def test_a_gru_learns_and_its_artifact_answers_alone(ring: Path, tmp_path: Path) -> None:
    metrics = train(
        config(
            ring,
            tmp_path,
            "experiment=recommender/gru4rec",
            "trainer.max_epochs=12",
            "export.parity_users=32",
        )
    )
    assert metrics["hit_rate@1"] > 0.7, "a ring is easy"
    loaded = artifact.load(artifact.latest(tmp_path / "artifacts", "recommender"))
    items = loaded.read_asset("items.json")
    session = onnxruntime.InferenceSession(str(loaded.model), providers=["CPUExecutionProvider"])
    history = np.array([[0, *(items.index(f"i{n}") + 1 for n in (3, 4, 5))]])
    ids, scores = session.run(None, {"history": history, "seen": history})
    assert items[ids[0, 0] - 1] == "i6"
    assert not set(ids[0][scores[0] > -1e30]) & set(history[0])
    assert loaded.signature.limits == {"history": 8, "k": 20}


@pytest.mark.parametrize("loss", ["sampled_softmax", "gbce"])
@pytest.mark.parametrize("name", ["bert4rec", "gru4rec"])
def test_every_net_takes_every_loss(name: str, loss: str, ring: Path, tmp_path: Path) -> None:
    cfg = config(
        ring, tmp_path, f"experiment=recommender/{name}", f"loss={loss}", "loss.negatives=8",
        "trainer.max_epochs=1", "model.spare_touched=true", "export=none",
    )  # fmt: skip
    assert 0 <= train(cfg)["ndcg@10"] <= 1


@pytest.mark.parametrize(
    ("name", "objective"), [("bert4rec", "next_item"), ("gru4rec", "cloze"), ("hstu", "cloze")]
)
def test_an_objective_that_does_not_suit_the_net_is_refused(
    name: str, objective: str, ring: Path, tmp_path: Path
) -> None:
    cfg = config(ring, tmp_path, f"experiment=recommender/{name}", f"model/objective={objective}")
    with pytest.raises(InstantiationException) as refused:
        train(cfg)
    assert "does not suit" in str(refused.value)
