"""A gateway serves a model only on the versions of features that it was trained on."""

from __future__ import annotations

import copy
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from feature_repo.registry.contract import FeatureVersionError
from feature_repo.registry.trained import code_versions
from models import artifact
from models.artifact import Signature
from serving.gateway.state import GatewayState


def republished(tiny: Path, root: Path, features: dict[str, Any]) -> str:
    """The tiny artifact again, trained on these features."""
    parts = root / "parts"
    shutil.copytree(tiny, parts)
    kept = artifact.load(tiny).signature
    fields = {k: getattr(kept, k) for k in kept.__dataclass_fields__}
    (parts / artifact.SIGNATURE).unlink()
    signature = Signature(**fields | {"features": features, "version": "20260102-000000-000"})
    return str(artifact.write(parts, root / "artifacts", signature).path)


async def test_the_versions_of_the_training_are_served(
    config: DictConfig, tiny_artifact: Path, tmp_path: Path
) -> None:
    config.artifacts.recommender = republished(
        tiny_artifact, tmp_path, code_versions("recommender_v1")
    )
    state = GatewayState(config)
    await state.features.close()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "view user_history: wanted version 2, found version 1"),
        (
            {"schema": "0", "features": {"item_ids": "Array(Int64)"}},
            "item_ids is Array(String), the model's is Array(Int64)",
        ),
    ],
)
def test_other_versions_are_refused_with_what_to_do(
    config: DictConfig, tiny_artifact: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    trained = copy.deepcopy(code_versions("recommender_v1"))
    trained["user_history"] |= change
    config.artifacts.recommender = republished(tiny_artifact, tmp_path, trained)
    with pytest.raises(FeatureVersionError) as refused:
        GatewayState(config)
    assert message in str(refused.value)
    assert "model recommender 20260102-000000-000 was trained on other" in str(refused.value)
    assert "Train the model again" in str(refused.value)
    assert refused.value.exit_code == 65


def test_a_second_model_is_refused_with_how_to_go_without(
    config: DictConfig, tiny_artifact: Path, tmp_path: Path
) -> None:
    gone = {"gone": {"version": 1, "schema": "0", "code": "0", "key": "user_id", "features": {}}}
    config.artifacts.retrieval = republished(tiny_artifact, tmp_path, gone)
    with pytest.raises(FeatureVersionError, match="view gone: wanted version 1, found none") as no:
        GatewayState(config)
    assert "models.retrieval.serve=false" in str(no.value)


async def test_an_artifact_that_names_no_versions_is_served(
    config: DictConfig, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        state = GatewayState(config)
    await state.features.close()
    assert "does not name the versions of its features" in caplog.text
