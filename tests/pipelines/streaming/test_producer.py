"""Sending a day's rows: all of them, once, in order, whatever the rate and the entries' size."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipelines.streaming.producer import produce
from pipelines.streaming.source import BrokerError, StreamFullError


class Numbers:
    """Rows that are their own messages."""

    def read(self, warehouse: Path, day: str | None, limit: int | None) -> list[dict[str, Any]]:
        return []

    def messages(self, rows: Sequence[dict[str, Any]], now: bool) -> Iterator[dict[str, Any]]:
        yield from rows


class Kept:
    """Keeps entries; is full every third time."""

    def __init__(self, fills: bool = False) -> None:
        self.entries: list[Any] = []
        self.fills = fills
        self.calls = 0

    async def send(self, payloads: Sequence[bytes]) -> None:
        self.calls += 1
        if self.fills and self.calls % 3 == 0:
            raise StreamFullError("full")
        self.entries += [json.loads(p) for p in payloads]


@pytest.mark.parametrize(("rate", "per_entry"), [(None, 1), (None, 7), (100_000.0, 1), (5e4, 20)])
async def test_every_row_is_sent_once_and_in_order(rate: float | None, per_entry: int) -> None:
    rows = [{"n": n} for n in range(2_345)]
    sink = Kept()
    await produce(sink, Numbers(), rows, rate, per_entry, now=False)
    sent = [m for e in sink.entries for m in (e if per_entry > 1 else [e])]
    assert sent == rows


async def test_a_full_stream_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.streaming.producer._FULL_S", 0.001)
    rows = [{"n": n} for n in range(4_000)]
    sink = Kept(fills=True)
    await produce(sink, Numbers(), rows, None, 1, now=False)
    assert sink.entries == rows


class Away:
    """Answers so many calls, then is away for two."""

    def __init__(self, answers: int) -> None:
        self.answers = answers
        self.calls = 0
        self.sent: list[list[bytes]] = []

    async def send(self, payloads: Sequence[bytes]) -> None:
        self.calls += 1
        if self.answers < self.calls <= self.answers + 2:
            raise BrokerError("away")
        self.sent.append(list(payloads))


async def test_a_broker_that_goes_away_is_waited_for_and_the_rest_arrives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipelines.streaming.producer._AWAY_S", 0.001)
    rows = [{"n": n} for n in range(2_000)]
    sink = Away(answers=1)
    await produce(sink, Numbers(), rows, None, 1, now=False)
    assert [json.loads(p) for payloads in sink.sent for p in payloads] == rows
    with pytest.raises(BrokerError):  # a wrong address is said at once
        await produce(Away(answers=0), Numbers(), rows, None, 1, now=False)
