"""The model card of a recommender: what it is, how good, for what, and for what not.

Follows the sections of Mitchell et al., "Model Cards for Model Reporting" (FAT* 2019).
"""

from __future__ import annotations

from typing import NamedTuple

from models.artifact import Signature
from models.report import Report


class Description(NamedTuple):
    """What kind of model it is, and what it cannot do, in the card's words."""

    what: str
    limits: str


SEQUENTIAL = Description(
    what="A sequential recommender: it reads a user's item history in order",
    limits="Items that were not in training cannot be recommended",
)


def model_card(
    signature: Signature, report: Report, parity: float, description: Description = SEQUENTIAL
) -> str:
    """Markdown with the test metrics beside the floors on the same split."""
    columns = [
        *((f"floor: {k}", v) for k, v in report.floors.items()),
        ("this model", report.model),
    ]
    table = [
        "| | " + " | ".join(label for label, _ in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
        *(
            f"| {name} | "
            + " | ".join(f"{values[name]:.4f}" if name in values else "–" for _, values in columns)
            + " |"
            for name in report.model
        ),
    ]
    data = report.data
    return "\n".join(
        [
            f"# {signature.name} {signature.version}",
            "",
            f"**What it is.** {description.what} (the last {signature.limits['history']} items), "
            f"answering the {signature.limits['k']} best items that the user has not touched.",
            "",
            f"**Data.** {data.get('name')}: {data.get('rows')} interactions, {data.get('users')} "
            f"users, {data.get('items')} items; SHA-256 of the coded data "
            f"`{str(data.get('sha256'))[:16]}…`.",
            "",
            "**Quality.** Full ranking over all items, seen items removed, on the test split:",
            "",
            *table,
            "",
            f"**Parity.** The ONNX graph and the trained module gave the same lists; scores "
            f"differed by at most {parity:.1e}.",
            "",
            "**Intended use.** Ranking items of the catalog it was trained on, for users with at "
            "least one known item. Scores order items; they are not probabilities.",
            "",
            f"**Limits.** {description.limits}; what was popular in training is favoured; tastes "
            "that changed since training are followed only through the history that is passed in.",
            "",
        ]
    )
