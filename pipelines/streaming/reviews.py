"""From `Product Reviewed` messages of the Segment specification to rows of the `reviews` table."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipelines.streaming.events import BadMessageError, EventReader, Row, shown, text_of

REVIEWED = "Product Reviewed"
STARS = (1, 5)


@dataclass(frozen=True)
class ReviewReader(EventReader):
    """Reads the reviews in a stream of events; every other message is left out.

    A review is a `track` call with `properties.product_id`, `rating` (1 to 5), and `review_body`,
    `review_title`, `review_id` where there are any; the message's id stands in for a missing
    `review_id`. An event with neither a rating nor a text says only that there was a review, as the
    warehouse's own events do; it is left out too.
    """

    def rows(self, message: Any, arrived: datetime) -> Iterator[Row]:
        """The message's review, if it is one.

        Raises:
            BadMessageError: the text names the field, the value, and what is accepted.
        """
        if not isinstance(message, Mapping) or message.get("event") != REVIEWED:
            if not isinstance(message, Mapping):
                raise BadMessageError(f"a message is {shown(message)}; it must be a JSON object")
            return
        properties = message.get("properties")
        properties = properties if isinstance(properties, Mapping) else {}
        if properties.get("rating") is None and properties.get("review_body") is None:
            return
        for row in super().rows(message, arrived):
            if row["item_id"] is None:
                raise BadMessageError("properties.product_id is missing; it must be a text")
            named = text_of(properties, "review_id", "properties.")
            yield {
                **{n: row[n] for n in ("message_id", "user_id", "anonymous_id", "item_id")},
                "review_id": named or row["message_id"],
                "stars": _stars(properties.get("rating")),
                "title": _prose(properties, "review_title"),
                "text": _prose(properties, "review_body"),
                "timestamp": row["timestamp"],
                "received_at": row["received_at"],
            }

    def write(self, row: Mapping[str, Any]) -> bytes:
        """A message that reads as this row."""
        return json.dumps(review_message(row)).encode()


def review_message(row: Mapping[str, Any]) -> dict[str, Any]:
    """The Segment message of a row: the reverse of `ReviewReader.rows`."""
    properties = {
        "product_id": row["item_id"],
        "review_id": row["review_id"],
        "rating": row["stars"],
        "review_title": row["title"],
        "review_body": row["text"],
    }
    found = {
        "messageId": row["message_id"],
        "type": "track",
        "event": REVIEWED,
        "userId": row["user_id"],
        "anonymousId": row["anonymous_id"],
        "properties": {n: v for n, v in properties.items() if v is not None},
        "timestamp": row["timestamp"].isoformat(),
        "receivedAt": row["received_at"].isoformat() if row["received_at"] else None,
    }
    return {n: v for n, v in found.items() if v is not None}


def _stars(value: Any) -> int:
    """The specification has ratings as numbers or as text."""
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except ValueError:
            number = 0.0
        if number in range(STARS[0], STARS[1] + 1):
            return int(number)
    raise BadMessageError(
        f"properties.rating is {shown(value)}; it must be a whole number from "
        f"{STARS[0]} to {STARS[1]}"
    )


def _prose(properties: Mapping[str, Any], name: str) -> str | None:
    """Text of any length. Zero bytes and halves of characters, which databases refuse, become �."""
    value = properties.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise BadMessageError(f"properties.{name} is {shown(value)}; it must be a text")
    whole = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return whole.replace("\x00", "\ufffd")
