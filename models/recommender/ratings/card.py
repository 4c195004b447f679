"""The model card of a rating model; sections as in `models.recommender.card`."""

from __future__ import annotations

from models.artifact import Signature
from models.report import Report


def model_card(signature: Signature, report: Report, parity: float, what: str) -> str:
    """Markdown with the test metrics beside the floors on the same split."""
    names = list(report.model)
    rows = [*((f"floor: {k}", v) for k, v in report.floors.items()), ("this model", report.model)]
    table = [
        "| | " + " | ".join(names) + " |",
        "|---" * (len(names) + 1) + "|",
        *(
            f"| {label} | "
            + " | ".join(f"{values[n]:.4f}" if n in values else "–" for n in names)
            + " |"
            for label, values in rows
        ),
    ]
    data = report.data
    return "\n".join(
        [
            f"# {signature.name} {signature.version}",
            "",
            f"**What it is.** {what}: how many stars a user would give an item.",
            "",
            f"**Data.** {data.get('name')}: {data.get('rows')} ratings, {data.get('users')} users, "
            f"{data.get('items')} items; SHA-256 of the coded data "
            f"`{str(data.get('sha256'))[:16]}…`.",
            "",
            "**Quality.** On the test split; lists are full rankings by expected stars, items "
            "rated before removed:",
            "",
            *table,
            "",
            f"**Parity.** The ONNX graph and the fitted module differed by at most {parity:.1e} "
            "stars.",
            "",
            "**Intended use.** Expected ratings of known users and items, as a number to show or "
            "as a feature of a ranker. A list ordered by expected stars is not a good list of "
            "recommendations: it favours what few people liked very much.",
            "",
            "**Limits.** A user or item that was not in training gets what is usual for the other, "
            "or the mean; what changed since training is not known.",
            "",
        ]
    )
