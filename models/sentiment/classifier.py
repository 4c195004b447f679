"""A text classifier: any network from token ids to logits, trained with cross-entropy."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.sentiment.embeddings import Vectors
from models.sentiment.texts import TextError


class TextClassifier(pl.LightningModule):
    """Train a network on batches (ids [B, T], labels [B], and teacher logits [B, C] or None).

    Args:
        net: called with `vocabulary` and `classes`, makes the network (`_partial_: true`).
        optimizer: called with parameter groups.
        scheduler: called with the optimizer and `total_steps`.
        vectors: word vectors to begin with; None: random ones.
        tune_vectors: go on training them.
        layer_decay: a layer's learning rate is the one above it times this.
        head_rate: the last layer's learning rate, times the optimizer's.
        label_smoothing: share of probability given to all classes alike.
        class_weights: "balanced" or none.
        soften: temperature of a teacher's probabilities (Hinton et al., 2015).
        teacher_share: of the loss, where a batch brings a teacher's logits.
        consistency: weight of R-Drop (Wu et al., NeurIPS 2021): each text is read twice, under two
            dropout masks, and the two answers are pulled together; twice the time a step.
            0: once.
        counts: examples of each class in training.
    """

    def __init__(
        self,
        net: Callable[..., nn.Module],
        optimizer: Callable[..., torch.optim.Optimizer],
        vocabulary: int,
        counts: list[int],
        scheduler: Callable[..., torch.optim.lr_scheduler.LRScheduler] | None = None,
        vectors: Vectors | None = None,
        tune_vectors: bool = True,
        layer_decay: float = 1.0,
        head_rate: float = 1.0,
        weight_decay: float = 0.0,
        label_smoothing: float = 0.0,
        class_weights: str = "none",
        soften: float = 1.0,
        teacher_share: float = 1.0,
        consistency: float = 0.0,
    ) -> None:
        super().__init__()
        if class_weights not in ("none", "balanced"):
            raise ValueError(f"class_weights is {class_weights!r}; it must be none or balanced")
        self.net = net(vocabulary=vocabulary, classes=len(counts))
        self.make_optimizer = optimizer
        self.make_scheduler = scheduler
        self.layer_decay = layer_decay
        self.head_rate = head_rate
        self.weight_decay = weight_decay
        self.label_smoothing = label_smoothing
        self.soften = soften
        self.teacher_share = teacher_share
        self.consistency = consistency
        weights = torch.ones(len(counts))
        if class_weights == "balanced":
            weights = sum(counts) / (len(counts) * torch.tensor(counts, dtype=torch.float32))
        self.register_buffer("class_weights", weights)
        if vectors is not None:
            self._begin_with(vectors, tune_vectors)

    def _begin_with(self, vectors: Vectors, tune: bool) -> None:
        for name in ("embedding", "frozen"):
            table = getattr(self.net, name, None)
            if isinstance(table, nn.Embedding):
                if table.weight.shape != vectors.weight.shape:
                    raise ValueError(
                        f"word vectors are {tuple(vectors.weight.shape)}, the model's table "
                        f"{tuple(table.weight.shape)}; set model.net.dim={vectors.weight.shape[1]}"
                    )
                table.weight.data.copy_(vectors.weight)
                if not tune:
                    table.weight.requires_grad_(False)

    def setup(self, stage: str) -> None:
        """Raises `TextError` where texts may be longer than the network can read."""
        most = getattr(self.net, "max_length", None)
        given = getattr(getattr(self.trainer, "datamodule", None), "max_length", None)
        if most is not None and given is not None and given > most:
            raise TextError(
                f"datamodule.max_length is {given}, but the encoder reads at most {most} tokens; "
                "longer texts are read in pieces, none is cut"
            )

    def forward(self, ids: Tensor) -> Tensor:
        return cast(Tensor, self.net(ids))

    def training_step(self, batch: Any, batch_index: int) -> Tensor:
        ids, labels, taught = batch
        if self.consistency:
            first, second = self(torch.cat([ids, ids])).chunk(2)
            loss = self._loss(first, labels, taught) + self._loss(second, labels, taught)
            loss = loss / 2 + self.consistency * disagreement(first, second)
        else:
            loss = self._loss(self(ids), labels, taught)
        self.log(
            "train_loss", loss, prog_bar=True, on_step=True, on_epoch=True, batch_size=len(ids)
        )
        return loss

    def _loss(self, logits: Tensor, labels: Tensor, taught: Tensor | None) -> Tensor:
        parts: list[Tensor] = []
        known = labels >= 0
        own = 1.0 if taught is None else 1.0 - self.teacher_share
        if own:
            parts.append(
                own
                * functional.cross_entropy(
                    logits[known],
                    labels[known],
                    weight=cast(Tensor, self.class_weights),
                    label_smoothing=self.label_smoothing,
                )
            )
        if taught is not None:
            target = (taught / self.soften).softmax(-1)
            guess = (logits / self.soften).log_softmax(-1)
            # The factor keeps the gradient's size whatever the temperature.
            divergence = functional.kl_div(guess, target, reduction="batchmean") * self.soften**2
            parts.append(self.teacher_share * divergence)
        return torch.stack(parts).sum()

    def validation_step(self, batch: Any, batch_index: int) -> None:
        ids, labels, _ = batch
        logits = self(ids)
        accuracy = (logits.argmax(-1) == labels).float().mean()
        loss = functional.cross_entropy(logits, labels)
        for name, value in (("val_accuracy", accuracy), ("val_loss", loss)):
            self.log(name, value, prog_bar=True, batch_size=len(ids), sync_dist=True)

    def configure_optimizers(self) -> Any:
        optimizer = self.make_optimizer(list(self._groups()))
        if self.make_scheduler is None:
            return optimizer
        steps = int(self.trainer.estimated_stepping_batches)
        scheduler = self.make_scheduler(optimizer, total_steps=steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def _groups(self) -> Iterable[dict[str, Any]]:
        """One group for each depth, matrices apart from biases and norms, which never decay."""
        base = float(self.make_optimizer.keywords["lr"])  # type: ignore[attr-defined]
        depth = cast(Callable[[str], int], self.net.depth)
        named = [(n, p) for n, p in self.net.named_parameters() if p.requires_grad]
        top = max(depth(n) for n, _ in named)
        for level in range(top + 1):
            rate = base * self.layer_decay ** (top - level)
            rate *= self.head_rate if level == top else 1.0
            for matrices in (True, False):
                chosen = [p for n, p in named if depth(n) == level and (p.ndim > 1) == matrices]
                if chosen:
                    decay = self.weight_decay if matrices else 0.0
                    yield {"params": chosen, "lr": rate, "weight_decay": decay}


def disagreement(first: Tensor, second: Tensor) -> Tensor:
    """Mean symmetric Kullback-Leibler divergence of two answers, logits [B, C]."""
    one, other = first.log_softmax(-1), second.log_softmax(-1)
    apart = functional.kl_div(one, other, reduction="batchmean", log_target=True)
    return (apart + functional.kl_div(other, one, reduction="batchmean", log_target=True)) / 2
