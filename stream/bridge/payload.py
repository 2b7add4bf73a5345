"""Convert a request's body to records for Kafka: each event or a dead letter of it. Pure."""

import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from stream import __version__
from stream.codec.dead_letter import DeadLetter
from stream.codec.event import encode_event, event_from_parsed, event_key, is_write_key
from stream.codec.json_text import dump, parse
from stream.errors import DecodeError, StreamError
from stream.record import Partition, Record

EVENTS_MAX = 2_500
EVENT_BYTES_MAX = 32 * 1024
MESSAGE_ID_LENGTH_MAX = 100
"""Segment's limits of a batch and of an event. Source: segment.com/docs/connections/sources/
catalog/libraries/server/http-api, and .../spec/common."""


# The JSON text of a body, with a limit on its length


BODY_BYTES_MAX = 500 * 1024
"""Of one request, uncompressed. Source: Segment's limit for a batch."""

_GZIP = 16 + zlib.MAX_WBITS
GZIP_MEMBERS_MAX = 2_500
"""A body may be packed event by event. Each member costs time before the signature is checked."""
GZIP_RATIO_MAX = 100
"""Measured: 10 for an array of the demo's events, 85 for 480 that differ by their ids only, and a
thousand for one character."""
_PIECE_BYTES = 4096
"""What follows a member is copied: little at a time."""


def inflate(data: bytes) -> bytes:
    """Return the decompressed body: the text of all gzip members, one after the other.

    It stops at the first byte beyond a bound.

    Raises:
        RequestRejectedError: it is not gzip, is truncated, exceeds ``BODY_BYTES_MAX``, or is longer
            than an event and than ``GZIP_RATIO_MAX`` times its gzip.
    """
    stream, members, position = zlib.decompressobj(_GZIP), 1, 0
    most = min(BODY_BYTES_MAX, max(EVENT_BYTES_MAX, GZIP_RATIO_MAX * len(data)))
    text = bytearray()
    try:
        while position < len(data):
            if stream.eof:
                stream, members = zlib.decompressobj(_GZIP), members + 1
            piece = data[position : position + _PIECE_BYTES]
            text += stream.decompress(piece, most + 1 - len(text))
            check_length(len(text))
            if len(text) > most:
                detail = f"the body is more than {GZIP_RATIO_MAX} times as long as its gzip"
                raise RequestRejectedError("too_large", detail)
            if members > GZIP_MEMBERS_MAX:
                detail = f"the body has more than {GZIP_MEMBERS_MAX} gzip members"
                raise RequestRejectedError("too_large", detail)
            position += len(piece) - len(stream.unused_data)
    except zlib.error:
        raise RequestRejectedError("undecodable", "the body is not gzip") from None
    if not stream.eof:
        raise RequestRejectedError("undecodable", "the gzip stream is truncated")
    return bytes(text)


def check_length(length: int) -> None:
    """Check the length of a body.

    Raises:
        RequestRejectedError: it exceeds ``BODY_BYTES_MAX``.
    """
    if length > BODY_BYTES_MAX:
        raise RequestRejectedError("too_large", f"the body is longer than {BODY_BYTES_MAX} bytes")


TYPES = frozenset({"identify", "page", "track", "screen", "group", "alias", "delete"})

_IDS = ("userId", "anonymousId")
# Segment documents the webhook of an alias with these instead of the others.
_ALIAS_IDS = ("previousId", "User ID", "Previous ID")


WEBHOOK = Partition("webhook:/v1/events", 0)
"""The origin of the webhook's dead letters. No topic can have the name; the offset is the event's
index in its request."""


