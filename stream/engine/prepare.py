"""From a record to what should become of it: decode, then transform. Pure."""

import hashlib
from dataclasses import dataclass
from typing import TypeAlias

from stream.codec.decode import Decoder
from stream.codec.event import Event
from stream.errors import RecordError
from stream.record import Record
from stream.state.ledger import bounded
from stream.transform import Deliver, Rules, Skip, transform

TOMBSTONE = "tombstone"


@dataclass(frozen=True, slots=True)
class Invalid:
    """The record can never be delivered, for this reason."""

    reason: str
    detail: str


PreparationResult: TypeAlias = Deliver | Skip | Invalid


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedRecord:
    """A record with its verdict. ``time_ms`` is when the event happened; ``forced`` lets a
    replayed identify win over what is newer.
    """

    record: Record
    event_id: str
    result: PreparationResult
    message_id: str | None = None
    time_ms: int = 0
    replayed: bool = False
    forced: bool = False


def prepare(record: Record, decoder: Decoder, rules: Rules) -> PreparedRecord:
    """Return what should become of a record; every record has a verdict."""
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
        result = transform(event, event_id=name, rules=rules)
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
    """Return when the event happened; the record's own time where it does not say.

    A replay's own time is that of the replay: an event that does not say when it happened
    counts as older than anything that is known. Nothing happens after it was written down: a
    device whose clock is years ahead would make everything else stale.
    """
    if event is not None and event.timestamp_ms is not None:
        written_ms = record.timestamp_ms
        if written_ms <= 0 or event.timestamp_ms <= written_ms:
            return event.timestamp_ms
    return 0 if replayed else record.timestamp_ms


REPLAY_HEADER = "x-replay"
FORCE_HEADER = "x-replay-force"

POSITION_LENGTH_MAX = 100


def event_id(record: Record, event: Event | None) -> str:
    """Return what an event is known by: its messageId, else where its bytes lie.

    A replayed dead letter carries the letter's own place in the header ``x-replay``,
    which makes it another event than the one that was refused, and the same event however
    often that letter is replayed: where the replays lie does not matter then.
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
    """Return the place of the dead letter that this record is a replay of, or None."""
    position = _header(record, REPLAY_HEADER)
    return position if position is None or len(position) <= POSITION_LENGTH_MAX else None


def is_forced(record: Record, event: Event | None) -> bool:
    """Whether this is a replayed identify that is to win over what is newer.

    It is another event than the replay without force, which may have been settled as
    stale. Any other event has nothing to win over: force must not make it a second one.
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
