"""An LSTM or GRU over sequences of several lengths that also exports to ONNX.

In training it is PyTorch's, on packed sequences. `torch.onnx.export` cannot follow packing, and
fixes the length of an unpacked one; ONNX's own LSTM and GRU operators take lengths, so the export
emits them with the same weights, gates reordered (PyTorch's LSTM has i, f, g, o and ONNX's i, o, f,
c; GRU r, z, n and z, r, h).
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

_ORDER = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2)}
_CELLS = {"lstm": nn.LSTM, "gru": nn.GRU}


class Recurrent(nn.Module):
    """[B, T, D] and lengths [B] ≥ 1 → [B, T, H · directions]; zeros behind a sequence's end.

    Args:
        cell: "lstm" or "gru".
        dropout: between layers.
    """

    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if cell not in _CELLS:
            raise ValueError(f"cell is {cell!r}; it must be one of {', '.join(_CELLS)}")
        self.rnn = _CELLS[cell](
            input_size,
            hidden_size,
            layers,
            batch_first=True,
            bidirectional=bidirectional,
            dropout=dropout if layers > 1 else 0.0,
        )
        self.width = hidden_size * (2 if bidirectional else 1)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        if torch.onnx.is_in_onnx_export():
            return self._emit(inputs, lengths)
        packed = pack_padded_sequence(inputs, lengths.cpu(), batch_first=True, enforce_sorted=False)
        outputs, _ = self.rnn(packed)
        padded, _ = pad_packed_sequence(outputs, batch_first=True, total_length=inputs.shape[1])
        return padded

    def _emit(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        operator = self.rnn.mode
        directions = 2 if self.rnn.bidirectional else 1
        hidden = inputs.transpose(0, 1)  # [T, B, D]
        steps, batch = hidden.shape[0], hidden.shape[1]
        for layer in range(self.rnn.num_layers):
            suffixes = [f"l{layer}", f"l{layer}_reverse"][:directions]
            weight = torch.stack([self._gates(f"weight_ih_{s}", operator) for s in suffixes])
            recurrence = torch.stack([self._gates(f"weight_hh_{s}", operator) for s in suffixes])
            bias = torch.stack(
                [
                    torch.cat(
                        [
                            self._gates(f"bias_ih_{s}", operator),
                            self._gates(f"bias_hh_{s}", operator),
                        ]
                    )
                    for s in suffixes
                ]
            )
            attributes: dict[str, Any] = {
                "hidden_size": self.rnn.hidden_size,
                "direction": "bidirectional" if directions == 2 else "forward",
            }
            if operator == "GRU":
                attributes["linear_before_reset"] = 1  # as PyTorch does
            outputs = torch.onnx.ops.symbolic(
                operator,
                [hidden, weight, recurrence, bias, lengths.to(torch.int32)],
                attributes,
                dtype=torch.float32,
                shape=(steps, directions, batch, self.rnn.hidden_size),
                version=20,
            )  # [T, directions, B, H]
            hidden = outputs.transpose(1, 2).reshape(steps, batch, self.width)
        return hidden.transpose(0, 1)

    def _gates(self, name: str, operator: str) -> Tensor:
        order = list(_ORDER[operator])
        weight = cast(Tensor, getattr(self.rnn, name))
        gates: Tensor = weight.unflatten(0, (len(order), -1))[order]
        return gates.flatten(0, 1)
