"""Convert a request's body to records for Kafka: all of its events, or an error. Pure."""

import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from stream import __version__
from stream.codec.dead_letter import DeadLetter
from stream.codec.event import encode_event, event_from_parsed, event_key
from stream.codec.json_text import dump, parse
from stream.errors import DecodeError, StreamError
from stream.record import Record

# The JSON text of a body, with a limit on its length


BODY_BYTES_MAX = 500 * 1024
"""Of one request, uncompressed. Source: Segment's limit for a batch."""

_GZIP = 16 + zlib.MAX_WBITS


def inflate(data: bytes) -> bytes:
    """Return the decompressed body.

    Raises:
        RequestRejectedError: it is not gzip, is truncated, or exceeds ``BODY_BYTES_MAX``.
    """
    stream = zlib.decompressobj(_GZIP)
    try:
        text = stream.decompress(data, BODY_BYTES_MAX + 1)
    except zlib.error:
        raise RequestRejectedError("undecodable", "the body is not gzip") from None
    check_length(len(text))
    if not stream.eof or stream.unused_data:
        raise RequestRejectedError(
            "undecodable", "the gzip stream is truncated, or followed by other bytes"
        )
    return text


def check_length(length: int) -> None:
    """Check the length of a body.

    Raises:
        RequestRejectedError: it exceeds ``BODY_BYTES_MAX``.
    """
    if length > BODY_BYTES_MAX:
        raise RequestRejectedError("too_large", f"the body is longer than {BODY_BYTES_MAX} bytes")


EVENTS_MAX = 2_500
EVENT_BYTES_MAX = 32 * 1024
MESSAGE_ID_LENGTH_MAX = 100
"""Segment's limits of a batch and of an event. Source: segment.com/docs/connections/sources/
catalog/libraries/server/http-api, and .../spec/common."""

TYPES = frozenset({"identify", "page", "track", "screen", "group", "alias", "delete"})

_IDS = ("userId", "anonymousId")
# Segment documents the webhook of an alias with these instead of the others.
_ALIAS_IDS = ("previousId", "User ID", "Previous ID")


@dataclass(frozen=True, slots=True)
class ReceivedEvent:
    """One event, encoded for Kafka. ``type`` is Segment's type, or ``other``."""

    key: bytes | None
    value: bytes
    type: str


def read_events(text: bytes) -> list[dict[str, Any]]:
    """Return the events of a body: one object, or an array of them.

    Raises:
        RequestRejectedError: it is neither, or there are too many events.
    """
    try:
        body = parse(text)
    except ValueError:
        raise RequestRejectedError(
            "not_json", "the body is not JSON, or nested too deeply"
        ) from None
    events = body if isinstance(body, list) else [body]
    if not events:
        raise RequestRejectedError("invalid_event", "the array is empty")
    if len(events) > EVENTS_MAX:
        raise RequestRejectedError("too_large", f"there are more than {EVENTS_MAX} events")
    for number, event in enumerate(events):
        if not isinstance(event, dict):
            raise RequestRejectedError(
                "invalid_event", "the event is not a JSON object", event=number
            )
    return events


def arrivals(
    events: list[dict[str, Any]], header: bytes, *, text_bytes: int = BODY_BYTES_MAX
) -> Iterator[ReceivedEvent]:
    """Yield the events, encoded with the framing of ``header``.

    ``text_bytes`` is the length of the body's text, an upper bound of each event's length.

    Raises:
        RequestRejectedError: an event lacks required fields, or is too long.
    """
    for number, document in enumerate(events):
        _check(document, number)
        if text_bytes > EVENT_BYTES_MAX and len(dump(document).encode()) > EVENT_BYTES_MAX:
            detail = f"the event is longer than {EVENT_BYTES_MAX} bytes"
            raise RequestRejectedError("too_large", detail, event=number)
        yield arrival(document, header)


