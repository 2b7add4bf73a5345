"""The intent of a work: written before anything is sent, read by the next owner."""

import hashlib

import orjson

from sink.wootric.operations import from_fields, to_fields
from stream.engine.lanes import Lane, Work
from stream.errors import DecodeError
from stream.state.ledger_codec import IntentEntry, Member, decode, encode

OPERATION_BYTES_MAX = 256 * 1024
"""A larger operation leaves only its hash: it is made anew from its events, which are
read again in any case."""


def write_intent(work: Work, *, instance: str, now_ms: int) -> bytes:
    """Return the ledger value of a frozen work."""
    body = orjson.dumps(to_fields(work.planned), option=orjson.OPT_SORT_KEYS)
    return encode(
        IntentEntry(
            request_id=work.request_id,
            effect=work.planned.effect,
            members=tuple(Member(m.event_id, m.record.offset) for m in work.members),
            operation=body.decode() if len(body) <= OPERATION_BYTES_MAX else None,
            operation_hash=hashlib.sha256(body).hexdigest(),
            first_attempt_at_ms=now_ms,
            instance=instance,
        )
    )


def read_intent(lane: Lane, value: bytes) -> Work:
    """Return the work of an intent that somebody left open, its events still to be read.

    Raises:
        DecodeError: the value is no intent.
    """
    intent = decode(value)
    if not isinstance(intent, IntentEntry):
        raise DecodeError("not_an_intent", "the ledger holds another entry under an intent's key")
    try:
        operation = (
            None if intent.operation is None else from_fields(orjson.loads(intent.operation))
        )
    except (KeyError, TypeError, orjson.JSONDecodeError) as error:
        raise DecodeError("unknown_operation", "a newer version wrote this intent") from error
    return Work(
        lane=lane,
        operation=operation,
        expected={member.event_id: member.offset for member in intent.members},
        request_id=intent.request_id,
        effect=intent.effect,
        in_doubt=True,
        not_before=float("inf"),
    )
