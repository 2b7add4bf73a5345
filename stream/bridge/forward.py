"""A record of Segment's Kafka destination to a record of the input. Pure."""

from stream import __version__
from stream.bridge.payload import Arrival, arrival
from stream.codec.dead_letter import DeadLetter
from stream.codec.json_text import parse
from stream.errors import DecodeError
from stream.record import Record


def forward(
    record: Record, header: bytes, now_ms: int, *, bytes_max: int
) -> Arrival | DeadLetter | None:
    """Return what is to be written for a record: keyed by user and encoded, or a dead letter.

    None for a record without a value. What is an event, however incomplete, is passed on,
    if it has no more than ``bytes_max`` bytes.
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


def _bounded(found: Arrival, bytes_max: int) -> Arrival:
    if len(found.key or b"") + len(found.value) > bytes_max:
        raise DecodeError("too_large", f"the event has more than {bytes_max:,} bytes")
    return found


def _document(value: bytes) -> dict[str, object]:
    try:
        document = parse(value)
    except ValueError:
        raise DecodeError("invalid_json", "the value is not JSON, or nested too deeply") from None
    if not isinstance(document, dict):
        raise DecodeError("invalid_json", "the value is JSON, but no object")
    return document
