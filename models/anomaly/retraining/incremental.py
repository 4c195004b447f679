"""Go on from the champion: move its normaliser, fine-tune its weights on recent normal data."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from models import artifact
from models.anomaly import training
from models.anomaly.continuing import STATE, Continuing, kept
from models.anomaly.detector import Detector
from models.anomaly.telemetry import Telemetry, TelemetryError

log = logging.getLogger(__name__)


class IncrementalError(ValueError):
    """A champion that cannot be gone on from; the text says what to do instead."""

    exit_code = 78  # EX_CONFIG


def train(cfg: DictConfig) -> dict[str, float]:
    """As `models.anomaly.training.train`, with the champion's own detector, gone on with.

    The `model` node of `cfg` becomes the champion's, from its config.yaml, with
    `cfg.incremental.changes` where it has such keys; so the new artifact can be gone on from too.

    Raises:
        IncrementalError: the champion is of a kind that cannot go on, or other fields came.
        ArtifactError: the champion is damaged.
    """
    settings = cfg.incremental
    champion = artifact.load(Path(settings.champion))
    if f"assets/{STATE}" not in champion.signature.files:
        raise IncrementalError(
            f"{champion.path} keeps nothing to go on from (no assets/{STATE}): its detector "
            "learns everything at once; use mode=full"
        )
    with open_dict(cfg):
        cfg.model = _changed(OmegaConf.load(champion.path / "config.yaml").model, settings.changes)
    state = kept(champion)
    fields = tuple(champion.read_asset("fields.json"))

    def learn(detector: Detector, telemetry: Telemetry) -> None:
        if not isinstance(detector, Continuing):
            raise IncrementalError(f"{type(detector).__name__} cannot go on; use mode=full")
        if telemetry.fields != fields:
            raise IncrementalError(
                f"the champion knows the fields {list(fields)}, the telemetry has "
                f"{list(telemetry.fields)}; set data.reader.reader.fields, or use mode=full"
            )
        try:
            detector.restore(state)
        except (ValueError, KeyError) as error:
            raise TelemetryError(f"{champion.path}/assets/{STATE}: {error}") from error
        detector.update(telemetry, settings.memory)

    log.info("going on from %s", champion.path)
    return training.train(cfg, learn)


def _changed(node: Any, changes: Mapping[Any, Any]) -> Any:
    """`node` with the changes whose keys it has, at every depth."""
    for key, value in changes.items():
        if not isinstance(node, DictConfig) or node.get(key) is None:
            continue
        node[key] = (
            _changed(node[key], value) if isinstance(value, (Mapping, DictConfig)) else value
        )
    return node
