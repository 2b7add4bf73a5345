"""A record of Segment's Kafka destination to a record of the input. Pure."""

from stream import __version__
from stream.bridge.intake import Arrival, arrival
from stream.dead_letter import DeadLetter
from stream.errors import DecodeError
from stream.json_value import parse
from stream.record import Record


def forward(record: Record, header: bytes, now_ms: int) -> Arrival | DeadLetter | None:
    """Return what is to be written for a record: keyed by user and encoded, or a dead letter.

    None for a record without a value. What is an event, however incomplete, is passed on.
    """
    if record.value is None:
        return None
    try:
        return arrival(_document(record.value), header)
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
        )


def _document(value: bytes) -> dict[str, object]:
    try:
        document = parse(value)
    except ValueError:
        raise DecodeError("invalid_json", "the value is not JSON, or nested too deeply") from None
    if not isinstance(document, dict):
        raise DecodeError("invalid_json", "the value is JSON, but no object")
    return document
