"""Detectors as a user trains them: the real configs, a table in, an artifact out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from models import artifact
from models.anomaly.telemetry import TelemetryError
from models.anomaly.training import train
from scripts.entrypoint import CONFIGS


def config(output: Path, *overrides: str) -> DictConfig:
    settings = [
        "experiment=anomaly/autoencoder",
        "data=telemetry_table",
        f"output_dir={output}",
        f"paths.artifacts={output}/artifacts",
        "trainer.max_epochs=1",
        "model.epoch_steps=100",
        "model.model.hidden=32",
        "threads=1",
        *overrides,
    ]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose("train", settings, return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    OmegaConf.set_struct(cfg, False)
    del cfg["hydra"]
    return cfg


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hosts, cpu and memory; in the last tenth of the time some rows are broken."""
    path = tmp_path_factory.mktemp("data") / "hosts.csv"
    rng = np.random.default_rng(0)
    lines = ["timestamp,host,cpu,memory,broken"]
    for minute in range(600):
        for host in ("a", "b"):
            broken = minute > 540 and minute % 5 == 0
            cpu, memory = rng.normal([40 + 30 * broken, 60], [3, 2])
            lines.append(f"{1_767_225_600 + 60 * minute},{host},{cpu:.3f},{memory:.3f},{broken:d}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def run(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("run")
    columns = ["data.reader.source=host", "data.reader.label=broken", "data.reader.time_unit=s"]
    train(config(output, f"data.path={table}", *columns))
    return output


def test_it_is_measured_beside_its_floors(run: Path) -> None:
    report = json.loads((run / "metrics.json").read_text())
    assert report["model"]["auroc"] > 0.95
    assert set(report["floors"]) == {"knn", "isolation_forest"}
    assert set(report["floors"]["knn"]) <= set(report["model"])
    assert report["data"]["fields"] == ["cpu", "memory"]
    assert report["data"]["train_rows"] + report["data"]["test_rows"] == 1200


def test_the_artifact_has_all_that_a_stream_needs(run: Path) -> None:
    report = json.loads((run / "metrics.json").read_text())
    made = artifact.load(Path(report["artifact"]))
    assert (made.signature.name, made.signature.task) == ("anomaly", "anomaly")
    assert made.signature.limits == {"window": 1}
    assert [t.name for t in made.signature.inputs] == ["values", "time"]
    assert [t.name for t in made.signature.outputs] == ["score", "contributions", "expected"]
    assert made.read_asset("fields.json") == ["cpu", "memory"]
    threshold = made.read_asset("threshold.json")
    assert threshold["scores"] == sorted(threshold["scores"])
    assert 50 < len(threshold["scores"]) <= 2000
    assert np.median(threshold["scores"]) < 1 < threshold["threshold"]
    card = (made.path / "MODEL_CARD.md").read_text()
    assert "cpu, memory" in card
    assert "floor: knn" in card


def test_the_served_graph_scores_raw_numbers(run: Path) -> None:
    report = json.loads((run / "metrics.json").read_text())
    session = onnxruntime.InferenceSession(Path(report["artifact"]) / "model.onnx")
    values = np.array([[[40, 60]], [[40, np.nan]], [[95, 60]]], np.float32)
    score, parts, expected = session.run(
        None, {"values": values, "time": np.full(3, 1_767_225_600, np.int64)}
    )
    assert score[0] < 2
    assert score[2] > max(score[0], score[1], 3)
    assert parts[2].argmax() == 0
    assert abs(expected[2, 0] - 40) < 15


def test_training_without_labels_has_no_ranking(table: Path, tmp_path: Path) -> None:
    metrics = train(
        config(
            tmp_path, f"data.path={table}", "data.reader.fields=[cpu,memory]",
            "data.reader.time_unit=s", "data.reader.source=host", "export=none",
        )
    )  # fmt: skip
    assert "auroc" not in metrics
    assert 0 <= metrics["alarm_rate"] < 0.2


def test_a_classifier_gets_no_labels_unless_the_split_gives_them(
    table: Path, tmp_path: Path
) -> None:
    cfg = config(
        tmp_path, "experiment=anomaly/classifier", f"data.path={table}",
        "data.reader.label=broken", "data.reader.source=host", "data.reader.time_unit=s",
        "data.split.labels=false", "export=none",
    )  # fmt: skip
    with pytest.raises(TelemetryError, match="0 rows labelled anomalous"):
        train(cfg)


@pytest.mark.parametrize(
    "experiment", ["autoencoder", "denoising", "vae", "deep_sad", "classifier", "stream"]
)
def test_every_experiment_composes(experiment: str, tmp_path: Path) -> None:
    cfg = config(tmp_path, f"experiment=anomaly/{experiment}", "data.path=/nowhere")
    assert cfg.trained_by == "models.anomaly.training.train"
    assert OmegaConf.to_container(cfg, resolve=True)
    assert cfg.data.split.labels == (experiment in ("deep_sad", "classifier"))


@pytest.mark.realdata
def test_it_beats_its_floors_on_letters(real_data: Path, tmp_path: Path) -> None:
    """ADBench's `letter`, where neighbours find 88 % and a forest 66 %."""
    path = real_data / "adbench" / "20_letter.npz"
    settings = ["data=adbench", f"data.path={path}", "export=none", "trainer.max_epochs=3"]
    metrics = train(config(tmp_path, *settings, "model.model.hidden=64"))
    report = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["auroc"] > report["floors"]["knn"]["auroc"] + 0.01
