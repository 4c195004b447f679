"""Affinity: how much likelier an item comes next after a history than by its popularity alone.

A ranker's labels say little of what belongs together; which item followed which says much, and
every row says it, positive or not. So two tables of their own learn it from the rows' histories: a
softmax over the items of the batch, as two-tower retrieval is trained (Yi et al., "Sampling-Bias-
Corrected Neural Modeling", RecSys 2019), beside the labels' loss, as the auxiliary loss of DIEN
(Zhou et al., AAAI 2019). A batch holds items as often as they are popular, so that what is learnt
is the logarithm of p(item | history) / p(item): 0 means that the history says nothing. The network
gets it as one more number.

Each item of the history votes for what follows it, and the votes are mixed by how recent they are,
so that one close item is enough: p(item | history) = Σ recency(t) · p(item | item t).

Training looks up in an `EmbeddingCollection`, which torchrec can shard over processes; the exported
graph takes ids of padded tensors.

Limits: only ids are read, so that an item without a row of its own shares its bucket's affinity.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.recommender.ranking.encoding import FIRST
from models.recommender.ranking.fields import FieldError
from models.recommender.ranking.nets.gathering import gathered, processes, rank
from models.recommender.ranking.shape import Shape
from models.recommender.ranking.sparse import (
    EmbeddingCollection,
    EmbeddingConfig,
    KeyedJaggedTensor,
)

_NOTHING = -1e9  # a logit that no softmax sees
_FARTHEST = 10.0  # as of all numbers: far outside, one must not drown all others
BEFORE, AFTER = "affinity_before", "affinity_after"  # its tables


class Affinity(nn.Module):
    """Two vectors an item, as the one before and as the one after, and a weight a place.

    Args:
        history: multi-hot field, oldest value first, whose newest values are read.
        item: categorical field of the candidate, in the same table.
        most: values of the history that are read, T.
        dim: width of the vectors.
        negatives: rows of a batch, of all processes together, whose items are told apart in the
            auxiliary loss.
        pooled: whether the history is a bag of the network's as well, which learns it by heart
            where rows are few.
        init_std: of the vectors' first values.

    Raises:
        FieldError: no such fields, or they do not share a table.
    """

    loss: Tensor

    def __init__(
        self,
        shape: Shape,
        history: str,
        item: str,
        most: int,
        dim: int,
        negatives: int,
        pooled: bool = False,
        init_std: float = 0.1,
    ) -> None:
        super().__init__()
        tables = {name: table for table in shape.tables for name in table.fields}
        for name in (history, item):
            if name not in tables:
                raise FieldError(
                    f"model.net.affinity: {name!r} is no field with ids; there are "
                    f"{', '.join(sorted(tables))}. model.net.affinity=null does without"
                )
        if tables[history] is not tables[item]:
            raise FieldError(
                f"model.net.affinity: {history} and {item} have tables of their own; "
                f"data.fields.{history}.table={item} makes them share one"
            )
        self.history, self.item = history, item
        self.most, self.negatives, self.pooled = most, negatives, pooled
        rows = tables[item].rows
        self.tables = EmbeddingCollection(
            tables=[
                EmbeddingConfig(
                    name=name,
                    num_embeddings=rows,
                    embedding_dim=dim,
                    feature_names=[field],
                    init_fn=partial(nn.init.normal_, std=init_std),
                )
                for name, field in ((BEFORE, history), (AFTER, item))
            ]
        )
        self.turn = nn.Parameter(torch.eye(dim))
        self.recency = nn.Parameter(-0.1 * torch.arange(most, dtype=torch.float32))
        self.register_load_state_dict_pre_hook(_renamed)  # type: ignore[no-untyped-call]

    def forward(self, history: Tensor, item: Tensor) -> Tensor:
        """Ids [B, T], the newest first, and [B] → [B, 1]; 0 where no item is known.

        Of whole tables, for the exported graph.
        """
        before, after = (self.tables.embeddings[name].weight for name in (BEFORE, AFTER))
        return self._answers(before[history], after[item], history)

    def of_bags(self, bags: KeyedJaggedTensor) -> Tensor:
        """[B, 1] of a batch; in training, `loss` is then the batch's auxiliary loss."""
        jagged = bags[self.history]
        history = newest(jagged.values(), jagged.lengths(), self.most)
        item = bags[self.item].values()
        before, after = self._looked_up(history, item)
        if self.training:
            rows = slice(max(self.negatives // processes(), 1))
            self.loss = self.told_apart(before[rows], after[rows], history[rows], item[rows])
        return self._answers(before, after, history)

    def told_apart(self, before: Tensor, after: Tensor, history: Tensor, item: Tensor) -> Tensor:
        """Cross-entropy of each row's item among those of all rows; 0 without any history.

        Each of P processes has B rows: vectors [B, T, D] and [B, D], ids [B, T] and [B]. What it
        gets is its share of the loss of all P · B rows, such that the mean over the processes,
        which their gradients become, is what one process with all rows has.
        """
        count, others, items = len(item), gathered(after), gathered(item)
        votes = torch.einsum("btd,nd->bnt", before @ self.turn, others)
        logits = self._mixed(votes, history.unsqueeze(1).expand(votes.shape))  # [B, P · B]
        own = torch.arange(count, device=item.device) + rank() * count
        same = item.unsqueeze(1) == items.unsqueeze(0)
        same = same.scatter(1, own.unsqueeze(1), False)
        losses = F.cross_entropy(logits.masked_fill(same, _NOTHING), own, reduction="none")
        known = _known(history).any(1).to(losses.dtype)
        every = gathered(known).sum().clamp(min=1.0) / processes()
        return (losses * known).sum() / every

    def _looked_up(self, history: Tensor, item: Tensor) -> tuple[Tensor, Tensor]:
        """Ids [B, T] and [B] → vectors [B, T, D], zeros where nothing is known, and [B, D]."""
        known = _known(history)
        asked = KeyedJaggedTensor(
            keys=[self.history, self.item],
            values=torch.cat([history[known], item]),
            lengths=torch.cat([known.sum(1), torch.ones_like(item)]),
        )
        found = self.tables(asked)
        before, after = (found[name].values() for name in (self.history, self.item))
        padded = before.new_zeros(*history.shape, before.shape[1])
        return padded.masked_scatter(known.unsqueeze(2), before), after

    def _answers(self, before: Tensor, after: Tensor, history: Tensor) -> Tensor:
        votes = ((before @ self.turn) * after.unsqueeze(1)).sum(2)  # [B, T]
        return self._mixed(votes, history).clamp(-_FARTHEST, _FARTHEST).unsqueeze(1)

    def _mixed(self, votes: Tensor, history: Tensor) -> Tensor:
        """[…, T] votes → […], the logarithm of their mean by recency."""
        known = _known(history)
        weight = torch.where(known, self.recency, _NOTHING).log_softmax(-1)
        mixed = torch.where(known, votes + weight, _NOTHING).logsumexp(-1)
        return torch.where(known.any(-1), mixed, 0.0)


EARLIER = {
    f"{old}.weight": f"tables.embeddings.{new}.weight"
    for old, new in (("before", BEFORE), ("after", AFTER))
}  # names of weights before the tables could be sharded


def _renamed(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Let checkpoints from before be read."""
    for old, new in EARLIER.items():
        if prefix + old in state:
            state[prefix + new] = state.pop(prefix + old)


def newest(values: Tensor, lengths: Tensor, most: int) -> Tensor:
    """The last ids of bags that lie one after another → [B, T], the newest first, 0-padded."""
    place = torch.arange(most, device=values.device)
    last = lengths.long().cumsum(0).unsqueeze(1) - 1
    there = place < lengths.unsqueeze(1)
    padded = F.pad(values, (0, 1))  # so that there is something to take where all bags are empty
    return torch.where(there, padded[torch.where(there, last - place, 0)], 0)


def newest_of_padded(ids: Tensor, most: int) -> Tensor:
    """The same of bags [B, L] that are padded on the right, as the graph has them."""
    place = torch.arange(most, device=ids.device)
    lengths = (ids != 0).sum(1, keepdim=True)
    there = place < lengths
    return torch.where(there, ids.gather(1, torch.where(there, lengths - 1 - place, 0)), 0)


def _known(history: Tensor) -> Tensor:
    """Where an item stands: neither padding nor the mark of a missing value."""
    return history >= FIRST
