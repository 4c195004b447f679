"""The frame of the scripts: hints for typos, exit codes, and configs that compose."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from scripts.entrypoint import CONFIGS, explain, first_of_each
from tests.conftest import ROOT

SCRIPTS = sorted(p.stem for p in CONFIGS.glob("*.yaml"))
BENCHMARKS = sorted(f"benchmark/{p.stem}" for p in (CONFIGS / "benchmark").glob("*.yaml"))


@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("trainer.max_epoch=3", "trainer.max_epochs"),
        ("optimizer.rl=1", "optimizer.lr"),
        ("sed=1", "seed"),
        ("data=movielens_1n", "data/movielens_1m"),
        ("experiment=recommender/sequental", "experiment/recommender/sequential"),
    ],
)
def test_a_typo_names_the_nearest_valid_key(override: str, nearest: str) -> None:
    complaint = explain("train", [override])
    assert complaint is not None
    assert nearest in complaint


@pytest.mark.parametrize("override", ["data.path=/logs/date=2026-01-01", "overrides=[a.b=1]"])
def test_a_value_that_cannot_be_read_is_named_with_its_quotes(override: str) -> None:
    complaint = explain("train", [override])
    assert complaint is not None
    key, value = override.split("=", 1)
    assert f"cannot read {override!r}" in complaint
    assert f"""'{key}="{value}"'""" in complaint


def test_an_argument_that_is_no_setting_is_named() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/train.py", "seed=1", "~model.net.n_blocks", "-m", "name"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (2, "error: 'name': settings are given as key=value\n")


def test_a_typo_in_a_sweep_names_the_nearest_valid_key() -> None:
    complaint = explain("train", first_of_each(["optimizer.rl=1e-3,2e-3", "seed=range(1,4)"]))
    assert complaint is not None
    assert "optimizer.lr" in complaint


def test_sweeps_without_a_first_value_are_left_to_hydra() -> None:
    swept = [
        "hparams_search=optuna",
        "optimizer.lr=interval(0.001, 0.01)",
        "loss=gbce,cross_entropy",
    ]
    assert first_of_each(swept) == ["hparams_search=optuna", "loss=gbce"]
    assert explain("train", first_of_each(swept)) is None


def test_valid_overrides_have_no_complaint() -> None:
    assert explain("train", ["experiment=recommender/movielens_1m", "data.path=x"]) is None


@pytest.mark.parametrize("name", [*SCRIPTS, *BENCHMARKS])
def test_every_script_config_composes(name: str) -> None:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        assert "output_dir" in compose(name)


@pytest.mark.parametrize("name", [*SCRIPTS, *BENCHMARKS])
def test_no_value_has_the_name_of_a_group(name: str) -> None:
    """Hydra takes `size=tiny` for a choice in `configs/size/`, so such a value could not be set."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        values = [
            str(k) for k, v in compose(name)._content.items() if not isinstance(v, DictConfig)
        ]
    assert [v for v in values if (CONFIGS / v).is_dir()] == []


@pytest.mark.parametrize("group", ["data", "loss", "block", "trainer", "logger", "debug"])
def test_every_choice_composes(group: str) -> None:
    for option in sorted(p.stem for p in (CONFIGS / group).glob("*.yaml")):
        assert explain("train", [f"{group}={option}", "data.path=x"]) is None, option


@pytest.mark.parametrize(
    "experiment",
    sorted(
        str(p.relative_to(CONFIGS / "experiment").with_suffix(""))
        for p in (CONFIGS / "experiment").rglob("*.yaml")
    ),
)
def test_every_experiment_composes(experiment: str) -> None:
    assert explain("train", [f"experiment={experiment}", "data.path=x"]) is None


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, check=False
    )


def test_a_typo_ends_with_usage_code() -> None:
    result = run("scripts/archive.py", "modle=x")
    assert result.returncode == 2
    assert "model" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("script", "more", "key"),
    [("predict", "artifact=x", "input"), ("train", "data=sequences", "data.path")],
)
def test_a_value_that_must_be_given_is_named(
    script: str, more: str, key: str, tmp_path: Path
) -> None:
    result = run(f"scripts/{script}.py", more, f"output_dir={tmp_path}/o")
    assert result.returncode == 2
    assert key in result.stderr
    assert "Traceback" not in result.stderr


def test_choices_that_do_not_belong_together_are_said(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("text,label\n")
    result = run(
        "scripts/train.py", "experiment=sentiment/minilm", "tokenizer=words", "data=texts",
        f"data.path={tmp_path}/x.csv", f"output_dir={tmp_path}/o", f"paths.root={tmp_path}",
    )  # fmt: skip
    assert result.returncode == 2
    assert "'tokenizer.encoder' not found" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_missing_file_ends_with_its_code_and_no_traceback(tmp_path: Path) -> None:
    absent = tmp_path / "absent.txt"
    result = run(
        "scripts/train.py", "data=sequences", f"data.path={absent}", f"output_dir={tmp_path}/o"
    )
    assert result.returncode == 66
    assert str(absent) in result.stderr
    assert "Traceback" not in result.stderr


def test_a_refused_value_names_itself_and_its_key_without_a_traceback(tmp_path: Path) -> None:
    result = run(
        "scripts/train.py", "data=sequences", f"data.path={tmp_path}", f"output_dir={tmp_path}/o",
        "datamodule.segments=some",
    )  # fmt: skip
    assert result.returncode == 78
    assert result.stderr.endswith("not 'some' (config key datamodule)\n")
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_optuna_sweeps_by_validation(tmp_path: Path) -> None:
    data = tmp_path / "rings.txt"
    rows = ([f"u{u}", *(f"i{(u + n) % 30}" for n in range(5 + u % 9))] for u in range(40))
    data.write_text("".join(" ".join(row) + "\n" for row in rows))
    result = run(
        "scripts/train.py", "hparams_search=optuna", "-m", "data=sequences", f"data.path={data}",
        f"output_dir={tmp_path / 'sweep'}", f"paths.root={tmp_path}", "hydra.sweeper.n_trials=2",
        "trainer.max_epochs=1", "datamodule.max_length=8", "export=none", "threads=1",
        "hydra.sweeper.params={optimizer.lr: 'interval(0.001, 0.01)'}", "logger=none",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    best = yaml.safe_load((tmp_path / "sweep" / "optimization_results.yaml").read_text())
    trials = [
        json.loads((tmp_path / "sweep" / number / "metrics.json").read_text())
        for number in ("0", "1")
    ]
    assert best["best_value"] == max(t["conditions"]["validation"]["val_ndcg@10"] for t in trials)
