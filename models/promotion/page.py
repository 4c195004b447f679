"""A comparison as one HTML file that needs nothing else: no server, no network."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from models.promotion.comparison import Comparison
from models.promotion.rule import Decision

_TEMPLATE = Path(__file__).with_name("page.html.j2")


def write_page(
    path: Path,
    name: str,
    mode: str,
    champion: str,
    challenger: str,
    comparison: Comparison,
    decision: Decision,
    outcome: str,
    promoted: bool,
) -> None:
    """Replace the page at `path`.

    Args:
        champion, challenger: versions.
        outcome: what happened, a sentence.
    """
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATE.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template(_TEMPLATE.name).render(
        name=name,
        mode=mode,
        when=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        champion=champion,
        challenger=challenger,
        comparison=comparison,
        decision=decision,
        outcome=outcome,
        promoted=promoted,
        in_force=challenger if promoted else champion,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
