"""Models that are counted or solved for: their buffers are all that there is to keep of them.

Limits: a checkpoint is as large as the buffers (EASE on 20,000 items: 1.6 GB).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn


class Fitted(nn.Module):
    """A module whose buffers get their shapes from the data that it is fitted to.

    So that a new one can take a fitted one's state, loading gives each buffer the kept one's shape
    first. What is not in a buffer comes from the configuration, as for a network.
    """

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *others: Any
    ) -> None:
        for name, buffer in list(self.named_buffers(recurse=False)):
            kept = state_dict.get(prefix + name)
            if kept is not None and kept.shape != buffer.shape:
                setattr(self, name, torch.empty_like(kept, device=buffer.device))
        super()._load_from_state_dict(state_dict, prefix, *others)


def save(model: Fitted, data: Any, path: Path) -> None:
    """Leave a fitted model as a training leaves a network: `models.run.Run` opens both.

    Args:
        data: what it was fitted to; its `state_dict()` says how to know it again.
        path: of the checkpoint; a file that is there is replaced at once, never half.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    # Under the name that Lightning gives to the state of a data module.
    torch.save(
        {"state_dict": model.state_dict(), type(data).__qualname__: data.state_dict()}, partial
    )
    partial.replace(path)
