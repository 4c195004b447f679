"""The model card of a ranker; sections after Mitchell et al., "Model Cards" (FAT* 2019)."""

from __future__ import annotations

from models.artifact import Signature
from models.recommender.ranking.encoding import Encoding
from models.report import Report


def model_card(signature: Signature, report: Report, encoding: Encoding, parity: float) -> str:
    """Markdown with the test metrics beside the floors on the same rows."""
    names = list(report.model)
    rows = [*((f"floor: {k}", v) for k, v in report.floors.items()), ("this model", report.model)]
    fields = [
        f"| {f.name} | {f.kind} | {f.side} | {f.feature or 'sent with the request'} |"
        for f in encoding.fields.all
    ]
    data = report.data
    return "\n".join(
        [
            f"# {signature.name} {signature.version}",
            "",
            "**What it is.** A ranker: the probability that a user answers an item positively, for "
            f"up to {signature.limits['candidates']} items at once.",
            "",
            f"**Data.** {data.get('name')}: {data.get('train_rows')} rows to learn from, "
            f"{data.get('test_rows')} later ones to test on, {data.get('test_positives')} of them "
            f"positive; SHA-256 of labels and times `{str(data.get('sha256'))[:16]}…`.",
            "",
            "**Quality**, on the test rows. Calibration is the sum of the probabilities by the "
            "number of positives: 1 is right.",
            "",
            "| | " + " | ".join(names) + " |",
            "|---" * (len(names) + 1) + "|",
            *(
                f"| {label} | "
                + " | ".join(f"{values[n]:.4f}" if n in values else "–" for n in names)
                + " |"
                for label, values in rows
            ),
            "",
            "**Inputs.** The model knows a missing value for one; a category that training did not "
            "see goes by its hash.",
            "",
            "| field | kind | whose | from |",
            "|---|---|---|---|",
            *fields,
            "",
            "**Parity.** Raw test rows through the ONNX graph gave the trained module's "
            f"probabilities within {parity:.1e}.",
            "",
            "**Intended use.** Ordering a few hundred candidates for one user.",
            "",
            "**Limits.** It learned from what was shown: items that were never shown are judged by "
            "their attributes only, and the old choice of what to show is in the labels.",
            "",
        ]
    )
