"""From a graph's logits to an answer: pieces pooled, classes named, doubt admitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

UNSURE = "unsure"


@dataclass
class Answer:
    """What is said of one text.

    Args:
        label: a class, or "unsure".
        probabilities: class → probability, calibrated; they sum to 1.
        abstained: whether the label is "unsure".
        reason: why it is; None otherwise.
        pieces: into how many pieces the text was cut.
        language: detected code, None for short texts.
        outside: the text is in another language than the model was trained on.
        explanation: on request: (token, how much it moves the leading class's probability).
        judged: False where the text holds nothing to judge by; the probabilities then say nothing.
    """

    label: str
    probabilities: dict[str, float]
    abstained: bool
    reason: str | None
    pieces: int
    language: str | None = None
    outside: bool = False
    explanation: list[tuple[str, float]] | None = field(default=None)
    judged: bool = True

    def signed(self, classes: Sequence[str]) -> float:
        """One number: the classes, from the worst at −1 to the best at 1, by their probability."""
        places = np.linspace(-1, 1, len(classes))
        return float(places @ [self.probabilities[name] for name in classes])

    def as_json(self) -> dict[str, Any]:
        content: dict[str, Any] = {
            "label": self.label,
            "probabilities": {k: round(v, 6) for k, v in self.probabilities.items()},
            "abstained": self.abstained,
            "reason": self.reason,
            "pieces": self.pieces,
            "language": self.language,
            "outside_language": self.outside,
        }
        if self.explanation is not None:
            content["explanation"] = [
                {"token": token, "effect": round(effect, 6)} for token, effect in self.explanation
            ]
        return content


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """[..., C] → probabilities over the last axis."""
    logits = np.asarray(logits, dtype=np.float64)
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: NDArray[np.float64] = raised / raised.sum(axis=-1, keepdims=True)
    return shares


def lead(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """[N, C] → [N], how far the leading class is before the next; infinite for one class."""
    ordered = np.sort(np.asarray(logits, dtype=np.float64), axis=1)
    if ordered.shape[1] < 2:
        return np.full(len(ordered), np.inf)
    ahead: NDArray[np.float64] = ordered[:, -1] - ordered[:, -2]
    return ahead


def pooled(
    logits: NDArray[np.floating], owner: Sequence[int], sizes: Sequence[int], texts: int
) -> NDArray[np.float64]:
    """Logits of pieces [P, C] → of texts [N, C]: means, weighted by the words of each piece.

    Args:
        owner: [P], the text of each piece.
        sizes: [P], its words; a piece without any counts as one.
    """
    weight = np.maximum(np.asarray(sizes, dtype=np.float64), 1.0)
    total = np.zeros((texts, logits.shape[1]))
    np.add.at(total, owner, logits * weight[:, None])
    whole = np.bincount(owner, weight, minlength=texts)
    means: NDArray[np.float64] = total / whole[:, None]
    return means
