"""From a record to what should become of it: decode, then transform. Pure."""

from dataclasses import dataclass
from typing import TypeAlias

from stream.codec.decode import Decoder
from stream.codec.event import Event
from stream.errors import RecordError
from stream.record import Record
from stream.state.ledger import bounded, event_id, is_forced, replay_of
from stream.transform import Deliver, Rules, Skip, transform

TOMBSTONE = "tombstone"


@dataclass(frozen=True, slots=True)
class Refuse:
    """The record can never be delivered, for this reason."""

    reason: str
    detail: str


Verdict: TypeAlias = Deliver | Skip | Refuse


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A record with its verdict. ``time_ms`` is when the event happened; ``forced`` lets a
    replayed identify win over what is newer.
    """

    record: Record
    event_id: str
    verdict: Verdict
    message_id: str | None = None
    time_ms: int = 0
    replayed: bool = False
    forced: bool = False


def judge(record: Record, decoder: Decoder, rules: Rules) -> Judged:
    """Return what should become of a record; every record has a verdict."""
    if record.value is None:
        return Judged(record=record, event_id=event_id(record, None), verdict=Skip(TOMBSTONE))
    replayed = replay_of(record) is not None
    event: Event | None = None
    verdict: Verdict
    try:
        event = decoder.decode(record.value)
        name = event_id(record, event)
        verdict = transform(event, event_id=name, rules=rules)
    except RecordError as error:
        verdict = Refuse(error.reason, error.detail)
        name = event_id(record, event)
    if isinstance(verdict, Deliver):
        verdict = Deliver(
            operation=verdict.operation, lane=bounded(verdict.lane), notes=verdict.notes
        )
    return Judged(
        record=record,
        event_id=name,
        verdict=verdict,
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
