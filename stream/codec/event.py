"""The decoded Segment call, its JSON form and its Avro form."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from msgspec import Struct

from stream.codec.avro import encode, packaged
from stream.codec.json_text import canonical, dump
from stream.codec.segment_time import read_time_ms
from stream.errors import DecodeError

NOTHING: Mapping[str, Any] = MappingProxyType({})


class Event(Struct, frozen=True, kw_only=True, gc=False):
    """A Segment call.

    ``traits``, ``properties``, ``context`` and ``integrations`` are the parsed JSON values,
    unchanged: an object is expected, but any JSON value is possible. ``extra`` has top-level
    fields without an attribute, and values of the wrong type for their attribute. Times are in
    Unix milliseconds, of the years 1 to 9999. ``is_null``: the value is Avro's null and not a call.
    """

    type: str | None = None
    message_id: str | None = None
    user_id: str | None = None
    anonymous_id: str | None = None
    event: str | None = None
    name: str | None = None
    timestamp_ms: int | None = None
    original_timestamp_ms: int | None = None
    sent_at_ms: int | None = None
    received_at_ms: int | None = None
    traits: Any = NOTHING
    properties: Any = NOTHING
    context: Any = NOTHING
    integrations: Any = NOTHING
    extra: Mapping[str, Any] = NOTHING
    is_null: bool = False


# Segment's JSON calls to events, and events to Avro.
#
# Source: Segment's HTTP API and common fields (segment.com/docs/connections/spec/common).


SEGMENT_EVENT = packaged("segment_event")

TEXTS: Mapping[str, str] = MappingProxyType(
    {
        "messageId": "message_id",
        "type": "type",
        "userId": "user_id",
        "anonymousId": "anonymous_id",
        "event": "event",
        "name": "name",
    }
)
TIMES: Mapping[str, str] = MappingProxyType(
    {
        "timestamp": "timestamp_ms",
        "originalTimestamp": "original_timestamp_ms",
        "sentAt": "sent_at_ms",
        "receivedAt": "received_at_ms",
    }
)
DOCUMENTS = ("traits", "properties", "context", "integrations")

_TIME_MS_MIN = -62_135_596_800_000  # the year 1
_TIME_MS_MAX = 253_402_300_799_999  # the end of the year 9999

_SECRET = "writekey"  # noqa: S105  (the name of one)
_EXACT_MAX = 2**53  # from here on a double may stand for several integers


def event_from_json(document: Mapping[str, Any]) -> Event:
    """Return the event of a call's JSON object, without its write key.

    A value that does not fit its attribute stays in ``extra`` under its name, a time beyond the
    year 9999 too; a number beyond a double is null, as in JavaScript.

    Raises:
        DecodeError: the object cannot be written as JSON, or is nested too deeply. A caller that
            must forward everything sends the bytes unchanged: they become a dead letter.
    """
    try:
        fields: dict[str, Any] = canonical(document)
    except ValueError as error:
        raise DecodeError("invalid_json", f"the event is {error}") from None
    return event_from_parsed(fields)


def event_from_parsed(fields: Mapping[str, Any]) -> Event:
    """Return the event of an object returned by ``stream.codec.json_text.parse``; otherwise like
    ``event_from_json``.
    """
    attributes: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for name, value in fields.items():
        if value is None or is_write_key(name):
            continue
        if name in DOCUMENTS:
            attributes[name] = value
        elif (text := TEXTS.get(name)) and (string := _text(value)) is not None:
            attributes[text] = string
        elif (time := TIMES.get(name)) and (time_ms := _time_ms(value)) is not None:
            attributes[time] = time_ms
        else:
            extra[name] = value
    return Event(**attributes, extra=extra or NOTHING)


def is_write_key(name: str) -> bool:
    """Return whether a field's name is that of Segment's write key, which is not stored."""
    return name.replace("_", "").lower() == _SECRET


def encode_event(event: Event, header: bytes = SEGMENT_EVENT.header) -> bytes:
    """Return the event in Avro: a single object, or with the framing of another ``header``."""
    datum = {name: getattr(event, attribute) for name, attribute in TEXTS.items()}
    datum |= {name: getattr(event, attribute) for name, attribute in TIMES.items()}
    datum |= {name: _json(getattr(event, name)) for name in (*DOCUMENTS, "extra")}
    return encode(SEGMENT_EVENT, datum, header)


def is_time_ms(time_ms: int) -> bool:
    """Return whether Unix milliseconds are within the years 1 to 9999.

    A time in microseconds that is read as milliseconds is beyond them.
    """
    return _TIME_MS_MIN <= time_ms <= _TIME_MS_MAX


def event_key(event: Event) -> bytes | None:
    """Return the key that keeps a user's events in one partition and in order."""
    key = event.user_id or event.anonymous_id or event.message_id
    return key.encode() if key else None


def _text(value: Any) -> str | None:
    """Return a scalar as text; None for a value that cannot be an id or a name."""
    match value:
        case str():
            return value
        case bool():
            return None
        case int():
            return str(value)
        case float() if value.is_integer() and abs(value) < _EXACT_MAX:
            return str(int(value))
        case _:
            return None


def _time_ms(value: Any) -> int | None:
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return None
    time_ms = read_time_ms(value)
    return time_ms if time_ms is not None and is_time_ms(time_ms) else None


def _json(value: Any) -> str | None:
    """Return JSON text; None for an empty object."""
    return None if isinstance(value, Mapping) and not value else dump(value)
