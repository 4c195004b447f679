"""POST /v1/telemetry: events by the batch into the stream, with a report of every line."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from serving.gateway.access.gate import note_of
from serving.gateway.anomalies.bodies import JSON, NDJSON, content_type, read_any
from serving.gateway.anomalies.events import Event, EventError, EventReader, parse
from serving.gateway.anomalies.fields import FieldsInForce
from serving.gateway.anomalies.intake import Intake, IntakeError, Refused
from serving.gateway.anomalies.metrics import AnomalyMetrics
from serving.gateway.bodies import json_response
from serving.gateway.problems import Problem

_AT_ONCE = 200  # lines read before others get their turn


@dataclass
class Batch:
    """What a request holds, line by line; lines count from 1."""

    events: list[tuple[int, Event, bytes]] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)
    letters: list[Refused] = field(default_factory=list)
    duplicates: list[int] = field(default_factory=list)
    busy: list[int] = field(default_factory=list)

    def refuse(self, line: int, error: EventError, payload: bytes) -> None:
        self.refused.append({"line": line, **error.as_json()})
        self.letters.append(Refused(str(error), payload))

    def report(self, accepted: int) -> dict[str, Any]:
        return {
            "accepted": accepted,
            "duplicates": self.duplicates,
            "refused": self.refused,
            "busy": self.busy,
        }


class TelemetryRoutes:
    """Takes telemetry in.

    Args:
        fields: refuse an event that the stream's model could make nothing of.
        max_events: in one request.
    """

    def __init__(
        self,
        intake: Intake,
        reader: EventReader,
        fields: FieldsInForce,
        metrics: AnomalyMetrics,
        max_events: int,
    ) -> None:
        self.intake = intake
        self.reader = reader
        self.fields = fields
        self.metrics = metrics
        self.max_events = max_events

    async def post(self, request: Request) -> Response:
        """POST /v1/telemetry: a JSON event, a list of them, or NDJSON.

        202: every line is in the stream. 207: some lines are not; the report says which and why.
        422: none is, for what they are. 429: none is, because the stream is full. 503: the broker
        did not take them, or nobody knows.
        """
        batch = await self._read(request)
        note = note_of(request)
        note.rows = len(batch.events)
        try:
            accepted = await self._send(batch)
        except IntakeError as error:
            self._count(batch, 0, failed=len(batch.events))
            raise _away(batch, error) from error
        self._count(batch, accepted)
        note.rows = accepted
        note.detail = f"{accepted} accepted, {len(batch.refused)} refused, {len(batch.busy)} busy"
        report = batch.report(accepted)
        if accepted or batch.duplicates:
            whole = not batch.refused and not batch.busy
            return json_response(report, 202 if whole else 207)
        if batch.busy:
            raise Problem(
                429,
                "stream-full",
                f"the partitions of {len(batch.busy)} events are full: the stream is not read as "
                "fast as it is written",
                {"Retry-After": str(self.intake.retry_after_s)},
                report=report,
            )
        first = batch.refused[0]
        text = f"none of {len(batch.refused)} lines was taken; line {first['line']}: "
        raise Problem(
            422,
            "invalid-telemetry",
            text + first["detail"],
            accepted=first["accepted"],
            report=report,
        )

    async def _read(self, request: Request) -> Batch:
        kind = content_type(request, JSON, NDJSON)
        lines = list(
            _lines(await request.body()) if kind == NDJSON else _rows(await read_any(request))
        )
        if not 1 <= len(lines) <= self.max_events:
            raise Problem(
                422,
                "invalid-telemetry",
                f"the body holds {len(lines)} events",
                accepted=f"1 to {self.max_events} events in one request",
            )
        await self.fields.renew()
        batch = Batch()
        seen: set[str] = set()
        now = datetime.now(UTC)
        for n, (line, raw, message) in enumerate(lines):
            if n % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)
            try:
                found = _message(raw) if message is None and raw else message
                event = self.reader.read(found, now)
                self.fields.check(event)
            except EventError as error:
                batch.refuse(line, error, raw or _payload(message))
                continue
            if event.id in seen:
                batch.duplicates.append(line)
                continue
            seen.add(event.id)
            batch.events.append((line, event, raw or _compact(message)))
        return batch

    async def _send(self, batch: Batch) -> int:
        """How many events were sent."""
        partitions: dict[int, list[tuple[int, bytes]]] = defaultdict(list)
        for line, event, payload in batch.events:
            partitions[self.intake.partition(event.source)].append((line, payload))
        for partition in await self.intake.full(partitions):
            batch.busy += [line for line, _ in partitions.pop(partition)]
        batch.busy.sort()
        if partitions or batch.letters:
            events = {p: [payload for _, payload in rows] for p, rows in partitions.items()}
            await self.intake.send(events, batch.letters)
        return sum(map(len, partitions.values()))

    def _count(self, batch: Batch, accepted: int, failed: int = 0) -> None:
        for outcome, number in (
            ("accepted", accepted),
            ("duplicate", len(batch.duplicates)),
            ("refused", len(batch.refused)),
            ("busy", len(batch.busy)),
            ("failed", failed),
        ):
            self.metrics.telemetry.labels(outcome).inc(number)


def _lines(body: bytes) -> Iterator[tuple[int, bytes, Any]]:
    """The lines of NDJSON; empty ones are passed over."""
    for number, line in enumerate(body.split(b"\n"), 1):
        if line.strip():
            yield number, line.strip(), None


def _rows(body: Any) -> Iterator[tuple[int, bytes, Any]]:
    """The events of a JSON body."""
    for number, message in enumerate(body if isinstance(body, list) else [body], 1):
        yield number, b"", message


def _compact(message: Any) -> bytes:
    try:
        return orjson.dumps(message)
    except TypeError:  # an integer of more than 64 bits, say, in a field or beside one
        return _payload(message)


def _payload(message: Any) -> bytes:
    """As it came, NaN and half characters included: a dead letter must show what was wrong."""
    try:
        return json.dumps(message, separators=(",", ":")).encode()
    except RecursionError:
        return b"(nested too deeply to be kept)"


def _message(line: bytes) -> Any:
    try:
        return parse(line)
    except ValueError as error:
        raise EventError(
            None, f"the line is not JSON: {error}", "one JSON object a line"
        ) from error


def _away(batch: Batch, error: IntakeError) -> Problem:
    """503 that says what became of the lines."""
    lines = [line for line, _, _ in batch.events if line not in set(batch.busy)]
    report = {**batch.report(0), "unknown": lines if error.unknown else []}
    text = (
        "the connection was lost while sending: nobody knows whether the lines in `unknown` are in "
        "the stream; sent again, they count once"
        if error.unknown
        else "the broker takes nothing now; no line was accepted"
    )
    return Problem(503, "broker-unavailable", text, {"Retry-After": "2"}, report=report)
