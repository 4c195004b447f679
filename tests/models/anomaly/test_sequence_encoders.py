"""Encoders of windows: what came before a source's first event changes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.anomaly.sequence_encoders import Convolutional, Recurrent
from models.export import export_onnx
from models.session import session

ENCODERS = [Recurrent, Convolutional]


@pytest.mark.parametrize("encoder", ENCODERS)
def test_padding_changes_nothing(encoder: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = encoder(inputs=3, width=8).eval()
    x, valid = torch.randn(4, 10, 3), torch.ones(4, 10, dtype=torch.bool)
    valid[1, :4], valid[2, :9] = False, False
    other = torch.where(valid[:, :, None], x, torch.full_like(x, 7.0))
    with torch.no_grad():
        assert torch.allclose(model(x, valid), model(other, valid), atol=1e-6)
        assert torch.allclose(model(x[1:2, 4:], valid[1:2, 4:]), model(x, valid)[1:2], atol=1e-6)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_past_counts(encoder: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = encoder(inputs=3, width=8).eval()
    x, valid = torch.randn(1, 10, 3), torch.ones(1, 10, dtype=torch.bool)
    other = x.clone()
    other[:, 5] += 1.0
    with torch.no_grad():
        assert not torch.allclose(model(x, valid), model(other, valid), atol=1e-6)


class _Exported(nn.Module):
    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor, length: Tensor) -> Tensor:
        steps = torch.arange(x.shape[1])
        return torch.as_tensor(self.encoder(x, steps >= x.shape[1] - length[:, None]))


@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_graph_reads_sequences_of_every_length(
    encoder: type[nn.Module], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    module, path = _Exported(encoder(inputs=3, width=8)).eval(), tmp_path / "model.onnx"
    x, length = torch.randn(6, 10, 3), torch.tensor([10, 1, 4, 9, 2, 7])
    dynamic = {"x": {0: "batch"}, "length": {0: "batch"}}
    export_onnx(module, {"x": x[:2], "length": length[:2]}, dynamic, ["state"], path)
    for rows in (1, 2, 6):
        with torch.no_grad():
            right = module(x[:rows], length[:rows]).numpy()
        feed = {"x": x[:rows].numpy(), "length": length[:rows].numpy()}
        np.testing.assert_allclose(session(path).run(None, feed)[0], right, atol=1e-5)
