"""Runs read back from their folders, and the page made of them."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest

from models.comparison.page import Layout, table, write_page
from models.comparison.plots import label_apart
from models.comparison.runs import ComparisonError, differing, find_runs, read_runs
from tests.conftest import ROOT

LAYOUT = Layout(
    metrics=["ndcg@10", "rmse", "novelty@10"],
    lower_is_better=["rmse"],
    neutral=["novelty@10"],
    drawn=["ndcg@10"],
    curves=["val_ndcg@10"],
    trade_offs=[["novelty@10", "ndcg@10"]],
)


def finished(folder: Path, ndcg: float, data: str = "beauty", **changes: Any) -> Path:
    """A run's folder, as training leaves it."""
    (folder / "csv").mkdir(parents=True)
    report = {
        "model": {"ndcg@10": ndcg, "rmse": 1 - ndcg, "novelty@10": 10 * ndcg},
        "floors": {"markov": {"ndcg@10": 0.3, "novelty@10": 4.0}},
        "peers": {},
        "data": {"name": data, "sha256": "ab" * 32, "rows": 1234, "users": 50},
        "conditions": {"epochs": 2, "fit_seconds": 90.0, "validation": {"val_ndcg@10": 0.5}},
    } | changes
    (folder / "metrics.json").write_text(json.dumps(report))
    (folder / "config.yaml").write_text(
        f"seed: 1\nlr: {ndcg}\noutput_dir: {folder}\ncallbacks:\n  dirpath: {folder}/checkpoints\n"
        f"data:\n  name: {data}\n"
    )
    (folder / "csv" / "metrics.csv").write_text(
        "epoch,step,train_loss_epoch,val_ndcg@10\n0,1,,0.25\n0,1,3.5,\n1,2,,0.5\n1,2,2.5,\n"
    )
    return folder


def test_a_run_is_read_as_it_was_left(tmp_path: Path) -> None:
    run = read_runs([finished(tmp_path / "a", 0.4)])[0]
    assert run.name == "a"
    assert run.model["ndcg@10"] == 0.4
    assert run.dataset == "beauty (abababab)"
    assert run.settings["data.name"] == "beauty"
    assert run.curves == {
        "val_ndcg@10": [(1, 0.25), (2, 0.5)],
        "train_loss_epoch": [(1, 3.5), (2, 2.5)],
    }


def test_runs_below_a_folder_without_their_artifacts(tmp_path: Path) -> None:
    for name in ("beauty/hstu", "beauty/gru", "ml/hstu"):
        finished(tmp_path / name, 0.4)
    product = finished(tmp_path / "artifacts" / "m" / "1", 0.4)
    (product / "signature.json").write_text("{}")
    served = finished(tmp_path / "serve", 0.4)
    (served / "metrics.json").write_text('{"startup_seconds": 9.5}')
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / "config.yaml").write_text("a: 1\n")
    folders = find_runs(tmp_path)
    names = [run.name for run in read_runs(folders)]
    assert names == ["beauty/gru", "beauty/hstu", "ml/hstu"]


@pytest.mark.parametrize("content", [None, "{", "[]", '{"floors": {}}'])
def test_what_is_no_run_is_named(content: str | None, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    if content is not None:
        (folder / "metrics.json").write_text(content)
    with pytest.raises(ComparisonError, match=r"broken: .*the folder of a finished training"):
        read_runs([folder])


def test_nothing_to_compare_and_a_run_given_twice(tmp_path: Path) -> None:
    with pytest.raises(ComparisonError, match="no finished run"):
        find_runs(tmp_path)
    with pytest.raises(ComparisonError, match="no run to compare"):
        read_runs([])
    folder = finished(tmp_path / "a", 0.4)
    with pytest.raises(ComparisonError, match="given twice"):
        read_runs([folder, folder])


def test_settings_that_differ_are_no_places(tmp_path: Path) -> None:
    runs = read_runs([finished(tmp_path / "a", 0.4), finished(tmp_path / "b", 0.6)])
    assert differing(runs) == {"lr": ["0.4", "0.6"]}


def test_the_table_orders_marks_the_best_and_what_is_below_a_floor(tmp_path: Path) -> None:
    runs = read_runs([finished(tmp_path / "low", 0.2), finished(tmp_path / "high", 0.6)])
    rows = table(runs, LAYOUT.metrics, LAYOUT)
    assert [(r.kind, r.name, r.below) for r in rows] == [
        ("floor", "markov", False), ("run", "high", False), ("run", "low", True),
    ]  # fmt: skip
    assert [c.best for c in rows[1].cells] == [True, True, False], "rmse is smallest there"
    assert not any(c.best for c in rows[2].cells)
    assert rows[0].cells[1].value is None


class Sources(HTMLParser):
    """Everything that a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href")]


def test_the_page_needs_nothing_else_and_escapes_names(tmp_path: Path) -> None:
    folders = [
        finished(tmp_path / "<b>one", 0.4), finished(tmp_path / "two", 0.6),
        finished(tmp_path / "three", 0.5, data="films"),
    ]  # fmt: skip
    page = tmp_path / "out" / "runs.html"
    write_page(read_runs(folders), LAYOUT, page, "A & B")
    text = page.read_text()
    assert "<b>one" not in text
    assert "&lt;b&gt;one" in text
    assert "A &amp; B" in text
    assert text.count("<h2>") == 2, "other data, another section"
    sources = Sources()
    sources.feed(text)
    assert len(sources.found) == 2 * 3, "bars, a trade-off and a curve for each section"
    assert all(s.startswith("data:image/svg+xml;base64,") for s in sources.found)
    first = base64.b64decode(sources.found[0].partition(",")[2]).decode()
    assert "two" in first
    assert re.search(r">0\.6<", first)


def test_runs_of_unknown_metrics_show_all_they_have(tmp_path: Path) -> None:
    run = finished(tmp_path / "odd", 0.4, model={"own_measure": 3.0}, floors={})
    page = tmp_path / "runs.html"
    write_page(read_runs([run]), LAYOUT, page, "odd")
    assert "own_measure" in page.read_text()
    assert "3.0000" in page.read_text()


def test_the_script(tmp_path: Path) -> None:
    finished(tmp_path / "runs" / "a", 0.4)
    finished(tmp_path / "runs" / "b", 0.6)
    command = [sys.executable, "scripts/compare_runs.py", f"paths.root={tmp_path}"]
    page = tmp_path / "page.html"
    done = subprocess.run(
        [*command, f"root={tmp_path / 'runs'}", f"output={page}"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert str(page) in done.stdout
    assert "ndcg@10" in page.read_text()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "either runs=[<folder>,…] or root=" in done.stderr


def test_names_of_points_at_one_place_do_not_cover_one_another() -> None:
    canvas, axis = plt.subplots(figsize=(5, 3))
    axis.scatter([0, 1], [0, 1])
    label_apart(canvas, axis, [("popularity", 0.5, 0.5), ("hstu", 0.5, 0.5), ("gru", 0.5, 0.51)])
    boxes = [text.get_window_extent() for text in axis.texts]
    plt.close(canvas)
    assert len(boxes) == 3
    assert not any(a.overlaps(b) for n, a in enumerate(boxes) for b in boxes[:n])
