"""Criteo's logs: both forms, cut into parts, streamed in blocks, bad lines told."""

from __future__ import annotations

import gzip
import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from models.recommender.interactions import DataError
from models.recommender.ranking.readers.criteo import COLUMNS, CriteoReader
from models.recommender.ranking.stream import BlockBatches, StreamedRankingDataModule
from models.schedules import ScheduleError
from models.training import train
from tests.models.recommender.ranking.test_training import CONFIGS, compose, initialize_config_dir

FIELDS = {
    **{f"I{n}": {"kind": "dense", "log": True} for n in range(1, 14)},
    **{f"C{n}": {"kind": "categorical", "vocabulary": 0, "buckets": 50} for n in range(1, 27)},
}


def line(rng: random.Random, label: int | None = None) -> str:
    """One whose third category says its label."""
    label = rng.randrange(2) if label is None else label
    numbers = [str(rng.randrange(-2, 500)) if rng.random() < 0.8 else "" for _ in range(13)]
    categories = [f"{rng.randrange(30):08x}" if rng.random() < 0.9 else "" for _ in range(26)]
    categories[2] = f"{rng.randrange(8) * 2 + label:08x}"
    return "\t".join([str(label), *numbers, *categories])


def kaggle(path: Path, rows: int = 1000, *bad: str) -> Path:
    rng = random.Random(0)
    lines = [line(rng) for _ in range(rows)]
    for n, text in enumerate(bad):
        lines.insert(3 + 2 * n, text)
    path.write_text("\n".join(lines) + "\n")
    return path


def reader(path: Path, **more: Any) -> CriteoReader:
    return CriteoReader(path, path.parent / "rejects.csv", **more)


def read(source: CriteoReader, part: str) -> pl.DataFrame:
    return pl.concat(source.blocks(part))


@pytest.mark.parametrize("block_mb", [0.004, 0.05, 32])
def test_parts_follow_one_another_whatever_the_blocks(tmp_path: Path, block_mb: float) -> None:
    path = kaggle(tmp_path / "train.txt")
    source = reader(path, block_mb=block_mb)
    parts = [read(source, part) for part in ("train", "validation", "test")]
    assert [len(p) for p in parts] == [800, 100, 100]
    whole = pl.concat(parts)
    assert whole.columns == list(COLUMNS)
    given = [t.split("\t") for t in path.read_text().splitlines()]
    assert whole["label"].to_list() == [int(g[0]) for g in given]
    assert whole["I3"].to_list() == [float(g[3]) if g[3] else None for g in given]
    assert whole["C26"].to_list() == [g[39] or None for g in given]


def test_the_last_line_needs_no_end_and_windows_lines_are_lines(tmp_path: Path) -> None:
    path = kaggle(tmp_path / "train.txt", 20)
    plain = read(reader(path), "test")
    path.write_bytes(path.read_bytes().rstrip(b"\n").replace(b"\n", b"\r\n"))
    assert read(reader(path), "test").equals(plain)


def test_days_train_and_the_last_one_tests(tmp_path: Path) -> None:
    rng = random.Random(0)
    for day in (0, 1, 2, 10):
        lines = [line(rng, label=int(day == 10)) for _ in range(300)]
        with gzip.open(tmp_path / f"day_{day}.gz", "wt") as file:
            file.write("\n".join(lines) + "\n")
    source = CriteoReader(tmp_path, tmp_path / "rejects.csv", block_mb=0.02)
    assert read(source, "train")["label"].to_list() == [0] * 900
    validation, test = read(source, "validation"), read(source, "test")
    assert len(validation) + len(test) == 300
    assert len(test) > 50
    assert test["label"].min() == 1, "the tenth day comes after the second"
    (tmp_path / "day_1.gz").write_bytes((tmp_path / "day_1.gz").read_bytes()[:500])
    with pytest.raises(DataError, match=r"day_1\.gz: cannot be read after line"):
        read(source, "train")


