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

Limits: its tables are whole on every process under `trainer=sharded`; only ids are read, so that an
item without a row of its own shares its bucket's affinity.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.recommender.ranking.encoding import FIRST
from models.recommender.ranking.fields import FieldError
from models.recommender.ranking.shape import Shape
from models.recommender.ranking.sparse import KeyedJaggedTensor

_NOTHING = -1e9  # a logit that no softmax sees
_FARTHEST = 10.0  # as of all numbers: far outside, one must not drown all others


class Affinity(nn.Module):
    """Two vectors an item, as the one before and as the one after, and a weight a place.

    Args:
        history: multi-hot field, oldest value first, whose newest values are read.
        item: categorical field of the candidate, in the same table.
        most: values of the history that are read, T.
        dim: width of the vectors.
        negatives: rows of a batch whose items are told apart in the auxiliary loss.
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
        self.before, self.after = nn.Embedding(rows, dim), nn.Embedding(rows, dim)
        for table in (self.before, self.after):
            nn.init.normal_(table.weight, std=init_std)
        self.turn = nn.Parameter(torch.eye(dim))
        self.recency = nn.Parameter(-0.1 * torch.arange(most, dtype=torch.float32))

    def forward(self, history: Tensor, item: Tensor) -> Tensor:
        """Ids [B, T], the newest first, and [B] → [B, 1]; 0 where no item is known."""
        votes = (self._turned(history) * self.after(item).unsqueeze(1)).sum(2)  # [B, T]
        return self._mixed(votes, history).clamp(-_FARTHEST, _FARTHEST).unsqueeze(1)

    def of_bags(self, bags: KeyedJaggedTensor) -> Tensor:
        """[B, 1] of a batch; in training, `loss` is then the batch's auxiliary loss."""
        jagged = bags[self.history]
        history = newest(jagged.values(), jagged.lengths(), self.most)
        item = bags[self.item].values()
        if self.training:
            self.loss = self.told_apart(history[: self.negatives], item[: self.negatives])
        affinity: Tensor = self(history, item)
        return affinity

    def told_apart(self, history: Tensor, item: Tensor) -> Tensor:
        """Cross-entropy of each row's item among those of all B rows; 0 without any history."""
        count = len(item)
        votes = torch.einsum("btd,nd->bnt", self._turned(history), self.after(item))
        logits = self._mixed(votes, history.unsqueeze(1).expand(votes.shape))  # [B, B]
        own = torch.eye(count, dtype=torch.bool, device=item.device)
        same = (item.unsqueeze(0) == item.unsqueeze(1)) & ~own
        losses = F.cross_entropy(
            logits.masked_fill(same, _NOTHING),
            torch.arange(count, device=item.device),
            reduction="none",
        )
        known = _known(history).any(1).to(losses.dtype)
        return (losses * known).sum() / known.sum().clamp(min=1.0)

    def _turned(self, history: Tensor) -> Tensor:
        turned: Tensor = self.before(history) @ self.turn
        return turned

    def _mixed(self, votes: Tensor, history: Tensor) -> Tensor:
        """[…, T] votes → […], the logarithm of their mean by recency."""
        known = _known(history)
        weight = torch.where(known, self.recency, _NOTHING).log_softmax(-1)
        mixed = torch.where(known, votes + weight, _NOTHING).logsumexp(-1)
        return torch.where(known.any(-1), mixed, 0.0)


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
