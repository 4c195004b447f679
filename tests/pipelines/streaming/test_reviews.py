"""`Product Reviewed` messages as rows, and what is wrong with others."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from pipelines.streaming.reviews import ReviewReader

NOW = datetime.now(UTC).replace(microsecond=0)


def sent(**properties: Any) -> dict[str, Any]:
    known = {"product_id": "lamp", "rating": 4, "review_body": "Bright.", "review_id": "r1"}
    return {
        "messageId": "m1", "type": "track", "event": "Product Reviewed", "userId": "ann",
        "timestamp": NOW.isoformat(), "properties": {**known, **properties},
    }  # fmt: skip


def read(*messages: Any) -> Any:
    return ReviewReader().read(json.dumps(list(messages)).encode(), NOW.timestamp())


def test_a_review_is_read_and_written_back() -> None:
    (row,) = read(sent(review_title="Nice", rating="5")).rows
    assert row == {
        "message_id": "m1", "review_id": "r1", "user_id": "ann", "anonymous_id": None,
        "item_id": "lamp", "stars": 5, "title": "Nice", "text": "Bright.", "timestamp": NOW,
        "received_at": NOW,
    }  # fmt: skip
    again = ReviewReader().read(ReviewReader().write(row), 0.0)
    assert again.rows == [row]


def test_long_texts_and_odd_characters_are_kept() -> None:
    long = "word " * 100_000
    first, second, third = read(
        sent(review_body=long), sent(review_body="a\x00b\ud83dc 😀"), sent(review_body="")
    ).rows
    assert first["text"] == long
    assert second["text"] == "a\ufffdb\ufffdc 😀"
    assert third["text"] == ""


def test_other_messages_are_left_out() -> None:
    viewed = {**sent(), "event": "Product Viewed"}
    bare = sent(rating=None, review_body=None)
    found = read(viewed, bare, {**sent(), "type": "page"})
    assert (found.rows, found.left_out, found.refused) == ([], 3, [])


@pytest.mark.parametrize(
    ("properties", "named"),
    [
        ({"rating": None}, "properties.rating is missing; it must be a whole number from 1 to 5"),
        ({"rating": 6}, "properties.rating is 6"),
        ({"rating": 4.5}, "properties.rating is 4.5"),
        ({"rating": "nice"}, 'properties.rating is "nice"'),
        ({"rating": True}, "properties.rating is true"),
        ({"review_body": 12}, "properties.review_body is 12; it must be a text"),
        ({"product_id": None}, "properties.product_id is missing"),
    ],
)
def test_bad_reviews_are_named(properties: dict[str, Any], named: str) -> None:
    ((reason, _),) = read(sent(**properties)).refused
    assert named in reason
