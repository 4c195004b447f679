"""Rankers as a user trains them: the real configs, a small snapshot, and the artifact alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

from feature_repo.registry.contract import FeatureVersionError, require_same
from models import artifact
from models.export import ParityError
from models.recommender.interactions import DataError
from models.recommender.ranking.encoding import Encoding
from models.recommender.ranking.export import RankingExport
from models.recommender.ranking.ranker import Ranker
from models.run import Run
from models.session import session
from models.training import train
from scripts.entrypoint import CONFIGS
from tests.models.recommender.ranking.snapshots import FIELDS, VIEWS, rows, snapshot


def config(data: Path, output: Path, *overrides: str) -> DictConfig:
    settings = [
        "experiment=recommender/dlrm",
        f"data.path={data}",
        "data.reader.time=event_timestamp",
        f"output_dir={output}",
        f"paths.root={output}",
        "datamodule.batch_size=32",
        "model.net.dim=8",
        "model.net.init_std=0.3",
        "model.embedding_decay=0.01",
        "model.net.dropout=0",
        "optimizer.lr=0.01",
        "trainer.max_epochs=4",
        "threads=1",
        *overrides,
    ]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose("train", settings, return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    with open_dict(cfg):
        del cfg["hydra"]
        cfg.data.fields = {**dict.fromkeys(cfg.data.fields), **FIELDS}
    return cfg


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return snapshot(tmp_path_factory.mktemp("data") / "snapshot")


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    output = tmp_path_factory.mktemp("run")
    return output, train(config(data, output))


@pytest.fixture(scope="module")
def made(run: tuple[Path, dict[str, float]]) -> artifact.Artifact:
    return artifact.load(artifact.latest(run[0] / "artifacts", "ranker"))


def test_it_learns_what_a_linear_floor_cannot(run: tuple[Path, dict[str, float]]) -> None:
    """Who likes what is a product of two categories, which no weight of either alone can say."""
    output, metrics = run
    report = json.loads((output / "metrics.json").read_text())
    assert set(report["floors"]) == {"logistic_regression", "factorization_machine"}
    for floor in report["floors"].values():
        assert set(floor) == set(report["model"]) == {"auroc", "log_loss", "calibration", "ece"}
    assert metrics["auroc"] > report["floors"]["logistic_regression"]["auroc"] + 0.1
    assert metrics["auroc"] > 0.85
    assert 0.7 < metrics["calibration"] < 1.4
    assert report["data"]["test_rows"] == 200
    assert set(report["conditions"]["validation"]) == {"val_log_loss"}


def test_dcnv2_trains_and_exports(data: Path, tmp_path: Path) -> None:
    cfg = config(data, tmp_path, "experiment=recommender/dcnv2", "evaluation.floors=null")
    assert train(cfg)["auroc"] > 0.7
    assert artifact.latest(tmp_path / "artifacts", "ranker")


def test_the_artifact_answers_raw_rows_alone(
    run: tuple[Path, dict[str, float]], made: artifact.Artifact
) -> None:
    assert made.signature.task == "ranking"
    assert {t.name for t in made.signature.inputs} == set(FIELDS)
    shapes = {t.name: t.shape for t in made.signature.inputs}
    assert shapes["price"] == ("batch",)
    assert shapes["tags"] == ("batch", "tags_length")
    assert [t.name for t in made.signature.outputs] == ["scores"]
    encoding = Encoding.from_json(made.read_asset("fields.json"))
    test = rows().tail(200)
    feed = {f.name: encoding.column(f, test[f.name].to_list()) for f in encoding.fields.all}
    scores = session(made.model).run(["scores"], feed)[0]
    report = json.loads((run[0] / "metrics.json").read_text())
    label = test["label"].to_numpy()
    measured = -np.where(label == 1, np.log(scores), np.log(1 - scores)).mean()
    assert measured == pytest.approx(report["model"]["log_loss"], abs=1e-5)
    one = {f.name: encoding.column(f, [None]) for f in encoding.fields.all}
    assert 0 < float(session(made.model).run(["scores"], one)[0][0]) < 1


def test_it_names_the_features_that_it_reads(made: artifact.Artifact) -> None:
    assert made.signature.feature_service == "ranking_v1"
    read = made.signature.features
    assert {v: set(read[v]["features"]) for v in read} == {
        "user_history": {"item_ids"},
        "user_statistics": {"views_7d"},
    }
    assert read["user_history"]["version"] == 1
    assert read["user_history"]["schema"] == "schema of user_history"
    card = (made.path / "MODEL_CARD.md").read_text()
    assert "| views_7d | dense | user | user_statistics:views_7d |" in card
    assert "floor: factorization_machine" in card


def test_a_store_without_its_features_refuses_it(
    made: artifact.Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def store(features: dict[str, str]) -> dict[str, Any]:
        same = {"version": 1, "revision": 3, "schema": "s", "code": "c0de", "key": "user_id"}
        return {
            "user_history": {**same, "features": {**VIEWS["user_history"], "more": "Int64"}},
            "user_statistics": {**same, "features": features},
        }

    name = "feature_repo.registry.contract.view_versions"
    monkeypatch.setattr(name, lambda *_: store({"views_7d": "Int64"}))
    assert require_same("ranker", made.signature.features, tmp_path, "ranking_v1") == []
    monkeypatch.setattr(name, lambda *_: store({"views_30d": "Int64"}))
    with pytest.raises(FeatureVersionError, match="views_7d is not there, the model's is Int64"):
        require_same("ranker", made.signature.features, tmp_path, "ranking_v1")


def test_a_run_can_be_measured_again_and_a_graph_that_differs_is_refused(
    run: tuple[Path, dict[str, float]], made: artifact.Artifact
) -> None:
    output, metrics = run
    again = Run.open(output)
    report = again.evaluate()
    assert report.model == pytest.approx({k: metrics[k] for k in report.model})
    gate: RankingExport = instantiate(again.config.export)
    assert isinstance(again.model, Ranker)
    fields = made.asset("fields.json")
    assert gate.parity(made.model, fields, again.model, again.data) < 1e-5
    again.model.net.answer.bias.data += 0.1
    with pytest.raises(ParityError, match="the artifact is not written"):
        gate.parity(made.model, fields, again.model, again.data)


@pytest.mark.parametrize(
    ("change", "overrides", "words"),
    [
        (lambda f: f.drop("price"), [], "no column for the fields price; it has"),
        (lambda f: f.with_columns(price=pl.lit("dear")), [], "price is String; a dense field need"),
        (lambda f: f.with_columns(label=pl.lit(2)), [], "label is 2 in 2000 rows; it must be 0"),
        (lambda f: f.with_columns(label=pl.lit(0)), [], "train part has 1600 rows, 0 of them posi"),
        (lambda f: f, ["data.reader.label=bought"], "no column 'bought'"),
    ],
)
def test_rows_that_cannot_be_learned_from(
    tmp_path: Path, change: Any, overrides: list[str], words: str
) -> None:
    bad = snapshot(tmp_path / "bad", change(rows()))
    with pytest.raises(DataError, match=words):
        train(config(bad, tmp_path / "run", *overrides))


def test_a_snapshot_that_lacks_what_a_field_reads(tmp_path: Path) -> None:
    cfg = config(snapshot(tmp_path / "bad"), tmp_path / "run")
    cfg.data.fields.views_7d.feature = "user_statistics:views_1d"
    with pytest.raises(DataError, match="views_7d reads user_statistics:views_1d, which the rows"):
        train(cfg)


def test_a_changed_or_missing_snapshot(tmp_path: Path) -> None:
    folder = snapshot(tmp_path / "bad")
    rows(10).write_parquet(folder / "data.parquet")
    with pytest.raises(DataError, match=r"manifest\.json says"):
        train(config(folder, tmp_path / "run"))
    (folder / "manifest.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"no manifest\.json; give a snapshot's folder"):
        train(config(folder, tmp_path / "run"))


def test_the_configs_fields_are_those_of_the_feature_service() -> None:
    """Every feature that the impressions' fields name is declared, under the column's name."""
    from feature_repo.registry.declaration import declared
    from feature_repo.services import SERVICES

    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        fields = OmegaConf.to_container(compose("train", ["data=impressions", "data.path=x"]))
    there = {
        f"{d.full_name}:{f['name']}"
        for d in declared()
        if d.full_name in SERVICES["ranking_v2"]
        for f in d.content["features"]
    }
    assert isinstance(fields, dict)
    for name, settings in fields["data"]["fields"].items():
        if "feature" in settings:
            assert settings["feature"] in there
            # A column of its own beside the store's: the history up to the showing.
            column = "item_ids" if name == "recent_items" else name
            assert settings["feature"].endswith(f":{column}")
        else:
            assert name in ("user_id", "item_id")