@dataclass(frozen=True, slots=True)
class ReceivedEvent:
    """One event, encoded for Kafka. ``type`` is Segment's type, or ``other``."""

    key: bytes | None
    value: bytes
    type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where events go: the input, the framing of its values, and the most bytes of a record."""

    topic: str
    header: bytes
    bytes_max: int


def read_events(text: bytes) -> list[Any]:
    """Return the items of a body: one object, or an array, whose items may be anything.

    Raises:
        RequestRejectedError: it is neither, is empty, or has too many items.
    """
    try:
        body = parse(text)
    except ValueError:
        raise RequestRejectedError(
            "not_json", "the body is not JSON, or nested too deeply"
        ) from None
    if not isinstance(body, list | dict):
        detail = "the body is neither an event nor an array of events"
        raise RequestRejectedError("invalid_event", detail)
    events = body if isinstance(body, list) else [body]
    if not events:
        raise RequestRejectedError("invalid_event", "the array is empty")
    if len(events) > EVENTS_MAX:
        raise RequestRejectedError("too_large", f"there are more than {EVENTS_MAX} events")
    return events


def arrivals(
    events: list[Any],
    target: Target,
    now_ms: int,
    *,
    text_bytes: int = BODY_BYTES_MAX,
    max_age_s: int = 0,
) -> Iterator[ReceivedEvent | DeadLetter]:
    """Yield the events, encoded for the target; a dead letter for each that breaks a rule of
    Segment, or was sent longer than ``max_age_s`` ago (0: any age), so that the others pass.

    ``text_bytes`` is the length of the body's text, an upper bound of each event's length.
    """
    oldest_ms = now_ms - max_age_s * 1000 if max_age_s else None
    for number, event in enumerate(events):
        try:
            yield _checked(event, target, text_bytes, oldest_ms)
        except DecodeError as error:
            yield _letter(event, number, error, now_ms, target)


def _checked(event: Any, target: Target, text_bytes: int, oldest_ms: int | None) -> ReceivedEvent:
    if not isinstance(event, dict):
        raise DecodeError("invalid_event", "the event is not a JSON object")
    if oldest_ms is not None:
        _check_age(event, oldest_ms)
    _check(event)
    if text_bytes > EVENT_BYTES_MAX and len(dump(event).encode()) > EVENT_BYTES_MAX:
        raise DecodeError("too_large", f"the event is longer than {EVENT_BYTES_MAX} bytes")
    return arrival(event, target.header)


def _check_age(document: dict[str, Any], oldest_ms: int) -> None:
    event = event_from_parsed(document)
    sent_at_ms = event.received_at_ms if event.sent_at_ms is None else event.sent_at_ms
    if sent_at_ms is None or sent_at_ms < oldest_ms:
        detail = "sentAt, without it receivedAt, is older than BRIDGE__MAX_AGE_S, or missing"
        raise DecodeError("too_old", detail)


def _letter(event: Any, number: int, error: DecodeError, now_ms: int, target: Target) -> DeadLetter:
    fields = event if isinstance(event, dict) else {}
    found = event_from_parsed(fields)
    kept = {name: value for name, value in fields.items() if not is_write_key(name)}
    return DeadLetter(
        key=event_key(found),
        value=dump(kept if isinstance(event, dict) else event).encode(),
        reason=error.reason,
        detail=error.detail,
        origin=WEBHOOK,
        offset=number,
        message_id=found.message_id,
        failed_at_ms=now_ms,
        app_version=__version__,
        input_topic=target.topic,
    ).fitting(target.bytes_max)


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


def _check(document: dict[str, Any]) -> None:
    message_id = document.get("messageId")
    if message_id is not None and type(message_id) not in (str, int):
        raise DecodeError("invalid_event", "messageId is not text")
    if isinstance(message_id, str) and len(message_id) > MESSAGE_ID_LENGTH_MAX:
        detail = f"messageId is longer than {MESSAGE_ID_LENGTH_MAX} characters"
        raise DecodeError("invalid_event", detail)
    names = _IDS + (_ALIAS_IDS if document.get("type") == "alias" else ())
    if not any(_is_id(document.get(name)) for name in names):
        raise DecodeError("invalid_event", "there is neither userId nor anonymousId")


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
    "too_old",
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
    "too_old": 400,
    "busy": 503,
    "unavailable": 503,
}
"""Of these, Segment retries only 408 and 503, for four hours."""


class RequestRejectedError(StreamError):
    """The request is rejected as a whole; the response contains the reason.

    ``detail`` quotes nothing of the request.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: Reason = reason
        self.detail = detail

    @property
    def status(self) -> int:
        """The HTTP status of the response."""
        return STATUS[self.reason]


# Conversion of a record of Segment's Kafka destination to a record of the input


def forward(record: Record, target: Target, now_ms: int) -> ReceivedEvent | DeadLetter | None:
    """Return the output for a record: keyed by user and encoded, or a dead letter.

    None for a record without a value. Any event with at most ``bytes_max`` bytes is forwarded,
    however incomplete.
    """
    if record.value is None:
        return None
    try:
        return _bounded(convert(record.value, target.header), target.bytes_max)
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
            input_topic=target.topic,
        ).fitting(target.bytes_max)


def convert(value: bytes, header: bytes) -> ReceivedEvent:
    """Return the record of an event's JSON text.

    Raises:
        DecodeError: it is not a JSON object.
    """
    return arrival(_document(value), header)


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
