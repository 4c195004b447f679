"""Training as a user launches it: the real configs, tiny limits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
import polars as pl
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from models import artifact
from models.averaging import warm_ema
from models.export import ParityError, ranking_parity
from models.recommender.interactions import DataError
from models.run import Run, RunError, RunMismatchError, RunOverrideError
from models.training import ResumeError, train
from scripts.entrypoint import CONFIGS
from tests.conftest import ROOT
from tests.run_if import RunIf


@pytest.fixture(scope="module")
def sequences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty users who walk along a ring of 40 items: easy to learn."""
    path = tmp_path_factory.mktemp("data") / "rings.txt"
    rng = np.random.default_rng(0)
    lines = []
    for user in range(60):
        start = rng.integers(40)
        items = [(start + n) % 40 for n in range(rng.integers(4, 30))]
        lines.append(" ".join(map(str, [f"u{user}", *(f"i{i}" for i in items)])))
    path.write_text("\n".join(lines) + "\n")
    return path


def config(data: Path, output: Path, *overrides: str) -> DictConfig:
    settings = [
        "data=sequences",
        f"data.path={data}",
        f"output_dir={output}",
        f"paths.root={output}",
        "datamodule.max_length=16",
        "datamodule.batch_size=16",
        "model.net.dim=16",
        "trainer.max_epochs=2",
        "optimizer.lr=0.01",
        "threads=1",
        *overrides,
    ]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose("train", settings, return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    OmegaConf.set_struct(cfg, False)
    del cfg["hydra"]
    OmegaConf.set_struct(cfg, True)
    return cfg


@pytest.fixture(scope="module")
def run(sequences: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    output = tmp_path_factory.mktemp("run")
    metrics = train(config(sequences, output, "trainer.max_epochs=25"))
    return output, metrics


def test_it_learns_and_reports_beside_its_floors(run: tuple[Path, dict[str, float]]) -> None:
    output, metrics = run
    report = json.loads((output / "metrics.json").read_text())
    assert report["model"] == {k: v for k, v in metrics.items() if not k.startswith("val_")}
    assert report["conditions"]["validation"] == {"val_ndcg@10": metrics["val_ndcg@10"]}
    assert set(report["floors"]) == {"popularity", "markov", "ease"}
    assert metrics["hit_rate@1"] > 0.9, "a ring is easy"
    assert metrics["hit_rate@1"] > 5 * report["floors"]["popularity"]["hit_rate@1"]
    assert set(report["floors"]["markov"]) == set(report["model"])
    assert report["conditions"]["versions"]["torch"] == torch.__version__
    for left in ("config.yaml", "curves.png", "checkpoints/best.ckpt", "csv/metrics.csv"):
        assert (output / left).exists(), left
    assert list((output / "tensorboard").iterdir())


def test_the_artifact_answers_alone(run: tuple[Path, dict[str, float]]) -> None:
    output, _ = run
    loaded = artifact.load(artifact.latest(output / "artifacts", "recommender"))
    items = loaded.read_asset("items.json")
    session = onnxruntime.InferenceSession(str(loaded.model), providers=["CPUExecutionProvider"])
    history = np.array([[0, 0, *(items.index(f"i{n}") + 1 for n in (3, 4, 5))]])
    ids, scores = session.run(None, {"history": history, "seen": history})
    assert items[ids[0, 0] - 1] == "i6"
    assert not set(ids[0][scores[0] > -1e30]) & set(history[0])
    assert loaded.signature.limits == {"history": 16, "k": 40}
    assert loaded.signature.inputs[0].shape == ("batch", "time")
    assert "floor: markov" in (loaded.path / "MODEL_CARD.md").read_text()
    for batch, width in ((1, 1), (3, 2), (5, 16)):
        feed = np.ones((batch, width), dtype=np.int64)
        assert session.run(None, {"history": feed, "seen": feed[:, :1]})[0].shape == (batch, 40)


def test_the_parity_gate_fails_a_graph_that_differs(run: tuple[Path, dict[str, float]]) -> None:
    output, _ = run
    loaded = artifact.load(artifact.latest(output / "artifacts", "recommender"))

    class Other(torch.nn.Module):
        def forward(self, history: torch.Tensor, seen: torch.Tensor) -> tuple[torch.Tensor, ...]:
            ids = torch.arange(1, 41).repeat(len(history), 1)
            return ids, torch.arange(40, 0, -1.0).repeat(len(history), 1)

    batch = {"history": torch.ones(2, 3).long(), "seen": torch.ones(2, 3).long()}
    with pytest.raises(ParityError, match="scores differ by"):
        ranking_parity(loaded.model, Other(), [batch], 1e-4)


def test_a_run_can_be_measured_and_exported_again(
    run: tuple[Path, dict[str, float]], tmp_path: Path
) -> None:
    output, metrics = run
    again = Run.open(output, overrides={"export": {"root": str(tmp_path), "k": 7}})
    report = again.evaluate()
    assert report.model == pytest.approx({k: metrics[k] for k in report.model})
    assert set(report.floors) == {"popularity", "markov", "ease"}
    loaded = artifact.load(again.export(report))
    assert loaded.signature.limits["k"] == 7
    assert loaded.path.is_relative_to(tmp_path)


@pytest.mark.parametrize(
    ("folder", "checkpoint", "message"),
    [
        ("elsewhere", "best", r"elsewhere: no config\.yaml"),
        (".", "third", r"no checkpoint at .*third\.ckpt; there are: \['best', 'last'\]"),
    ],
)
def test_a_run_that_is_not_there(
    run: tuple[Path, dict[str, float]], folder: str, checkpoint: str, message: str
) -> None:
    with pytest.raises(RunError, match=message):
        Run.open(run[0] / folder, checkpoint)


def test_an_override_that_nothing_reads_is_refused(run: tuple[Path, dict[str, float]]) -> None:
    with pytest.raises(RunOverrideError, match=r"overrides\.data would change nothing.*datamodule"):
        Run.open(run[0], overrides={"data": {"path": "elsewhere"}})


def test_the_scripts_over_a_run(run: tuple[Path, dict[str, float]], tmp_path: Path) -> None:
    output, metrics = run
    for script in ("evaluate", "export"):
        done = subprocess.run(
            [sys.executable, f"scripts/{script}.py", f"run={output}", f"paths.root={tmp_path}",
             f"output_dir={tmp_path / script}", f"+overrides.export.root={tmp_path / 'artifacts'}"],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        report = json.loads((tmp_path / script / "metrics.json").read_text())
        assert report["model"] == pytest.approx({k: metrics[k] for k in report["model"]})
    assert artifact.latest(tmp_path / "artifacts", "recommender") == Path(report["artifact"])


@pytest.mark.parametrize("loss", ["sampled_softmax", "gbce"])
@pytest.mark.parametrize("block", ["sasrec", "gated"])
def test_every_loss_and_block_trains(
    sequences: Path, tmp_path: Path, loss: str, block: str
) -> None:
    cfg = config(
        sequences, tmp_path, f"loss={loss}", "loss.negatives=8", f"block={block}", "export=none"
    )
    assert 0 <= train(cfg)["ndcg@10"] <= 1


@pytest.mark.parametrize("debug", ["fdr", "overfit", "profiler"])
def test_debug_modes(sequences: Path, tmp_path: Path, debug: str) -> None:
    assert "ndcg@10" in train(config(sequences, tmp_path, f"debug={debug}"))


def test_overfitting_sees_the_same_batch_until_it_knows_it(sequences: Path, tmp_path: Path) -> None:
    train(config(sequences, tmp_path, "debug=overfit", "trainer.max_epochs=100", "seed=7"))
    logged = pl.read_csv(tmp_path / "csv" / "metrics.csv")["train_loss_epoch"].drop_nulls()
    assert logged[-1] < 0.1 * logged[0]


@pytest.mark.parametrize(
    "split",
    [
        "data.split._target_=models.recommender.splits.GlobalTime",
        "data.split._target_=models.recommender.splits.RandomFolds",
    ],
)
def test_other_splits_train_too(sequences: Path, tmp_path: Path, split: str) -> None:
    assert "ndcg@10" in train(config(sequences, tmp_path, split, "export=none"))


def test_spared_items_and_constant_rates_train(sequences: Path, tmp_path: Path) -> None:
    cfg = config(
        sequences, tmp_path, "model.spare_touched=true", "scheduler=constant", "export=none"
    )
    assert 0 <= train(cfg)["ndcg@10"] <= 1


@pytest.mark.slow
def test_two_processes_train_one_model(sequences: Path, tmp_path: Path) -> None:
    """Distributed data parallel on a CPU: each rank takes every second batch."""
    done = subprocess.run(
        [
            sys.executable, "scripts/train.py", "data=sequences", f"data.path={sequences}",
            f"output_dir={tmp_path}", f"paths.root={tmp_path}", "datamodule.max_length=16",
            "datamodule.batch_size=16", "model.net.dim=16", "threads=1", "export=none",
            "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2",
            "trainer.precision=32-true", "trainer.max_epochs=30", "optimizer.lr=0.01",
        ],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "MEMBER: 2/2" in done.stderr
    report = json.loads((tmp_path / "metrics.json").read_text())
    assert report["model"]["hit_rate@1"] > 0.7, "a ring is easy"


def test_bf16_trains_on_a_cpu(sequences: Path, tmp_path: Path) -> None:
    cfg = config(
        sequences, tmp_path, "trainer.precision=bf16-mixed", "export=none", "evaluation.floors=null"
    )
    assert 0 <= train(cfg)["ndcg@10"] <= 1
    assert json.loads((tmp_path / "metrics.json").read_text())["floors"] == {}


def test_the_last_weights_where_no_metric_chooses(sequences: Path, tmp_path: Path) -> None:
    """The best epoch is the first one here: the rate is far too high."""
    last = ["callbacks.checkpoint.monitor=null", "callbacks.early_stopping=null"]
    cfg = config(
        sequences, tmp_path, "optimizer.lr=3", "trainer.max_epochs=4", "export=none",
        "evaluation.floors=null", "callbacks.average=null", *last,
    )  # fmt: skip
    found = train(cfg)
    epochs = pl.read_csv(tmp_path / "csv" / "metrics.csv")["val_ndcg@10"].drop_nulls().to_list()
    assert found["val_ndcg@10"] == pytest.approx(epochs[-1])
    assert max(epochs) > epochs[-1]
    assert (tmp_path / "checkpoints" / "best.ckpt").is_file(), "evaluate.py opens it"
    kept = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=False)
    assert kept["epoch"] == 3


def test_a_model_below_its_floors_is_called_so(
    sequences: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(config(sequences, tmp_path, "trainer.max_epochs=1", "optimizer.lr=0", "export=none"))
    assert "does not beat the floor markov" in caplog.text


@pytest.mark.gpu
@RunIf(min_gpus=1)
def test_gpu_training_with_compile(sequences: Path, tmp_path: Path) -> None:
    assert "ndcg@10" in train(config(sequences, tmp_path, "trainer=gpu", "model.compile=true"))


def test_a_resume_without_a_checkpoint_says_so(sequences: Path, tmp_path: Path) -> None:
    with pytest.raises(ResumeError, match=r"no checkpoint at .*last\.ckpt"):
        train(config(sequences, tmp_path, "resume=true"))


def test_resume_auto_begins_and_then_goes_on(
    sequences: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "models.training")
    again = ["resume=auto", "export=none", "evaluation.floors=null"]
    train(config(sequences, tmp_path, "trainer.max_epochs=1", *again))
    assert "training begins" in caplog.text
    train(config(sequences, tmp_path, "trainer.max_epochs=2", *again))
    assert "resuming from" in caplog.text
    assert json.loads((tmp_path / "metrics.json").read_text())["conditions"]["epochs"] == 2


def test_the_last_checkpoint_is_of_the_last_epoch_also_after_the_best(
    sequences: Path, tmp_path: Path
) -> None:
    """The best epoch is an early one here: the rate is far too high."""
    train(
        config(
            sequences, tmp_path, "optimizer.lr=3", "trainer.max_epochs=4", "export=none",
            "evaluation.floors=null", "callbacks.average=null",
        )
    )  # fmt: skip
    best, last = (
        torch.load(tmp_path / "checkpoints" / f"{name}.ckpt", weights_only=False)["epoch"]
        for name in ("best", "last")
    )
    assert (best < 3, last) == (True, 3)


def test_what_a_kill_left_beside_its_name_is_found(sequences: Path, tmp_path: Path) -> None:
    """As between the two renames that replace a sharded checkpoint."""
    again = ["resume=auto", "export=none", "evaluation.floors=null"]
    train(config(sequences, tmp_path, "trainer.max_epochs=1", *again))
    for name in ("last.ckpt", "best.ckpt"):
        path = tmp_path / "checkpoints" / name
        path.rename(path.with_name(f".{name}.before"))
    assert Run.open(tmp_path).evaluate().model
    train(config(sequences, tmp_path, "trainer.max_epochs=2", *again))
    assert json.loads((tmp_path / "metrics.json").read_text())["conditions"]["epochs"] == 2
    assert (tmp_path / "checkpoints" / "last.ckpt").is_file()


def test_other_data_is_refused_by_a_resume_and_by_a_second_look(
    run: tuple[Path, dict[str, float]], sequences: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.txt"
    other.write_text(sequences.read_text().replace("i39", "i38"))
    last = run[0] / "checkpoints" / "last.ckpt"
    cfg = config(other, tmp_path, f"resume={last}", "export=none", "evaluation.floors=null")
    with pytest.raises(DataError, match=r"trained on other data \(.* 40 items, .* 39 items"):
        train(cfg)
    with pytest.raises(DataError, match="trained on other data"):
        Run.open(run[0], overrides={"datamodule": {"reader": {"path": str(other)}}})
    with pytest.raises(
        RunMismatchError, match=r"best\.ckpt: the weights do not fit .*size mismatch"
    ):
        Run.open(run[0], overrides={"model": {"net": {"dim": 8}}})


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was(sequences: Path, tmp_path: Path) -> None:
    command = [
        sys.executable, "scripts/train.py", "data=sequences", f"data.path={sequences}",
        f"output_dir={tmp_path}", f"paths.root={tmp_path}", "datamodule.max_length=16",
        "model.net.dim=16", "threads=1", "export=none", "callbacks.early_stopping=null",
    ]  # fmt: skip
    process = subprocess.Popen([*command, "trainer.max_epochs=100000"], cwd=ROOT)
    last = tmp_path / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + 120
    while not last.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    reached = torch.load(last, weights_only=False)["epoch"]
    result = subprocess.run(
        [*command, f"trainer.max_epochs={reached + 3}", "resume=true"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "metrics.json").read_text())
    assert report["conditions"]["epochs"] == reached + 3
    assert f"epoch 1/{reached + 3}:" not in result.stdout + result.stderr


def test_averaging_follows_the_weights_at_first_and_smooths_later() -> None:
    average = warm_ema(0.9)
    zero, one = torch.zeros(1), torch.ones(1)
    assert average(zero, one, 0).item() == pytest.approx(0.9)
    assert average(zero, one, torch.tensor(10_000)).item() == pytest.approx(0.1)
    with pytest.raises(ValueError, match="decay"):
        warm_ema(1.0)
    places = torch.tensor([1, 2])  # whole numbers, as in a BERT's buffers
    assert average(torch.tensor([0, 0]), places, 5).tolist() == [1, 2]
