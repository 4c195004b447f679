"""Days of the warehouse's telemetry, as events that the stream takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipelines.streaming.producer import read_day


class TelemetryDays:
    """See `pipelines.streaming.producer.Days`."""

    def read(self, warehouse: Path, day: str | None, limit: int | None) -> list[dict[str, Any]]:
        return read_day(warehouse, "telemetry", ["timestamp", "source"], day, limit)

    def messages(self, rows: Sequence[dict[str, Any]], now: bool) -> Iterator[dict[str, Any]]:
        for row in rows:
            fields = {name: value for name, value in row.items() if value is not None}
            moment = datetime.now(UTC) if now else row["timestamp"]
            yield fields | {"timestamp": moment.isoformat()}
