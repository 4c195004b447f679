"""A page about a test: metrics, confusion matrix, calibration, and the worst errors."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import jinja2
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from models.report import Report
from models.sentiment.texts import Texts

_FOLDER = Path(__file__).parent


def write_page(
    path: Path, texts: Texts, probabilities: NDArray[np.floating], report: Report, worst: int
) -> None:
    """Write one HTML file with its pictures inside.

    Args:
        texts: of the test, with their labels.
        probabilities: [N, C], calibrated.
        worst: errors to show, the surest first.
    """
    guess = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(guess != texts.label)
    order = wrong[np.argsort(-probabilities[wrong, guess[wrong]])][:worst]
    errors = [
        {
            "key": texts.key[i],
            "text": texts.text[i],
            "label": texts.classes[texts.label[i]],
            "guess": texts.classes[guess[i]],
            "probability": float(probabilities[i, guess[i]]),
        }
        for i in order.tolist()
    ]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER), autoescape=True, trim_blocks=True
    )
    html = environment.get_template("page.html.j2").render(
        report=report,
        columns=[*report.floors.items(), ("model", report.model)],
        confusion=_inline(_confusion(texts, guess)),
        reliability=_inline(_reliability(texts.label, probabilities)),
        errors=errors,
        n_errors=len(wrong),
        rows=len(texts),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(html, encoding="utf-8")


def _confusion(texts: Texts, guess: NDArray[np.integer]) -> Figure:
    n = len(texts.classes)
    counts = np.zeros((n, n), dtype=int)
    np.add.at(counts, (texts.label, guess), 1)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    figure, axis = plt.subplots(figsize=(1.6 + n, 1.2 + n), layout="constrained")
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row in range(n):
        for column in range(n):
            colour = "white" if shares[row, column] > 0.5 else "black"
            text = f"{counts[row, column]}\n{shares[row, column]:.1%}"
            axis.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
    axis.set_xticks(range(n), texts.classes)
    axis.set_yticks(range(n), texts.classes)
    axis.set(xlabel="answer", ylabel="label")
    return figure


def _reliability(labels: NDArray[np.integer], probabilities: NDArray[np.floating]) -> Figure:
    sure = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    bounds = np.linspace(1 / probabilities.shape[1], 1, 11)
    number = np.clip(np.digitize(sure, bounds) - 1, 0, 9)
    figure, (upper, lower) = plt.subplots(
        2, 1, figsize=(4, 4.2), height_ratios=(3, 1), sharex=True, layout="constrained"
    )
    filled = [b for b in range(10) if np.any(number == b)]
    points = [(sure[number == b].mean(), right[number == b].mean()) for b in filled]
    upper.plot([bounds[0], 1], [bounds[0], 1], color="grey", linewidth=1, label="ideal")
    upper.plot(*zip(*points, strict=True), marker="o", label="model")
    upper.set(ylabel="share right", ylim=(0, 1.02))
    upper.legend(loc="lower right")
    lower.hist(sure, bins=bounds.tolist(), color="tab:blue")
    lower.set(xlabel="probability of the answer", ylabel="texts")
    for axis in (upper, lower):
        axis.grid(alpha=0.3)
    return figure


def _inline(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110)
    plt.close(figure)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