def arrival(document: dict[str, Any], header: bytes) -> ReceivedEvent:
    """Return an event's record. Fields that are not Segment's are kept.

    An event without messageId gets one derived from its content, so that a repeated request
    is the same event.
    """
    event = event_from_parsed(document)
    if not event.message_id:
        document = {**document, "messageId": f"content-{_digest(document)}"}
        event = event_from_parsed(document)
    kind = event.type if event.type in TYPES else "other"
    return ReceivedEvent(event_key(event), encode_event(event, header), kind)


def _check(document: dict[str, Any], number: int) -> None:
    message_id = document.get("messageId")
    if message_id is not None and type(message_id) not in (str, int):
        raise RequestRejectedError("invalid_event", "messageId is not text", event=number)
    if isinstance(message_id, str) and len(message_id) > MESSAGE_ID_LENGTH_MAX:
        detail = f"messageId is longer than {MESSAGE_ID_LENGTH_MAX} characters"
        raise RequestRejectedError("invalid_event", detail, event=number)
    names = _IDS + (_ALIAS_IDS if document.get("type") == "alias" else ())
    if not any(_is_id(document.get(name)) for name in names):
        raise RequestRejectedError(
            "invalid_event", "there is neither userId nor anonymousId", event=number
        )


def _is_id(value: Any) -> bool:
    return bool(value) if isinstance(value, str) else type(value) in (int, float)


def _digest(document: dict[str, Any]) -> str:
    return hashlib.blake2b(dump(document).encode(), digest_size=16).hexdigest()


# Rejected requests and their responses


Reason: TypeAlias = Literal[
    "not_found",
    "method",
    "media_type",
    "encoding",
    "signature",
    "too_large",
    "too_slow",
    "broken_off",
    "undecodable",
    "not_json",
    "invalid_event",
    "busy",
    "unavailable",
]
"""The reasons of rejected requests; docs/reference/bridge-answers.md explains them."""

STATUS: dict[Reason, int] = {
    "not_found": 404,
    "method": 405,
    "media_type": 415,
    "encoding": 415,
    "signature": 401,
    "too_large": 413,
    "too_slow": 408,
    "broken_off": 400,
    "undecodable": 400,
    "not_json": 400,
    "invalid_event": 400,
    "busy": 503,
    "unavailable": 503,
}
"""Of these, Segment retries only 408 and 503, for four hours."""


class RequestRejectedError(StreamError):
    """The request is rejected as a whole; the response contains the reason.

    ``detail`` quotes nothing of the request. ``event`` is the index of the invalid event, if the
    cause is a single event.
    """

    def __init__(self, reason: Reason, detail: str, *, event: int | None = None) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: Reason = reason
        self.detail = detail
        self.event = event

    @property
    def status(self) -> int:
        """The HTTP status of the response."""
        return STATUS[self.reason]


# Conversion of a record of Segment's Kafka destination to a record of the input


def forward(
    record: Record, header: bytes, now_ms: int, *, bytes_max: int
) -> ReceivedEvent | DeadLetter | None:
    """Return the output for a record: keyed by user and encoded, or a dead letter.

    None for a record without a value. Any event with at most ``bytes_max`` bytes is forwarded,
    however incomplete.
    """
    if record.value is None:
        return None
    try:
        return _bounded(arrival(_document(record.value), header), bytes_max)
    except DecodeError as error:
        return DeadLetter(
            key=record.key,
            value=record.value,
            reason=error.reason,
            detail=error.detail,
            origin=record.partition,
            offset=record.offset,
            failed_at_ms=now_ms,
            app_version=__version__,
        ).fitting(bytes_max)


def _bounded(found: ReceivedEvent, bytes_max: int) -> ReceivedEvent:
    if len(found.key or b"") + len(found.value) > bytes_max:
        raise DecodeError("too_large", f"the event has more than {bytes_max:,} bytes")
    return found


def _document(value: bytes) -> dict[str, object]:
    try:
        document = parse(value)
    except ValueError:
        raise DecodeError("invalid_json", "the value is not JSON, or nested too deeply") from None
    if not isinstance(document, dict):
        raise DecodeError("invalid_json", "the value is JSON, but not an object")
    return document
