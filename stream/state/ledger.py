"""The ledger of one partition, folded: what is settled, who is known, what is in doubt.

One topic holds intents, receipts and users; a partition's ledger is the last value of
each key. Everything that must survive a worker is in it, so that the next one starts
from the fold and nothing else.
"""

import hashlib

from sink.wootric.operations import Operation, UpsertEndUser
from stream.errors import DecodeError
from stream.state.ledger_codec import EventEntry, UserEntry, decode

INTENT = "intent/"
EVENT = "event/"
USER = "user/"

REMOTE_ID_HEADER = "remote-id"
EVENT_ID_LENGTH_MAX = 256
"""Segment's limit is 100 characters; what is longer goes by its hash."""


def user_key(operation: Operation) -> str | None:
    """Return the ledger key of the operation's end user; None when nothing names one."""
    name = operation.external_id or operation.email
    return None if not name else USER + bounded(name)


def intent_key(lane: str) -> str:
    """Return the ledger key of a lane's open intent."""
    return INTENT + bounded(lane)


def read_user(value: bytes | None, operation: Operation) -> UserEntry | None:
    """Return the user entry if it is about this operation's user, else None.

    An external id may read like somebody's e-mail: an entry found by e-mail counts only
    if it bears that e-mail.
    """
    if value is None:
        return None
    try:
        entry = decode(value)
    except DecodeError:
        return None
    if not isinstance(entry, UserEntry):
        return None
    if operation.external_id is None and entry.email != operation.email:
        return None
    return entry


def read_event(value: bytes) -> EventEntry | None:
    """Return the receipt; None where a newer version of this service wrote it."""
    try:
        entry = decode(value)
    except DecodeError:
        return None
    return entry if isinstance(entry, EventEntry) else None


def changes_nothing(operation: UpsertEndUser, known: UserEntry) -> bool:
    """Whether Wootric holds everything that the operation says."""
    profile = known.properties
    if known.id is None or profile is None:
        return False
    return (
        operation.email in (None, known.email)
        and operation.external_id in (None, known.external_id)
        and operation.phone_number in (None, known.phone_number)
        and operation.external_created_at in (None, known.created_at)
        and all(
            name in profile and profile[name] == value and type(profile[name]) is type(value)
            for name, value in operation.properties.items()
        )
    )


def bounded(name: str) -> str:
    """Return the name, or its hash where it is too long for a key."""
    if len(name) <= EVENT_ID_LENGTH_MAX:
        return name
    return "blake2b:" + hashlib.blake2b(name.encode(), digest_size=24).hexdigest()
