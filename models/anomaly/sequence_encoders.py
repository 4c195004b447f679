"""Windows of events → what is known of the newest: a recurrent and a convolutional encoder.

Both read [B, T, D], the newest event last. Steps before a source's first event are marked in
`valid`, and change nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.recurrent import Recurrent as RecurrentLayer


class Recurrent(nn.Module):
    """An LSTM's last state.

    Malhotra et al., "LSTM-based Encoder-Decoder for Multi-sensor Anomaly Detection", 2016.

    Args:
        inputs: D.
        width: of the state.
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.lstm = RecurrentLayer("lstm", inputs, width)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """x [B, T, D], valid [B, T] → [B, width]."""
        length = valid.to(torch.int64).sum(1)
        steps = x.shape[1]
        # Sequences go to the front: their first event at step 0.
        start = (steps - length)[:, None] + torch.arange(steps, device=x.device)
        place = torch.remainder(start, steps)[:, :, None].expand_as(x)
        states = self.lstm(x.gather(1, place), length)  # [B, T, width]
        last = (length - 1)[:, None, None].expand(-1, 1, states.shape[-1])
        return torch.as_tensor(states.gather(1, last).squeeze(1))


class Convolutional(nn.Module):
    """Causal dilated convolutions with residuals, at the newest event.

    Bai, Kolter and Koltun, "An Empirical Evaluation of Generic Convolutional and Recurrent
    Networks for Sequence Modeling", 2018.

    Args:
        inputs: D.
        width: channels.
        kernel: steps that a layer sees, `dilation` apart.
        layers: the dilation doubles from one to the next; the last sees
            1 + (kernel − 1) × (2^layers − 1) events.
    """

    def __init__(self, inputs: int, width: int, kernel: int = 3, layers: int = 4) -> None:
        super().__init__()
        self.enter = nn.Conv1d(inputs, width, 1)
        self.layers = nn.ModuleList(
            nn.Conv1d(width, width, kernel, dilation=2**i) for i in range(layers)
        )
        self.back = [(kernel - 1) * 2**i for i in range(layers)]

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """x [B, T, D], valid [B, T] → [B, width]."""
        mask = valid.to(x.dtype)[:, None, :]
        hidden = self.enter(x.transpose(1, 2)) * mask
        for layer, back in zip(self.layers, self.back, strict=True):
            seen = layer(functional.pad(hidden, (back, 0)))
            hidden = (hidden + functional.silu(seen)) * mask
        return torch.as_tensor(hidden[:, :, -1])
