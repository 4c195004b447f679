"""Autoencoders of single events: denoising, masked and variational, scored with a density beside.

Reconstruction error alone is often far below nearest neighbours: an autoencoder also reconstructs
what it never saw. Here the error is scaled for each field, and blended with the distance from
normal events, in the space of the inputs or of the code, and with how noisy the event looks.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from models.anomaly.blend import Blend, shares
from models.anomaly.density import Density
from models.anomaly.event_model import Assessment, EventModel
from models.anomaly.noise_level import NoiseLevel
from models.anomaly.preparation import Prepared


def layers(widths: list[int]) -> nn.Sequential:
    """Linear layers with SiLU between them."""
    built: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        built += [nn.Linear(before, after), nn.SiLU()]
    return nn.Sequential(*built[:-1])


class Autoencoder(EventModel):
    """What the three share: how error and density become a score.

    Args:
        fields, context: columns of the input; see `models.anomaly.preparation.Prepared`.
        density: makes the density; None: there is none.
        density_of_code: whether the density is of the code instead of the scaled inputs.
        noise_level: makes an estimate of how noisy an event is; None: there is none.
        weights: of error, density and noise level in the score.
        least_error: standard deviation, in scaled units, below which no field's error counts.
    """

    variance: Tensor

    def __init__(
        self,
        fields: int,
        context: int,
        optimizer: Callable[..., torch.optim.Optimizer],
        scheduler: Callable[..., Any] | None = None,
        density: Callable[[], Density] | None = None,
        density_of_code: bool = False,
        noise_level: Callable[..., NoiseLevel] | None = None,
        weights: Sequence[float] = (1.0, 2.0, 1.0),
        least_error: float = 0.05,
    ) -> None:
        super().__init__(optimizer, scheduler)
        self.fields = fields
        self.context = context
        self.density = density() if density else None
        self.density_of_code = density_of_code
        self.least_error = least_error
        self.noise_level = noise_level(width=fields + context) if noise_level else None
        there = (True, density is not None, noise_level is not None)
        self.blend = Blend([w for w, part in zip(weights, there, strict=True) if part])
        self.register_buffer("variance", torch.ones(fields))

    def loss(self, x: Tensor, context: Tensor, label: Tensor) -> Tensor:
        loss = self.reconstruction_loss(x, context)
        return loss if self.noise_level is None else loss + self.noise_level.loss(x, context)

    def reconstruction_loss(self, x: Tensor, context: Tensor) -> Tensor:
        raise NotImplementedError

    def expect(self, x: Tensor, context: Tensor) -> Tensor:
        """What each field should have been, [B, F]."""
        raise NotImplementedError

    def code(self, x: Tensor, context: Tensor) -> Tensor:
        """[B, Z]."""
        raise NotImplementedError

    def settle(self, prepared: Prepared) -> None:
        pairs = zip(prepared.x.split(2048), prepared.context.split(2048), strict=True)
        squares = torch.cat([torch.square(self.expect(x, c) - x) for x, c in pairs])
        known = prepared.present.sum(0).clamp(min=1)
        self.variance = (squares * prepared.present).sum(0) / known + self.least_error**2
        if self.density is not None:
            self.density.fit(self._place(prepared))

    def balance(self, unseen: Prepared) -> None:
        self.blend.fit(self._scores(unseen)[0])

    def assess(self, prepared: Prepared) -> Assessment:
        scores, parts, expected = self._scores(prepared)
        return Assessment(self.blend(scores), parts, expected)

    def _place(self, prepared: Prepared) -> Tensor:
        return self.code(prepared.x, prepared.context) if self.density_of_code else prepared.x

    def _scores(self, prepared: Prepared) -> tuple[list[Tensor], Tensor, Tensor]:
        expected = self.expect(prepared.x, prepared.context)
        errors = torch.square(expected - prepared.x) / self.variance * prepared.present
        scores, parts = [torch.sqrt(errors.mean(1))], shares(errors)
        if self.density is not None:
            distance = self.density(self._place(prepared))
            scores.append(distance.value)
            if not self.density_of_code:
                # A broken field misleads what is expected of the others, but not its own distance.
                parts = shares(torch.sqrt(parts * shares(distance.parts)))
                # So of the accused what the others predict, of the rest where normal events are.
                accused = parts / torch.clamp(parts.amax(1, keepdim=True), min=1e-12)
                expected = distance.nearest + accused * (expected - distance.nearest)
        if self.noise_level is not None:
            scores.append(self.noise_level(prepared.x, prepared.context))
        return scores, parts, expected


class DenoisingAutoencoder(Autoencoder):
    """Reconstruct events from a narrow code of their noisy selves (Vincent et al., ICML 2008).

    Args:
        hidden: units of the layers on both sides of the code.
        width: of the code, as a share of the fields.
        noise: standard deviations of the noise on scaled values; each row of a batch draws one.
    """

    noise: Tensor

    def __init__(
        self,
        *,
        hidden: int = 128,
        width: float = 0.5,
        noise: tuple[float, ...] = (0.1,),
        **rest: Any,
    ) -> None:
        super().__init__(**rest)
        narrow = max(1, round(self.fields * width))
        self.encoder = layers([self.fields + self.context, hidden, hidden, narrow])
        self.decoder = layers([narrow + self.context, hidden, hidden, self.fields])
        self.register_buffer("noise", torch.tensor(list(noise)))

    def reconstruction_loss(self, x: Tensor, context: Tensor) -> Tensor:
        scale = self.noise[torch.randint(len(self.noise), (len(x), 1), device=x.device)]
        noisy = x + scale * torch.randn_like(x)
        return torch.square(self.expect(noisy, context) - x).mean()

    def code(self, x: Tensor, context: Tensor) -> Tensor:
        code: Tensor = self.encoder(torch.cat([x, context], dim=1))
        return code

    def expect(self, x: Tensor, context: Tensor) -> Tensor:
        expected: Tensor = self.decoder(torch.cat([self.code(x, context), context], dim=1))
        return expected


class VariationalAutoencoder(Autoencoder):
    """Codes are distributions, held near a standard normal one (Kingma & Welling, ICLR 2014).

    Args:
        hidden: units of the layers on both sides of the code.
        width: of the code, as a share of the fields.
        beta: weight of the Kullback-Leibler divergence (Higgins et al., ICLR 2017).
    """

    def __init__(
        self, *, hidden: int = 128, width: float = 0.5, beta: float = 0.1, **rest: Any
    ) -> None:
        super().__init__(**rest)
        narrow = max(1, round(self.fields * width))
        self.encoder = layers([self.fields + self.context, hidden, hidden, 2 * narrow])
        self.decoder = layers([narrow + self.context, hidden, hidden, self.fields])
        self.beta = beta

    def reconstruction_loss(self, x: Tensor, context: Tensor) -> Tensor:
        mean, log_variance = self._posterior(x, context)
        code = mean + torch.exp(log_variance / 2) * torch.randn_like(mean)
        error = torch.square(self._decode(code, context) - x).sum(1)
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(1) / 2
        return (error + self.beta * divergence).mean() / self.fields

    def code(self, x: Tensor, context: Tensor) -> Tensor:
        return self._posterior(x, context)[0]

    def expect(self, x: Tensor, context: Tensor) -> Tensor:
        return self._decode(self.code(x, context), context)

    def _posterior(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.encoder(torch.cat([x, context], dim=1)).chunk(2, dim=1)
        return mean, log_variance.clamp(-10, 10)

    def _decode(self, code: Tensor, context: Tensor) -> Tensor:
        expected: Tensor = self.decoder(torch.cat([code, context], dim=1))
        return expected


class MaskedAutoencoder(Autoencoder):
    """Predict hidden fields from those that are shown.

    Trained on random masks of every size (as He et al., CVPR 2022, for patches). When it scores,
    each field is hidden once, and predicted from the others: copying is impossible, so a field
    that contradicts the rest shows, which no bottleneck guarantees.

    Args:
        hidden: units of each layer.
        depth: hidden layers.
        most_hidden: largest share of the fields hidden in training.
        groups: fields are hidden in at most so many groups when scoring; each costs a pass.
    """

    masks: Tensor

    def __init__(
        self,
        *,
        hidden: int = 256,
        depth: int = 2,
        most_hidden: float = 0.7,
        groups: int = 32,
        **rest: Any,
    ) -> None:
        super().__init__(**rest)
        self.shown = nn.Linear(self.fields + self.context, hidden)
        self.mask = nn.Linear(self.fields, hidden, bias=False)
        self.rest = nn.Sequential(nn.SiLU(), layers([*[hidden] * depth, self.fields]))
        self.most_hidden = most_hidden
        groups = min(groups, self.fields)
        group = torch.arange(self.fields) % groups
        self.register_buffer("masks", (group != torch.arange(groups)[:, None]).float())

    def forward(self, x: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """Every field from those whose mask [B, F] is 1."""
        joined = torch.cat([x * mask, context], dim=-1)
        expected: Tensor = self.rest(self.shown(joined) + self.mask(mask))
        return expected

    def reconstruction_loss(self, x: Tensor, context: Tensor) -> Tensor:
        share = torch.rand(len(x), 1, device=x.device) * self.most_hidden
        mask = (torch.rand_like(x) > share).float()
        squares = torch.square(self(x, context, mask) - x) * (1 - mask)
        return squares.sum() / (1 - mask).sum().clamp(min=1)

    def code(self, x: Tensor, context: Tensor) -> Tensor:
        """The last hidden layer, with nothing masked."""
        hidden = self.shown(torch.cat([x, context], dim=1)) + self.mask(torch.ones_like(x))
        layers_: Any = self.rest[1]
        code: Tensor = layers_[:-1](nn.functional.silu(hidden))
        return code

    def expect(self, x: Tensor, context: Tensor) -> Tensor:
        masks = self.masks[:, None]  # [M, 1, F]
        joined = torch.cat(
            [x * masks, context.expand(len(self.masks), -1, -1)], dim=2
        )  # [M, B, F + C]
        predicted = self.rest(self.shown(joined) + self.mask(masks))
        expected: Tensor = (predicted * (1 - masks)).sum(0)
        return expected
