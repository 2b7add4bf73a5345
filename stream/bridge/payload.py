"""From a body's JSON text to records for Kafka: all of its events, or none. Pure."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stream.bridge.body import BODY_BYTES_MAX
from stream.bridge.refusal import Refused
from stream.codec.json_text import dump, parse
from stream.codec.segment import encode_event, event_from_parsed, event_key

EVENTS_MAX = 2_500
EVENT_BYTES_MAX = 32 * 1024
MESSAGE_ID_LENGTH_MAX = 100
"""Segment's limits of a batch and of an event. Source: segment.com/docs/connections/sources/
catalog/libraries/server/http-api, and .../spec/common."""

TYPES = frozenset({"identify", "page", "track", "screen", "group", "alias", "delete"})

_IDS = ("userId", "anonymousId")
# Segment documents the webhook of an alias with these two, and without the others.
_ALIAS_IDS = ("previousId", "User ID", "Previous ID")


@dataclass(frozen=True, slots=True)
class Arrival:
    """One event, ready for Kafka. ``type`` is Segment's word, or ``other``."""

    key: bytes | None
    value: bytes
    type: str


def read_events(text: bytes) -> list[dict[str, Any]]:
    """Return the events of a body: one object, or an array of them.

    Raises:
        Refused: it is neither, or there are too many.
    """
    try:
        body = parse(text)
    except ValueError:
        raise Refused("not_json", "the body is no JSON, or nested too deeply") from None
    events = body if isinstance(body, list) else [body]
    if not events:
        raise Refused("invalid_event", "the array is empty")
    if len(events) > EVENTS_MAX:
        raise Refused("too_large", f"there are more than {EVENTS_MAX} events")
    for number, event in enumerate(events):
        if not isinstance(event, dict):
            raise Refused("invalid_event", "the event is no JSON object", event=number)
    return events


def arrivals(
    events: list[dict[str, Any]], header: bytes, *, text_bytes: int = BODY_BYTES_MAX
) -> Iterator[Arrival]:
    """Yield the events one by one, encoded in the framing of the header.

    ``text_bytes`` is the length of the text that they come from: no event is longer.

    Raises:
        Refused: an event has not what every event of Segment has.
    """
    for number, document in enumerate(events):
        _check(document, number)
        if text_bytes > EVENT_BYTES_MAX and len(dump(document).encode()) > EVENT_BYTES_MAX:
            detail = f"the event is longer than {EVENT_BYTES_MAX} bytes"
            raise Refused("too_large", detail, event=number)
        yield arrival(document, header)


def arrival(document: dict[str, Any], header: bytes) -> Arrival:
    """Return an event's record. What it has beside Segment's fields is kept.

    An event without messageId gets one that is made from its content, so that the same
    request again is the same event.
    """
    event = event_from_parsed(document)
    if not event.message_id:
        document = {**document, "messageId": f"content-{_digest(document)}"}
        event = event_from_parsed(document)
    kind = event.type if event.type in TYPES else "other"
    return Arrival(event_key(event), encode_event(event, header), kind)


def _check(document: dict[str, Any], number: int) -> None:
    message_id = document.get("messageId")
    if message_id is not None and type(message_id) not in (str, int):
        raise Refused("invalid_event", "messageId is no text", event=number)
    if isinstance(message_id, str) and len(message_id) > MESSAGE_ID_LENGTH_MAX:
        detail = f"messageId is longer than {MESSAGE_ID_LENGTH_MAX} characters"
        raise Refused("invalid_event", detail, event=number)
    names = _IDS + (_ALIAS_IDS if document.get("type") == "alias" else ())
    if not any(_is_id(document.get(name)) for name in names):
        raise Refused("invalid_event", "there is neither userId nor anonymousId", event=number)


def _is_id(value: Any) -> bool:
    return bool(value) if isinstance(value, str) else type(value) in (int, float)


def _digest(document: dict[str, Any]) -> str:
    return hashlib.blake2b(dump(document).encode(), digest_size=16).hexdigest()
