"""Messages become rows, or are refused with a reason that says what would be accepted."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pipelines.streaming.events import BadMessageError, EventReader, message
from pipelines.streaming.source import DeadLetter, read_dead_letter

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
READER = EventReader()
GOOD: dict[str, Any] = {
    "messageId": "m1",
    "type": "track",
    "event": "Product Viewed",
    "userId": "ann",
    "properties": {"product_id": "lamp", "price": 9.5, "position": 2},
    "context": {"session_id": "s1"},
    "timestamp": "2026-01-31T12:00:00.123456+01:00",
}


def changed(**fields: Any) -> dict[str, Any]:
    return {**GOOD, **fields}


def product(**fields: Any) -> dict[str, Any]:
    return changed(properties={**GOOD["properties"], **fields})


def test_a_message_is_a_row_of_the_warehouse() -> None:
    (row,) = READER.rows(GOOD, NOW)
    assert row == {
        "message_id": "m1", "type": "track", "event": "Product Viewed", "user_id": "ann",
        "anonymous_id": None, "session_id": "s1", "item_id": "lamp", "position": 2, "price": 9.5,
        "quantity": None, "order_id": None, "experiment_id": None, "variation_id": None,
        "timestamp": datetime(2026, 1, 31, 11, 0, 0, 123456, UTC), "received_at": NOW,
    }  # fmt: skip
    assert list(READER.rows(message(row), NOW)) == [row]


def test_an_order_of_several_products_is_a_row_for_each() -> None:
    products = [{"product_id": "lamp", "quantity": 2}, {"item_id": 17, "price": 3}]
    order = changed(event="Order Completed", properties={"order_id": "o1", "products": products})
    first, second = READER.rows(order, NOW)
    assert (first["message_id"], second["message_id"]) == ("m1", "m1/1")
    assert (first["quantity"], second["item_id"], second["price"]) == (2, "17", 3.0)
    assert first["order_id"] == second["order_id"] == "o1"


FUTURE = (datetime.now(UTC) + timedelta(hours=1)).isoformat()


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (changed(messageId=None), "messageId is missing; it must be a text"),
        (changed(messageId=["x"]), 'messageId is ["x"]; it must be a text'),
        (changed(messageId="x" * 300), "messageId has 300 characters; at most 255"),
        (changed(type="trak"), "type is 'trak'; it must be one of track, identify, page"),
        (changed(event=None), "event is missing"),
        (changed(userId=None), "userId and anonymousId are both missing"),
        (changed(userId={"id": 1}), 'userId is {"id": 1}; it must be a text'),
        (changed(timestamp=None), "timestamp is missing; it must be an ISO 8601 time with a zone"),
        (changed(timestamp=1_700_000_000), "timestamp is 1700000000; it must be an ISO 8601 time"),
        (changed(timestamp="yesterday"), "timestamp is 'yesterday'; it must be an ISO 8601 time"),
        (changed(timestamp="2026-01-31T12:00:00"), "'2026-01-31T12:00:00', without a zone"),
        pytest.param(
            changed(timestamp=FUTURE), "in the future; at most 300 s after now", id="future"
        ),
        (changed(timestamp="1999-01-01T00:00:00Z"), "at most 3650 days before now"),
        (changed(properties=[1]), "properties is [1]; it must be a JSON object"),
        (product(price="9.5"), 'properties.price is "9.5"; it must be a number from 0'),
        (product(price=-1), "properties.price is -1; it must be a number from 0"),
        (product(quantity=0), "properties.quantity is 0; it must be a whole number from 1"),
        (product(quantity=1.5), "properties.quantity is 1.5; it must be a whole number"),
        (product(products={}), "properties.products is {}; it must be a list of products"),
        (product(products=[{}, 3]), "properties.products[1] is 3; it must be an object"),
        (product(product_id="a\x00b"), "without zero bytes"),
        ("text", 'a message is "text"; it must be a JSON object'),
    ],
    ids=str,
)
def test_what_is_wrong_is_named(bad: Any, reason: str) -> None:
    with pytest.raises(BadMessageError) as raised:
        list(READER.rows(bad, NOW))
    assert reason in str(raised.value)


def test_one_bad_message_does_not_hold_up_the_others_of_its_entry() -> None:
    bad = changed(messageId="m2", timestamp="2026-01-31T12:00:00")
    page = changed(messageId="m3", type="page")
    found = READER.read(json.dumps([GOOD, bad, page]).encode(), NOW.timestamp())
    assert [r["message_id"] for r in found.rows] == ["m1"]
    assert found.left_out == 1
    ((reason, payload),) = found.refused
    assert "without a zone" in reason
    assert json.loads(payload) == bad


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b'{"price": NaN}', b"[" * 100_000])
def test_what_is_no_json_is_kept_as_it_came(text: bytes) -> None:
    found = READER.read(text, NOW.timestamp())
    ((reason, payload),) = found.refused
    assert reason.startswith("the entry is no JSON")
    letter = DeadLetter(reason, payload)
    assert read_dead_letter(letter.as_json()) == letter
    assert payload == text
