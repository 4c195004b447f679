"""What the index chooser sees: `python benchmarks/index.py output_dir=<folder>`.

Catalogs of several sizes, and the items of a two-tower artifact if one is given: each recipe's
recall of the exact list and queries a second, one thread, and what is chosen. Exact top-k stands
beside it as the graph of a two-tower artifact does it, in ONNX Runtime. Synthetic items lie in
clusters on the unit sphere and users near some item, which is kinder to an index than noise and
about as kind as trained vectors are.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # rooms, not this folder's neighbours

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import onnx
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from onnx import helper, numpy_helper
from rich.console import Console
from rich.table import Table

from models import artifact
from models.export import OPSET
from models.recommender.index.chooser import Choice, IndexChooser
from models.recommender.retrieval.catalog import QUERIES
from models.recommender.retrieval.graphs import table_of
from models.report import Report, conditions
from models.session import session
from scripts.entrypoint import entrypoint


def catalogs(cfg: DictConfig) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, item vectors and user vectors of each."""
    if cfg.artifact:
        found = artifact.load(Path(cfg.artifact))
        vectors = table_of(onnx.load(str(found.model)))[1:]
        queries = np.load(found.path / QUERIES, allow_pickle=False)
        yield f"{found.signature.name} ({len(vectors):,})", vectors, queries
    rng = np.random.default_rng(cfg.seed)
    for size in cfg.sizes:
        centres = unit(rng.normal(size=(cfg.clusters, cfg.dim)))
        scale = cfg.spread / np.sqrt(cfg.dim)
        items = unit(around(rng, centres[rng.integers(cfg.clusters, size=size)], scale))
        queries = unit(around(rng, items[rng.integers(size, size=cfg.queries)], scale))
        yield f"synthetic ({size:,})", items, queries


def around(rng: np.random.Generator, centres: np.ndarray, scale: float) -> np.ndarray:
    return centres + scale * rng.normal(size=centres.shape).astype(np.float32)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


class ExactGraph:
    """Exact top-k of `vectors` [M, D] as a two-tower graph has it, asked as faiss is.

    Args:
        threads: of the runtime.
    """

    def __init__(self, vectors: np.ndarray, k: int, threads: int) -> None:
        wide, deep = helper.make_tensor_value_info, onnx.TensorProto
        ports = [
            wide("vectors", deep.FLOAT, ["batch", vectors.shape[1]]),
            wide("scores", deep.FLOAT, ["batch", k]),
            wide("items", deep.INT64, ["batch", k]),
        ]
        nodes = [
            helper.make_node("Transpose", ["table"], ["columns"], perm=[1, 0]),
            helper.make_node("MatMul", ["vectors", "columns"], ["all"]),
            helper.make_node("TopK", ["all", "k"], ["scores", "items"]),
        ]
        constants = [
            numpy_helper.from_array(vectors, "table"),
            numpy_helper.from_array(np.array([k], dtype=np.int64), "k"),
        ]
        graph = helper.make_graph(nodes, "exact", ports[:1], ports[1:], constants)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10
        )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "exact.onnx"
            onnx.save(model, str(path))
            self.run = session(path, threads)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        scores, items = self.run.run(None, {"vectors": queries})
        return scores, items


def draw(choices: dict[str, Choice], min_recall: float, path: Path) -> None:
    """Speed over recall, a panel a catalog; what was chosen is filled."""
    figure, axes = plt.subplots(
        1, len(choices), figsize=(4.5 * len(choices), 3.6), layout="constrained", squeeze=False
    )
    for axis, (name, choice) in zip(axes[0], choices.items(), strict=True):
        for recipe in dict.fromkeys(row.name for row in choice.measured):
            rows = [row for row in choice.measured if row.name == recipe]
            axis.plot(
                [r.recall for r in rows], [r.queries_per_s for r in rows], marker="o", label=recipe,
                fillstyle="none",
            )  # fmt: skip
        axis.plot(choice.chosen.recall, choice.chosen.queries_per_s, "ko", label="chosen")
        axis.axvline(min_recall, color="grey", linestyle=":")
        axis.set(title=name, xlabel="recall", yscale="log")
        axis.legend()
    axes[0][0].set_ylabel("queries/s, one thread")
    figure.savefig(path, dpi=150)
    plt.close(figure)


@entrypoint("benchmark/index")
def main(cfg: DictConfig) -> None:
    """Choose for every catalog, print what was measured, draw it."""
    output = Path(cfg.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, output / "config.yaml", resolve=True)
    chooser: IndexChooser = instantiate(cfg.index)
    console = Console(width=None if sys.stdout.isatty() else 120)
    choices: dict[str, Choice] = {}
    model: dict[str, float] = {}
    exact: dict[str, float] = {}
    graph: dict[str, float] = {}
    unfinished: dict[str, dict[str, float]] = {}  # catalog → recipe → seconds given to it
    for name, vectors, queries in catalogs(cfg):
        k = min(chooser.k, len(vectors))
        in_graph = chooser.speed(ExactGraph(vectors, k, chooser.threads), queries, k)
        choice = choices[name] = chooser.choose(vectors, queries)
        table = Table(title=f"{name}, width {vectors.shape[1]}, lists of {chooser.k}")
        for column in ("index", "effort", "recall", "queries/s", "times exact", "built, s"):
            table.add_column(column, justify="left" if column == "index" else "right")
        base = choice.measured[0].queries_per_s
        table.add_row(
            "exact in ONNX Runtime", "", "1.0000", f"{in_graph:,.0f}", f"{in_graph / base:.1f}", ""
        )
        for row in choice.measured:
            table.add_row(
                f"{row.name} (chosen)" if row == choice.chosen else row.name,
                str(row.effort),
                f"{row.recall:.4f}",
                f"{row.queries_per_s:,.0f}",
                f"{row.queries_per_s / base:.1f}",
                f"{row.build_s:.1f}",
            )
        for recipe, seconds in choice.unfinished.items():
            table.add_row(recipe, "", "", "", "", f"not finished within {seconds:.0f}")
        console.print(table)
        model[f"{name} queries_per_s"] = choice.chosen.queries_per_s
        model[f"{name} recall"] = choice.chosen.recall
        exact[f"{name} queries_per_s"] = base
        exact[f"{name} recall"] = 1.0
        graph[f"{name} queries_per_s"] = in_graph
        graph[f"{name} recall"] = 1.0
        if choice.unfinished:
            unfinished[name] = dict(choice.unfinished)
    Report(
        model=model,
        floors={"exact": exact, "exact in ONNX Runtime": graph},
        data={"name": ", ".join(choices)},
        conditions=conditions(
            threads=chooser.threads,
            k=chooser.k,
            min_recall=chooser.min_recall,
            unfinished=unfinished,
        ),
    ).write(output / "metrics.json")
    draw(choices, chooser.min_recall, output / "index.png")
    console.print(f"see {output}")


if __name__ == "__main__":
    main()
