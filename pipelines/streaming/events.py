"""From a message of the Segment specification to rows of the warehouse's `events` table.

One message is one row, except an order with a list of `products`: one row a product, the first with
the message's id, the others with `<id>/1`, `<id>/2`, …
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

Row = dict[str, Any]  # a row of the `events` table

CALLS = ("track", "identify", "page", "screen", "group", "alias")
_LONGEST_ID = 255


class BadMessageError(ValueError):
    """A message that cannot become a row; the text names the field, the value, what is accepted."""


class Reading(NamedTuple):
    """What an entry held: rows, messages of kinds that are left out, and refused ones."""

    rows: list[Row]
    left_out: int
    refused: list[tuple[str, bytes]]  # reason, the message as it came


@dataclass(frozen=True)
class EventReader:
    """Reads entries: one message as JSON, or a list of them.

    Args:
        calls: kinds of messages that are events; the specification's other kinds are left out.
        ahead_s: how far in the future a timestamp may lie: clocks of phones are never right.
        oldest_days: an older timestamp is taken for a mistake.
    """

    calls: Sequence[str] = ("track",)
    ahead_s: float = 300.0
    oldest_days: float = 3650.0

    def read(self, payload: bytes, arrived: float) -> Reading:
        """Never raises: what is wrong with a message is told in `refused`.

        Args:
            arrived: seconds since 1970; stands for `receivedAt` where a message has none.
        """
        try:
            content = json.loads(payload, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            return Reading([], 0, [(f"the entry is no JSON: {error}", payload)])
        if not isinstance(content, list):
            content = [content]
        result = Reading([], 0, [])
        left_out = 0
        moment = datetime.fromtimestamp(arrived, UTC)
        for message in content:
            try:
                rows = list(self.rows(message, moment))
            except BadMessageError as error:
                result.refused.append((str(error), json.dumps(message).encode()))
                continue
            result.rows.extend(rows)
            left_out += not rows
        return result._replace(left_out=left_out)

    def write(self, row: Mapping[str, Any]) -> bytes:
        """A message that reads as this row."""
        return json.dumps(message(row)).encode()

    def rows(self, message: Any, arrived: datetime) -> Iterator[Row]:
        """The message's rows; none for a kind that is left out.

        Raises:
            BadMessageError: see there.
        """
        if not isinstance(message, Mapping):
            raise BadMessageError(f"a message is {shown(message)}; it must be a JSON object")
        message_id = text_of(message, "messageId", required=True)
        call = text_of(message, "type", required=True)
        if call not in CALLS:
            raise BadMessageError(f"type is {call!r}; it must be one of {', '.join(CALLS)}")
        if call not in self.calls:
            return
        user, anonymous = text_of(message, "userId"), text_of(message, "anonymousId")
        if user is None and anonymous is None:
            raise BadMessageError("userId and anonymousId are both missing; one of them is needed")
        properties = _mapping(message, "properties")
        context = _mapping(message, "context")
        shared = {
            "type": call,
            "event": text_of(message, "event", required=True),
            "user_id": user,
            "anonymous_id": anonymous,
            "session_id": text_of(properties, "session_id", "properties.")
            or text_of(context, "session_id", "context."),
            "order_id": text_of(properties, "order_id", "properties."),
            "experiment_id": text_of(properties, "experiment_id", "properties."),
            "variation_id": text_of(properties, "variation_id", "properties."),
            "timestamp": self._moment(message, "timestamp"),
            "received_at": self._moment(message, "receivedAt")
            if message.get("receivedAt") is not None
            else arrived,
        }
        products = properties.get("products")
        if products is None:
            yield {"message_id": message_id, **shared, **_product(properties, "properties.")}
            return
        if not isinstance(products, list) or not products:
            raise BadMessageError(
                f"properties.products is {shown(products)}; it must be a list of products"
            )
        for n, product in enumerate(products):
            place = f"properties.products[{n}]."
            if not isinstance(product, Mapping):
                raise BadMessageError(f"{place[:-1]} is {shown(product)}; it must be an object")
            name = f"{message_id}/{n}" if n else message_id
            yield {"message_id": name, **shared, **_product(product, place)}

    def _moment(self, message: Mapping[str, Any], name: str) -> datetime:
        value = message.get(name)
        accepted = "an ISO 8601 time with a zone, such as 2026-01-31T12:00:00.000Z"
        if not isinstance(value, str):
            raise BadMessageError(f"{name} is {shown(value)}; it must be {accepted}")
        try:
            moment = datetime.fromisoformat(value)
            if moment.tzinfo is not None:
                moment = moment.astimezone(UTC)
        except (ValueError, OverflowError) as error:
            raise BadMessageError(f"{name} is {value!r}; it must be {accepted}") from error
        if moment.tzinfo is None:
            raise BadMessageError(f"{name} is {value!r}, without a zone; it must be {accepted}")
        now = datetime.now(UTC)
        if moment > now + timedelta(seconds=self.ahead_s):
            raise BadMessageError(
                f"{name} is {value!r}, in the future; at most {self.ahead_s:g} s after now "
                f"({now:%Y-%m-%dT%H:%M:%SZ}) are accepted"
            )
        if moment < now - timedelta(days=self.oldest_days):
            raise BadMessageError(
                f"{name} is {value!r}; at most {self.oldest_days:g} days before now are accepted"
            )
        return moment


def message(row: Mapping[str, Any]) -> dict[str, Any]:
    """The Segment message of a warehouse row: the reverse of `EventReader.rows`."""
    named = {
        "product_id": row["item_id"],
        **{n: row[n] for n in ("position", "price", "quantity", "order_id")},
        **{n: row[n] for n in ("experiment_id", "variation_id", "session_id")},
    }
    found = {
        "messageId": row["message_id"],
        "type": row["type"],
        "event": row["event"],
        "userId": row["user_id"],
        "anonymousId": row["anonymous_id"],
        "properties": {n: v for n, v in named.items() if v is not None},
        "timestamp": row["timestamp"].isoformat(),
        "receivedAt": row["received_at"].isoformat() if row["received_at"] else None,
    }
    return {n: v for n, v in found.items() if v is not None}


def _product(properties: Mapping[str, Any], place: str) -> Row:
    return {
        "item_id": text_of(properties, "product_id", place)
        or text_of(properties, "item_id", place),
        "position": _whole(properties, "position", place, 0),
        "price": _number(properties, "price", place),
        "quantity": _whole(properties, "quantity", place, 1),
    }


def text_of(
    found: Mapping[str, Any], name: str, place: str = "", required: bool = False
) -> str | None:
    """A string or a whole number as text. Empty is missing."""
    value = found.get(name)
    if value is None or value == "":
        if required:
            raise BadMessageError(f"{place}{name} is missing; it must be a text")
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise BadMessageError(f"{place}{name} is {shown(value)}; it must be a text")
    if len(value) > _LONGEST_ID:
        raise BadMessageError(
            f"{place}{name} has {len(value)} characters; at most {_LONGEST_ID} are accepted"
        )
    if "\x00" in value or any("\ud800" <= c <= "\udfff" for c in value):
        raise BadMessageError(f"{place}{name} is {value!r}; it must be text without zero bytes")
    return value


def _number(found: Mapping[str, Any], name: str, place: str) -> float | None:
    value = found.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e15:
        raise BadMessageError(f"{place}{name} is {shown(value)}; it must be a number from 0")
    return float(value)


def _whole(found: Mapping[str, Any], name: str, place: str, lowest: int) -> int | None:
    value = found.get(name)
    if value is None:
        return None
    fits = isinstance(value, int | float) and not isinstance(value, bool)
    if not fits or not math.isfinite(value) or value != int(value) or not lowest <= value < 2**53:
        raise BadMessageError(
            f"{place}{name} is {shown(value)}; it must be a whole number from {lowest}"
        )
    return int(value)


def _mapping(message: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = message.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise BadMessageError(f"{name} is {shown(value)}; it must be a JSON object")
    return value


def shown(value: Any) -> str:
    """A value as JSON, cut short."""
    if value is None:
        return "missing"
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")
