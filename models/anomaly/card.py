"""The model card of a detector: what it is, how good, for what, and for what not.

Follows the sections of Mitchell et al., "Model Cards for Model Reporting" (FAT* 2019).
"""

from __future__ import annotations

from collections.abc import Sequence

from models.artifact import Signature
from models.report import Report


def model_card(
    signature: Signature, fields: Sequence[str], report: Report, parity: float, threshold: float
) -> str:
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
    window = signature.limits["window"]
    data = report.data
    return "\n".join(
        [
            f"# {signature.name} {signature.version}",
            "",
            f"**What it is.** An anomaly detector over {len(fields)} fields "
            f"({', '.join(fields[:12])}{', …' if len(fields) > 12 else ''}), judging "
            f"{'each event by itself' if window == 1 else f'the last {window} events of a source'}"
            f"; made by `{data.get('detector')}`.",
            "",
            f"**Data.** {data.get('name')}: {data.get('train_rows')} rows to learn from, "
            f"{data.get('test_rows')} to test on.",
            "",
            "**Quality.** On the test rows:",
            "",
            *table,
            "",
            f"**Parity.** The ONNX graph and the fitted module differed by at most {parity:.1e} of "
            "1 + the value.",
            "",
            "**Scores.** −log10 of the share of normal events that score as high: 2 is one in a "
            f"hundred, 4 one in ten thousand. The static threshold is {threshold}. Contributions "
            "say how much of the score each field makes up; `expected` is the value that would "
            "have raised no question.",
            "",
            "**Intended use.** Telemetry of the kind that it was trained on, with the same fields "
            "in the same units.",
            "",
            "**Limits.** What was frequent in training is normal to it, incidents included. Scores "
            "beyond the rarest held-out normal event are extrapolated. A score says how unusual "
            "an event is, not how harmful.",
            "",
        ]
    )
