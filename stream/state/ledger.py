"""The ledger of one partition, folded: what is settled, who is known, what is in doubt.

One topic holds intents, receipts and users; a partition's ledger is the last value of
each key. Everything that must survive a worker is in it, so that the next one starts
from the fold and nothing else.
"""

import hashlib
from collections.abc import Sequence
from typing import Protocol, TypeAlias

from sink.wootric.operations import Operation, UpsertEndUser
from stream.codec.event import Event
from stream.errors import DecodeError
from stream.record import Record
from stream.state.ledger_codec import EventEntry, UserEntry, decode

INTENT = "intent/"
EVENT = "event/"
USER = "user/"

REMOTE_ID_HEADER = "remote-id"
REPLAY_HEADER = "x-replay"
FORCE_HEADER = "x-replay-force"

RawEntry: TypeAlias = tuple[bytes, bytes | None, int | None]
"""A ledger record as it is read: key, value, and the id that its receipt names."""

PLACE_LENGTH_MAX = 100
EVENT_ID_LENGTH_MAX = 256
"""Segment's limit is 100 characters; what is longer goes by its hash."""


class State(Protocol):
    """Where a partition's fold is kept: in memory, or in a store on disk."""

    def get(self, key: str) -> bytes | None:
        """Return the last value of a key, or None."""

    def put(self, key: str, value: bytes | None, remote_id: int | None = None) -> None:
        """Take over one committed ledger record, in order; None deletes."""

    def intents(self) -> dict[str, bytes]:
        """Return the open intents by lane."""

    def claims(self, remote_id: int) -> bool:
        """Whether a receipt names this response or decline."""

    def fold(self, entries: Sequence[RawEntry], covered: int) -> None:
        """Take over committed ledger records as they are read, in order, before the first put.

        What was folded before may come again. ``covered`` is as for ``save``.
        """

    def save(self, covered: int | None) -> None:
        """Note that what was put since the last time is committed, all of it or nothing.

        ``covered`` is the ledger's offset before which nothing is left to be taken over; None
        where nobody knows it.
        """

    def trim(self, begin: int) -> None:
        """Note that the ledger has nothing before this offset any more: nor need the state."""

    def close(self) -> None:
        """Let go of what is held outside of memory. Nothing is put after this."""

    @property
    def disk_bytes(self) -> int:
        """What it takes on disk."""

    @property
    def unwritten(self) -> int:
        """How many keys a disk has refused and memory holds instead."""

    def __len__(self) -> int:
        """Return the number of keys that are held, about."""


class MemoryState:
    """A fold held in memory."""

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}
        self._claimed: set[int] = set()

    def get(self, key: str) -> bytes | None:
        """Return the last value of a key, or None."""
        return self._values.get(key)

    def put(self, key: str, value: bytes | None, remote_id: int | None = None) -> None:
        """Take over one committed ledger record, in order; None deletes."""
        if value is None:
            self._values.pop(key, None)
        else:
            self._values[key] = value
        if remote_id is not None:
            self._claimed.add(remote_id)

    def intents(self) -> dict[str, bytes]:
        """Return the open intents by lane."""
        return {
            key.removeprefix(INTENT): value
            for key, value in self._values.items()
            if key.startswith(INTENT)
        }

    def claims(self, remote_id: int) -> bool:
        """Whether a receipt names this response or decline."""
        return remote_id in self._claimed

    def fold(self, entries: Sequence[RawEntry], covered: int) -> None:  # noqa: ARG002
        """Take over committed ledger records as they are read, in order."""
        for key, value, remote_id in entries:
            self.put(key.decode(), value, remote_id)

    def save(self, covered: int | None) -> None:
        """Do nothing: memory is gone with its worker, and nobody asks how far it reached."""

    def trim(self, begin: int) -> None:
        """Do nothing: memory is emptied by the next restore."""

    def close(self) -> None:
        """Do nothing."""

    @property
    def disk_bytes(self) -> int:
        """Nothing is on disk."""
        return 0

    @property
    def unwritten(self) -> int:
        """Nothing is refused."""
        return 0

    def __len__(self) -> int:
        """Return the number of keys that are held."""
        return len(self._values)


def event_id(record: Record, event: Event | None) -> str:
    """Return what an event is known by: its messageId, else where its bytes lie.

    A replayed dead letter carries the letter's own place in the header ``x-replay``,
    which makes it another event than the one that was refused, and the same event however
    often that letter is replayed: where the replays lie does not matter then.
    """
    message_id = event.message_id if event is not None else None
    replay = replay_of(record)
    place = "" if replay is not None else f"{record.offset}/"
    if message_id:
        name = message_id
    else:
        digest = hashlib.blake2b(record.value or b"", digest_size=8).hexdigest()
        name = f"{record.partition.topic}/{record.partition.number}/{place}{digest}"
    if replay is not None:
        name = f"{name}#{replay}"
    if is_forced(record, event):
        name = f"{name}#force"
    return bounded(name)


def replay_of(record: Record) -> str | None:
    """Return the place of the dead letter that this record is a replay of, or None."""
    place = _header(record, REPLAY_HEADER)
    return place if place is None or len(place) <= PLACE_LENGTH_MAX else None


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
