"""Scoring by a real TorchServe through gRPC: the same as in process; and without it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from pipelines.anomalies import model
from pipelines.anomalies.scorers.torchserve import TorchServeScorer
from serving.supervisor import Supervisor, free_port
from serving.torchserve.server import TorchServe
from tests.conftest import ROOT
from tests.pipelines.anomalies.parts import detector
from tests.pipelines.anomalies.processors import onnx_scorer
from tests.serving.conftest import start_torchserve

SETTINGS: dict[str, Any] = {
    "most_windows": 4,
    "most_failures": 5,
    "timeout_s": 10.0,
    "patience_s": 0.5,
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TorchServe, Path]]:
    folder = tmp_path_factory.mktemp("served")
    artifact = detector(folder / "artifacts").path
    settings: Any = OmegaConf.to_container(
        OmegaConf.load(ROOT / "configs" / "torchserve" / "default.yaml").model
    )
    server, service = start_torchserve(folder, artifact, settings)
    with Supervisor([service], startup_timeout=180):
        yield server, artifact


@pytest.mark.slow
@pytest.mark.services
def test_torchserve_scores_as_the_processor_itself_does(served: tuple[TorchServe, Path]) -> None:
    server, artifact = served
    loaded = model.load(artifact)
    address = f"127.0.0.1:{server.ports.grpc_inference}"
    scorer = TorchServeScorer(loaded, address, str(server.tokens.path), **SETTINGS)
    values = np.random.default_rng(0).normal(50, 5, (10, 3, 2)).astype(np.float32)
    values[2, :2] = np.nan  # a source's first event
    values[3, -1, 1] = np.nan
    values[6, -1, 0] = 12345  # see `detector`: its call fails, the others do not
    values[9, -1, 0] = 54321
    seconds = np.arange(10) + 1_700_000_000
    got = scorer.score(values, seconds)
    wanted = onnx_scorer(loaded).score(values, seconds)
    good = np.flatnonzero(np.isfinite(got.score))
    assert good.tolist() == [0, 1, 2, 3, 4, 5, 7, 8]
    np.testing.assert_allclose(got.score[good], wanted.score[good], rtol=1e-5)
    for a, b in zip(got.explain(good), wanted.explain(good), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    assert set(got.failed) == {6, 9}
    assert all(reason.startswith("scoring failed: ") for reason in got.failed.values())
    scorer.close()
    (folder := Path(server.tokens.path).parent / "other").mkdir()
    (folder / "key_file.json").write_text('{"inference": {"key": "wrong"}}')
    refused = TorchServeScorer(loaded, address, str(folder / "key_file.json"), **SETTINGS)
    assert len(refused.score(values[:2], seconds[:2]).failed) == 2
    refused.close()


def test_without_torchserve_events_are_to_review_after_some_patience(tmp_path: Path) -> None:
    loaded = model.load(detector(tmp_path / "artifacts").path)
    scorer = TorchServeScorer(loaded, f"127.0.0.1:{free_port()}", None, **SETTINGS)
    got = scorer.score(np.zeros((9, 3, 2), np.float32), np.zeros(9, np.int64))
    assert np.isnan(got.score).all()
    assert set(got.failed) == set(range(9))
    assert "has not answered for 0.5 s" in got.failed[8]
    scorer.close()
