"""Detectors that can go on from where they were, and the file that keeps where that was."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.anomaly.detector import Scores
from models.anomaly.telemetry import Telemetry
from models.artifact import Artifact

STATE = "state.npz"  # under the artifact's assets/: plain arrays, nothing pickled

State = dict[str, NDArray[Any]]


@runtime_checkable
class Continuing(Protocol):
    """A `Detector` that learns on: see `models.anomaly.detector` for the rest."""

    window: int

    def fit(self, telemetry: Telemetry) -> None: ...

    def score(self, telemetry: Telemetry) -> Scores: ...

    def graph(self) -> nn.Module: ...

    def state(self) -> State:
        """Everything it has learnt, by name."""
        ...

    def restore(self, state: State) -> None:
        """Be what gave this state; raises `ValueError` where it was another kind."""
        ...

    def update(self, telemetry: Telemetry, memory: float) -> None:
        """Move the normaliser and fine-tune on recent telemetry, labels as for `fit`.

        Args:
            memory: weight of what was known in the normaliser, from 0 to below 1.
        """
        ...


def arrays(module: nn.Module) -> State:
    """A module's parameters and buffers."""
    return {name: value.detach().cpu().numpy() for name, value in module.state_dict().items()}


def put_back(module: nn.Module, state: Mapping[str, NDArray[Any]]) -> None:
    """Parameters are copied, buffers replaced: what is learnt by counting may have any shape.

    Raises:
        ValueError: a name that the module lacks, a parameter of another shape, or one missing.
    """
    missing = set(module.state_dict()) - set(state)
    if missing:
        raise ValueError(f"nothing is kept for {sorted(missing)[0]!r}")
    for name, value in state.items():
        place, _, leaf = name.rpartition(".")
        try:
            owner = module.get_submodule(place)
            current = getattr(owner, leaf)
        except AttributeError as error:
            raise ValueError(f"there is no {name!r} in it") from error
        tensor = torch.from_numpy(np.array(value))
        if isinstance(current, nn.Parameter):
            if current.shape != tensor.shape:
                raise ValueError(
                    f"{name!r} has shape {tuple(tensor.shape)}, expected {tuple(current.shape)}"
                )
            with torch.no_grad():
                current.copy_(tensor)
        else:
            setattr(owner, leaf, tensor)


def keep(state: State, folder: Path) -> None:
    """Write `STATE` into an artifact's assets while it is made."""
    np.savez_compressed(folder / STATE, **state)  # type: ignore[arg-type]


def kept(artifact: Artifact) -> State:
    """Raises `ArtifactError` where the artifact has none."""
    with np.load(artifact.asset(STATE), allow_pickle=False) as content:
        return {name: content[name] for name in content.files}