BAD = {
    "label is neither 0 nor 1": line(random.Random(1)).replace("0", "7", 1)
    if line(random.Random(1)).startswith("0")
    else "7" + line(random.Random(1))[1:],
    "expected 40 fields separated by '\\t'": "1\t2\t3",
    "I2 is no number": "\t".join(["1", "1", "many", *[""] * 37]),
    "C1 is not 1 to 8 hexadecimal digits": "\t".join(["1", *[""] * 13, "xyz", *[""] * 25]),
}


def test_bad_lines_are_told_with_place_and_reason(tmp_path: Path) -> None:
    path = kaggle(tmp_path / "train.txt", 1000, *BAD.values())
    rows = read(reader(path, block_mb=0.01), "train")
    assert len(rows) == 803 - 4
    aside = pl.read_csv(tmp_path / "rejects_train.csv")
    assert aside.select("line", "reason").rows() == [
        (4 + 2 * n, reason) for n, reason in enumerate(BAD)
    ]
    with pytest.raises(
        DataError, match=r"4 of 803 rows rejected .*more than max_reject_share=0.1%"
    ):
        read(reader(path, max_reject_share=0.001), "train")


def batches(source: CriteoReader, **more: int) -> list[Any]:
    module = StreamedRankingDataModule("c", source, None, FIELDS, batch_size=64)
    module.prepare()
    made = BlockBatches(source, module.encoding, 64, seed=0, **more)
    return list(made)


def test_ranks_share_each_batch_and_miss_no_row(tmp_path: Path) -> None:
    source = reader(kaggle(tmp_path / "train.txt"), block_mb=0.05)
    alone = batches(source)
    assert [len(b.label) for b in alone] == [64] * 12
    halves = [batches(source, rank=r, world=2) for r in (0, 1)]
    for whole, *parts in zip(alone, *halves, strict=True):
        for n, part in enumerate(parts):
            assert torch.equal(part.label, whole.label[n::2])
            assert torch.equal(part.bags["C3"].values(), whole.bags["C3"].values()[n::2])


def test_it_trains_from_the_stream(tmp_path: Path) -> None:
    kaggle(tmp_path / "train.txt", 3000)
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose(
            "train",
            ["experiment=recommender/dlrm", "data=criteo_kaggle", f"data.path={tmp_path}",
             f"output_dir={tmp_path / 'run'}", f"paths.root={tmp_path}", "scheduler=constant",
             "data.buckets=50", "data.reader.block_mb=0.1", "datamodule.batch_size=64",
             "model.net.dim=4", "model.net.dropout=0", "optimizer.lr=0.02", "hydra.job.num=0",
             "model.embedding_decay=0", "trainer.max_epochs=3", "threads=1", "export=none"],
        )  # fmt: skip
    assert train(cfg)["auroc"] > 0.9, "the third category says it"


def test_a_schedule_without_an_end_says_what_it_needs(tmp_path: Path) -> None:
    kaggle(tmp_path / "train.txt")
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose(
            "train",
            ["experiment=recommender/dlrm", "data=criteo_kaggle", f"data.path={tmp_path}",
             f"output_dir={tmp_path / 'run'}", f"paths.root={tmp_path}", "hydra.job.num=0",
             "scheduler=warmup_cosine", "trainer.max_epochs=1", "export=none",
             "data.buckets=50", "datamodule.batch_size=64", "threads=1"],
        )  # fmt: skip
    with pytest.raises(ScheduleError, match=r"trainer\.max_steps"):
        train(cfg)
    cfg.trainer.max_steps = 2  # what the message says to give
    assert "auroc" in train(cfg)


@pytest.mark.realdata
def test_the_real_sample(real_data: Path, tmp_path: Path) -> None:
    path = real_data / "criteo-sample" / "criteo_sample.txt"
    source = CriteoReader(path, tmp_path / "rejects.csv")
    parts = [read(source, part) for part in ("train", "validation", "test")]
    assert [len(p) for p in parts] == [160, 20, 20]
    assert parts[0].row(0)[:5] == (0, None, 3.0, 260.0, None)
    assert not list(tmp_path.iterdir()), "no line is malformed"
