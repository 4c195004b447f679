"""What is accepted as telemetry, and what every refusal says."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from pipelines.anomalies.brokers.broker import Entry
from pipelines.anomalies.partition import partition_of
from pipelines.anomalies.telemetry_reader import Events, TelemetryReader

NOW = datetime.now(UTC)
GOOD = {"timestamp": NOW.isoformat(), "source": "s1", "cpu": 1.5, "memory": 2}
HOME = partition_of("s1", 4)


def read(payload: bytes | list[Any], extra: str = "ignore", partition: int = HOME) -> Events:
    text = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    entry = Entry(partition, "1-0", text, 0.0)
    return TelemetryReader(4, extra).read([entry], ("cpu", "memory"), time.time())


def test_columns_come_out_as_the_model_has_them() -> None:
    other = {**GOOD, "messageId": "m", "cpu": None, "timestamp": "2026-01-31T12:00:00.25+02:00"}
    del other["source"]
    found = read([GOOD], partition=HOME)
    assert found.source == ["s1"]
    np.testing.assert_array_equal(found.values, np.array([[1.5, 2]], np.float32))
    assert found.time_us[0] == round(NOW.timestamp() * 1e6)
    found = read([other], partition=partition_of("default", 4))
    assert (found.source, found.id) == (["default"], ["m"])
    np.testing.assert_array_equal(found.values, np.array([[np.nan, 2]], np.float32))
    moment = datetime(2026, 1, 31, 10, 0, 0, 250_000, tzinfo=UTC)
    assert found.time_us[0] == round(moment.timestamp() * 1e6)


def test_a_missing_field_is_missing_and_an_extra_one_is_left_out_or_refused() -> None:
    event = {k: v for k, v in GOOD.items() if k != "cpu"} | {"disk": 3, "note": "hot"}
    found = read([event, GOOD])
    assert np.isnan(found.values[0, 0])
    assert found.extra == 2
    (letter,) = read([event, GOOD], extra="refuse").letters
    expected = "fields ['disk', 'note'] are not the model's; it has ['cpu', 'memory']"
    assert letter.reason == expected
    with pytest.raises(ValueError, match="'ignore' or 'refuse', not 'drop'"):
        TelemetryReader(4, "drop")


REFUSED = [
    ({"cpu": "1.5"}, 'cpu is "1.5"; it must be a number or null'),
    ({"cpu": True}, "cpu is true; it must be a number or null"),
    ({"cpu": [1]}, "cpu is [1]; it must be a number or null"),
    ({"cpu": float("nan")}, "cpu is NaN; it must be a finite number or null"),
    ({"cpu": float("inf")}, "cpu is infinite; it must be a finite number or null"),
    ({"cpu": -1e39}, "cpu is -1e+39; it must be a finite number or null"),
    ({"cpu": 10**400}, "cpu is an integer of 1329 bits; it must be a finite number or null"),
    ({"cpu": None, "memory": None}, "the event has a number for none of the model's fields"),
    ({"timestamp": None}, "timestamp is missing; it must be an ISO 8601 time with a zone"),
    ({"timestamp": 17}, "timestamp is 17; it must be an ISO 8601 time with a zone"),
    ({"timestamp": "soon"}, 'timestamp is "soon"; it must be an ISO 8601 time with a zone'),
    ({"timestamp": "2026-01-31T12:00:00"}, "without a zone"),
    ({"timestamp": (NOW + timedelta(hours=1)).isoformat()}, "in the future; at most 300 s after"),
    ({"timestamp": (NOW - timedelta(days=30 * 365)).isoformat()}, "at most 3650 days before now"),
    ({"timestamp": "0001-01-01T00:00:00+23:00"}, "timestamp is"),
    ({"source": 5}, "source is 5; it must be a text of at most 255 characters"),
    ({"source": "x" * 256}, "it must be a text of at most 255 characters"),
    ({"source": "a\x00b"}, r'source is "a\u0000b"; it must be a text'),
    ({"messageId": "x" * 65}, "it must be a text of at most 64 characters"),
    ({"source": "elsewhere"}, "source is 'elsewhere', in partition"),
]


@pytest.mark.parametrize(("wrong", "reason"), REFUSED, ids=[r[:40] for _, r in REFUSED])
def test_what_is_refused_says_why_and_its_neighbours_are_taken(
    wrong: dict[str, Any], reason: str
) -> None:
    bad = {**GOOD, **wrong}
    found = read([GOOD, bad, GOOD])
    (letter,) = found.letters
    assert reason in letter.reason
    kept = json.loads(letter.payload)
    assert kept == bad or "NaN" in reason
    assert len(found.source) == 2


@pytest.mark.parametrize("payload", [b"", b"{", b"\xff", b'"text"', b"[1, null]", b"NaN"])
def test_what_is_no_event_is_refused(payload: bytes) -> None:
    found = read(payload)
    assert found.letters
    assert not found.source
    for letter in found.letters:
        assert "the entry is no JSON" in letter.reason or "flat JSON object" in letter.reason


def test_a_model_whose_fields_differ_from_the_events_names_both() -> None:
    (letter,) = read([{"timestamp": GOOD["timestamp"], "source": "s1", "disk": 1}]).letters
    assert "none of the model's fields ['cpu', 'memory']; it has ['disk']" in letter.reason
