"""An LSTM over sequences of different lengths that also becomes an ONNX graph."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

_ONNX_VERSION = 14  # of the operator; later opsets keep it


class PackedLSTM(nn.Module):
    """One layer; gives the state after each sequence's own last step.

    PyTorch's packed sequences have no ONNX counterpart, and its exporter fixes the length. ONNX's
    own operator takes lengths as an input, so it is what the graph holds.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.lstm = nn.LSTM(inputs, hidden, batch_first=True)

    def forward(self, x: Tensor, length: Tensor) -> Tensor:
        """x [B, T, D], sequences at the front; length [B], at least 1 → [B, H]."""
        if torch.onnx.is_in_onnx_export():
            return self._operator(x, length)
        packed = pack_padded_sequence(x, length.cpu(), batch_first=True, enforce_sorted=False)
        state: Tensor = self.lstm(packed)[1][0][0]
        return state

    def _operator(self, x: Tensor, length: Tensor) -> Tensor:
        learnt = {name: _gates(weights) for name, weights in self.lstm.named_parameters()}
        biases = torch.cat([learnt["bias_ih_l0"], learnt["bias_hh_l0"]])
        steps, batch = x.shape[1], x.shape[0]
        _, state, _ = torch.onnx.ops.symbolic_multi_out(
            "LSTM",
            [
                x.transpose(0, 1),
                learnt["weight_ih_l0"][None],
                learnt["weight_hh_l0"][None],
                biases[None],
                length.to(torch.int32),
            ],
            {"hidden_size": self.hidden},
            dtypes=[torch.float32] * 3,
            shapes=[
                [steps, 1, batch, self.hidden],
                [1, batch, self.hidden],
                [1, batch, self.hidden],
            ],
            version=_ONNX_VERSION,
        )
        return state[0]


def _gates(stacked: Tensor) -> Tensor:
    """From PyTorch's order of gates (input, forget, cell, output) to ONNX's (i, o, f, c)."""
    i, f, c, o = stacked.chunk(4)
    return torch.cat([i, o, f, c])
