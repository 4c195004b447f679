"""The model card of a text classifier: what it is, how good, for what, and for what not.

Follows the sections of Mitchell et al., "Model Cards for Model Reporting" (FAT* 2019).
"""

from __future__ import annotations

from models.artifact import Signature
from models.report import Report


def model_card(signature: Signature, report: Report, parity: float, precision: str) -> str:
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
            f"**What it is.** A classifier of texts into {', '.join(data['classes'])}, or "
            f'"unsure" where the leading class has less than {data["abstain_below"]}.',
            "",
            f"**Data.** {data['name']}: {data['rows']} texts ({data['train']} for training, "
            f"{data['validation']} for calibration, {data['test']} for the test); SHA-256 "
            f"`{str(data['sha256'])[:16]}…`; {data['duplicates_across_splits']} texts lie in "
            "several splits.",
            "",
            "**Quality.** On the test split, probabilities calibrated on validation "
            f"(temperature {data['temperature']}):",
            "",
            *table,
            "",
            f"**Parity.** From raw text to logits, the artifact and the trained module differed by "
            f"at most {parity:.1e}. Precision: {precision}.",
            "",
            "**Intended use.** Texts of the language and kind it was trained on. Texts longer than "
            f"{signature.limits['tokens']} tokens are cut into pieces whose logits are averaged.",
            "",
            "**Limits.** Irony, quotations and opinions on several things at once are often "
            "misread; it follows the labels it was given, errors included.",
            "",
        ]
    )
