"""LSTM and GRU over several lengths, in PyTorch and in ONNX."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.export import export_onnx
from models.recurrent import Recurrent
from models.session import session


class Lengthy(nn.Module):
    """Takes zeros in the first column for padding."""

    def __init__(self, cell: str, layers: int, bidirectional: bool) -> None:
        super().__init__()
        self.recurrent = Recurrent(cell, 5, 7, layers, bidirectional)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.recurrent(inputs, (inputs[..., 0] != 0).sum(1))
        return outputs


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize(("layers", "bidirectional"), [(1, False), (2, True)])
def test_the_graph_reads_lengths_as_the_module_does(
    cell: str, layers: int, bidirectional: bool, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    module = Lengthy(cell, layers, bidirectional).eval()
    file = tmp_path / "rnn.onnx"
    export_onnx(module, {"x": torch.randn(3, 6, 5)}, {"x": {0: "batch", 1: "time"}}, ["y"], file)
    inputs = torch.randn(5, 9, 5)  # other sizes than those exported
    for row, length in enumerate((9, 4, 1, 6, 2)):
        inputs[row, length:] = 0
    with torch.inference_mode():
        expected = module(inputs).numpy()
    answer = session(file).run(None, {"x": inputs.numpy()})[0]
    assert np.abs(answer - expected).max() < 1e-6
    assert np.all(expected[2, 1:] == 0)


def test_an_unknown_cell_is_named() -> None:
    with pytest.raises(ValueError, match="'rnn'; it must be one of lstm, gru"):
        Recurrent("rnn", 2, 2)
