"""The feature registry's answers as tables for people, or as JSON for machines."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from rich.console import Console
from rich.table import Table

PIPE_WIDTH = 160  # columns where no terminal says how wide it is

console = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False)


def as_json(value: Any) -> None:
    """Print JSON with times as ISO 8601."""

    def plain(item: Any) -> Any:
        if dataclasses.is_dataclass(item) and not isinstance(item, type):
            return {f.name: getattr(item, f.name) for f in dataclasses.fields(item)}
        return item.isoformat() if isinstance(item, datetime) else str(item)

    print(json.dumps(value, indent=2, default=plain, ensure_ascii=False))


def rows(title: str, items: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """One line an item."""
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for item in items:
        table.add_row(*(text(item.get(c)) for c in columns))
    console.print(table)


def facts(title: str, items: Mapping[str, Any]) -> None:
    """One line a fact."""
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in items.items():
        table.add_row(key, text(value))
    console.print(table)


def described(found: Mapping[str, Any]) -> None:
    """A view or service with its features."""
    offline = found.get("offline", {})
    content = found["definition"]
    about = {
        "description": found["description"],
        "owner": found["owner"],
        "key": found["key"],
        "source": ", ".join(found["sources"]),
        "transformation": f"{found['transformation']} (code {found['code_hash']})"
        if found["transformation"]
        else None,
        "update frequency": duration(found["frequency_s"]),
        "freshness SLO": duration(found["freshness_s"]),
        "time to live": duration(content.get("ttl_s"), "values do not age"),
        "retention": duration(content.get("retention_s"), "for ever"),
        "version": f"{found['version']}, revision {found['revision']}, schema "
        f"{found['schema_hash']} ({found['state']})",
        "created": change(found["created"]),
        "changed": change(found["changed"]),
        "used by": ", ".join(found["used_by"]) or "nothing registered",
        "offline rows": offline.get("rows"),
        "newest": offline.get("newest"),
        "broken files": "\n".join(offline.get("broken_files", ())) or None,
        "sent with a request": ", ".join(content.get("sent", ())) or None,
    }
    facts(f"{found['kind'].replace('_', '-')} {found['name']}", _given(about))
    lines = [
        {
            "feature": f["name"],
            "type": f["dtype"],
            "description": f["description"],
            "rules": rules(f),
            "created": _short(f["created"]),
            "changed": _short(f["changed"]),
        }
        for f in found["features"]
    ]
    if lines:
        rows("features", lines, list(lines[0]))


def rules(feature: Mapping[str, Any]) -> str:
    """What is accepted on write: `≥ 0, not null`."""
    found = [] if feature.get("lowest") is None else [f"≥ {feature['lowest']:g}"]
    found += [] if feature.get("highest") is None else [f"≤ {feature['highest']:g}"]
    found += [] if not feature.get("allowed") else [f"one of {', '.join(feature['allowed'])}"]
    return ", ".join([*found, "may be null" if feature.get("nullable") else "not null"])


def change(found: Mapping[str, Any]) -> str:
    """Who, when and why, in one line."""
    why = f": {found['why']}" if found["why"] else ""
    return f"{text(found['at'])} by {found['by']}{why} (revision {found['revision']})"


def _short(found: Mapping[str, Any]) -> str:
    return f"revision {found['revision']}, {found['at']:%Y-%m-%d} by {found['by']}"


def duration(seconds: float | None, zero: str = "") -> str:
    """Seconds as `2 days`, `1:00:00`."""
    if seconds is None or (seconds == 0 and zero):
        return zero
    return str(timedelta(seconds=seconds)).removesuffix(", 0:00:00")


def text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S} UTC"
    if isinstance(value, (list, tuple)):
        return "\n".join(map(str, value))
    return str(value)


def _given(about: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in about.items() if v not in (None, "")}
