"""Decode and transform a record. Pure."""

import hashlib
from typing import Protocol, TypeAlias

from msgspec import Struct

from stream.codec.decode import Decoder
from stream.codec.event import Event, is_time_ms
from stream.errors import RecordError
from stream.record import Deliver, Record, Skip, TransformResult
from stream.state.ledger import bounded

TOMBSTONE = "tombstone"


class Invalid(Struct, frozen=True, gc=False):
    """The record can never be delivered."""

    reason: str
    detail: str


PreparationResult: TypeAlias = TransformResult | Invalid


class PreparedRecord(Struct, frozen=True, kw_only=True, gc=False):
    """A record with the result of its transform.

    ``time_ms`` is when the event happened; ``forced`` marks a replayed identify that wins over
    newer data.
    """

    record: Record
    event_id: str
    result: PreparationResult
    message_id: str | None = None
    time_ms: int = 0
    replayed: bool = False
    forced: bool = False


class Transform(Protocol):
    """Maps one event to one operation of a destination. Pure."""

    def __call__(
        self, event: Event, *, event_id: str, record_time_ms: int | None = None
    ) -> TransformResult:
        """Return the operation, or the reason for which there is none.

        ``event_id`` identifies the event: its message id, otherwise one made by the caller.

        Raises:
            TransformError: the event can never be mapped.
        """


def prepare(record: Record, decoder: Decoder, transform: Transform) -> PreparedRecord:
    """Decode and transform a record. Never raises for bad input: the result is then ``Invalid``."""
    if record.value is None:
        return PreparedRecord(
            record=record, event_id=event_id(record, None), result=Skip(TOMBSTONE)
        )
    replayed = replay_of(record) is not None
    event: Event | None = None
    result: PreparationResult
    try:
        event = decoder.decode(record.value)
        name = event_id(record, event)
        record_time_ms = record.timestamp_ms if record.timestamp_ms > 0 else None
        result = transform(event, event_id=name, record_time_ms=record_time_ms)
    except RecordError as error:
        result = Invalid(error.reason, error.detail)
        name = event_id(record, event)
    if isinstance(result, Deliver):
        result = Deliver(operation=result.operation, lane=bounded(result.lane), notes=result.notes)
    return PreparedRecord(
        record=record,
        event_id=name,
        result=result,
        message_id=event.message_id if event is not None else None,
        time_ms=event_time_ms(event, record, replayed=replayed),
        replayed=replayed,
        forced=is_forced(record, event),
    )


def event_time_ms(event: Event | None, record: Record, *, replayed: bool) -> int:
    """Return when the event happened; the record's timestamp if the event has no usable time.

    0 if neither has one: a timestamp in microseconds is none.

    A replayed record's timestamp is that of the replay, so a replayed event without a time counts
    as older than anything known (0). An event time after the record's timestamp is ignored: a
    device whose clock is years ahead would make everything else stale.
    """
    written_ms = record.timestamp_ms if is_time_ms(record.timestamp_ms) else 0
    happened_ms = event.timestamp_ms if event is not None else None
    if happened_ms is not None and (written_ms <= 0 or happened_ms <= written_ms):
        return happened_ms
    return 0 if replayed else written_ms


REPLAY_HEADER = "x-replay"
FORCE_HEADER = "x-replay-force"

POSITION_LENGTH_MAX = 100


def event_id(record: Record, event: Event | None) -> str:
    """Return the id of an event: its messageId, else its partition, offset and hash.

    A replayed dead letter carries the dead letter's own position in the header ``x-replay``. This
    makes it a different event from the rejected one, and the same event for every replay of that
    dead letter, wherever the replays are stored.
    """
    message_id = event.message_id if event is not None else None
    replay = replay_of(record)
    position = "" if replay is not None else f"{record.offset}/"
    if message_id:
        name = message_id
    else:
        digest = hashlib.blake2b(record.value or b"", digest_size=8).hexdigest()
        name = f"{record.partition.topic}/{record.partition.number}/{position}{digest}"
    if replay is not None:
        name = f"{name}#{replay}"
    if is_forced(record, event):
        name = f"{name}#force"
    return bounded(name)


def replay_of(record: Record) -> str | None:
    """Return the position of the dead letter that this record replays, or None."""
    position = _header(record, REPLAY_HEADER)
    return position if position is None or len(position) <= POSITION_LENGTH_MAX else None


def is_forced(record: Record, event: Event | None) -> bool:
    """Return whether this is a replayed identify that wins over newer data.

    It is a different event from the replay without force, which may have been settled as stale.
    Other events have nothing to win over: the header does not make them a second event.
    """
    return (
        event is not None
        and event.type == "identify"
        and replay_of(record) is not None
        and _header(record, FORCE_HEADER) is not None
    )


def _header(record: Record, name: str) -> str | None:
    for other, value in record.headers:
        if other == name and value is not None:
            return value.decode("utf-8", "replace")
    return None
