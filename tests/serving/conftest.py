"""A tiny artifact whose answers can be computed by hand, and a real TorchServe that serves it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pytest
from omegaconf import OmegaConf
from onnx import TensorProto, helper, numpy_helper

from feature_repo.sources import Frame
from models import artifact
from models.artifact import Signature, Tensor
from serving.supervisor import Service, Supervisor, free_port
from serving.torchserve.archive import archive
from serving.torchserve.server import Ports, TorchServe
from tests.feature_repo.stores import materialization
from tests.serving.detectors import make_detector
from tests.serving.texts import make_classifier

N_ITEMS, K, HISTORY = 50, 10, 20
ROOT = Path(__file__).resolve().parent.parent.parent


def tiny_graph(path: Path) -> None:
    """The score of item j is (j − last item) mod 51 counted down: the next item is the best."""
    size = N_ITEMS + 1
    table = np.zeros((size, size), dtype=np.float32)
    for last in range(size):
        for item in range(size):
            table[last, item] = size - ((item - last) % size)
    table[:, 0] = -1e31
    nodes = [
        helper.make_node("Gather", ["history", "minus_one"], ["last"], axis=1),
        helper.make_node("Gather", ["table", "last"], ["scores_all"], axis=0),
        helper.make_node("Shape", ["seen"], ["seen_shape"]),
        helper.make_node("Expand", ["masked", "seen_shape"], ["updates"]),
        helper.make_node("ScatterElements", ["scores_all", "seen", "updates"], ["left"], axis=1),
        helper.make_node("TopK", ["left", "k"], ["scores", "items"], axis=1),
    ]
    constants = [
        numpy_helper.from_array(np.array(-1, dtype=np.int64), "minus_one"),
        numpy_helper.from_array(table, "table"),
        numpy_helper.from_array(np.array(-1e31, dtype=np.float32), "masked"),
        numpy_helper.from_array(np.array([K], dtype=np.int64), "k"),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info("history", TensorProto.INT64, ["batch", "time"]),
            helper.make_tensor_value_info("seen", TensorProto.INT64, ["batch", "seen"]),
        ],
        [
            helper.make_tensor_value_info("items", TensorProto.INT64, ["batch", K]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", K]),
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def make_artifact(root: Path, neighbours: bool = False) -> Path:
    """The tiny model's.

    Args:
        neighbours: leave similar items in it: of item n those from n + 1 to n + 5.
    """
    parts = root / "parts"
    (parts / "assets").mkdir(parents=True)
    tiny_graph(parts / "model.onnx")
    items = [f"i{n:02d}" for n in range(N_ITEMS)]
    popular = [{"item": item, "score": float(N_ITEMS - n)} for n, item in enumerate(items)]
    (parts / "assets" / "items.json").write_text(json.dumps(items))
    (parts / "assets" / "popular.json").write_text(json.dumps(popular))
    if neighbours:
        similar = {
            "neighbours": [[(n + d) % N_ITEMS for d in range(1, 6)] for n in range(N_ITEMS)],
            "similarities": [[round(0.6 - d / 10, 1) for d in range(1, 6)]] * N_ITEMS,
        }
        (parts / "assets" / "neighbours.json").write_text(json.dumps(similar))
    (parts / "metrics.json").write_text("{}")
    signature = Signature(
        name="recommender",
        version="20260101-000000-000",
        task="recommendation",
        inputs=(
            Tensor("history", "int64", ("batch", "time")),
            Tensor("seen", "int64", ("batch", "seen")),
        ),
        outputs=(Tensor("items", "int64", ("batch", K)), Tensor("scores", "float32", ("batch", K))),
        opset=18,
        feature_service="recommender_v1",
        vocabulary="assets/items.json",
        limits={"history": HISTORY, "k": K},
    )
    return artifact.write(parts, root / "artifacts", signature).path


@pytest.fixture(scope="session")
def tiny_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_artifact(tmp_path_factory.mktemp("artifact"))


@pytest.fixture(scope="session")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Users u0…u19; user n touched items n and n + 1. User `stranger` touched unknown items."""
    folder = tmp_path_factory.mktemp("features")
    rows = [(f"u{n}", f"i{m:02d}") for n in range(20) for m in (n, n + 1)]
    rows += [("stranger", "new-1"), ("stranger", "new-2")]
    base = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    table = pa.table(
        {
            "user_id": [u for u, _ in rows],
            "item_id": [i for _, i in rows],
            "timestamp": pa.array(
                [int((base + n) * 1e6) for n in range(len(rows))], pa.timestamp("us", "UTC")
            ),
        }
    )
    materialization(folder)({"interactions": Frame(table)})
    return folder


@pytest.fixture(scope="session")
def handler_settings() -> dict[str, object]:
    """The shipped settings, with TorchServe's batching on: requests must not mix."""
    config = OmegaConf.load(ROOT / "configs" / "torchserve" / "default.yaml")
    settings = OmegaConf.to_container(config.model)
    assert isinstance(settings, dict)
    return {**settings, "batchSize": 8, "maxBatchDelay": 20}


@dataclass
class RunningTorchServe:
    server: TorchServe
    supervisor: Supervisor


@pytest.fixture(scope="session")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Looks at two events of a source."""
    return make_detector(tmp_path_factory.mktemp("detector"), window=2)


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Knows three words."""
    return make_classifier(tmp_path_factory.mktemp("classifier"))


def start_torchserve(
    folder: Path, artifacts: Path | list[Path], settings: dict[str, object], **properties: str
) -> tuple[TorchServe, Service]:
    store = folder / "model_store"
    paths = artifacts if isinstance(artifacts, list) else [artifacts]
    names = tuple(archive(path, store, settings).stem for path in paths)
    ports = Ports(*(free_port() for _ in range(5)))
    server = TorchServe(
        folder / "torchserve",
        store,
        names,
        "127.0.0.1",
        ports,
        properties={
            "disable_system_metrics": "true",
            "number_of_netty_threads": "2",
            "job_queue_size": "500",
            **properties,
        },
    )
    service = Service(
        "torchserve",
        server.command(),
        server.folder,
        server.ready,
        folder / "torchserve.log",
        prepare=server.prepare,
    )
    return server, service


@pytest.fixture(scope="session")
def torchserve(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_artifact: Path,
    detector: Path,
    classifier: Path,
    handler_settings: dict[str, object],
) -> Iterator[RunningTorchServe]:
    """All models in one server."""
    server, service = start_torchserve(
        tmp_path_factory.mktemp("torchserve"),
        [tiny_artifact, detector, classifier],
        handler_settings,
    )
    with Supervisor([service], startup_timeout=180) as supervisor:
        yield RunningTorchServe(server, supervisor)
