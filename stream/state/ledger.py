"""The ledger: receipts, open intents and end users of one partition.

All three are in one topic; a partition's state is the last value of each key. Everything that has
to survive a worker is in it: the next worker starts from the restored state and nothing else.
"""

import hashlib
from enum import StrEnum
from functools import cache
from typing import Any, NamedTuple, TypeAlias, assert_never

from msgspec import Struct

from sink.delivery import EffectClass, EndUser, Operation, Scalar
from stream.codec import avro
from stream.codec.avro import HEADER_LENGTH, Schema, all_packaged, packaged, read
from stream.codec.json_text import dump, parse
from stream.errors import DecodeError

# Values of the ledger: ``schemas/avro/ledger_entry.avsc``


VERSION = 1

_LEDGER_ENTRY = packaged("ledger_entry")
_WRITERS = all_packaged()
_NAMESPACE = "wootric.stream."


class EventOutcome(StrEnum):
    """Outcome of an event."""

    DELIVERED = "DELIVERED"
    SKIPPED = "SKIPPED"
    REJECTED = "REJECTED"
    PARKED = "PARKED"


class EventEntry(Struct, frozen=True, kw_only=True, gc=False):
    """A receipt: the event at this offset is settled.

    ``request_id`` names the request that contained it, ``remote_id`` what it created at the
    destination.
    """

    outcome: EventOutcome
    offset: int
    at_ms: int
    reason: str | None = None
    request_id: str | None = None
    remote_id: int | None = None
    status: int | None = None
    attempts: int = 0


class Member(NamedTuple):
    """An event contained in a request."""

    event_id: str
    offset: int


class IntentEntry(Struct, frozen=True, kw_only=True, gc=False):
    """A request that may be sent once this entry is committed.

    ``operation`` is the text of the operation, None if it is too large to be stored;
    ``operation_hash`` is always the hexadecimal SHA-256 of that text.
    """

    request_id: str
    effect: EffectClass
    members: tuple[Member, ...]
    operation: str | None
    operation_hash: str
    first_attempt_at_ms: int
    instance: str


class UserEntry(Struct, frozen=True, kw_only=True, gc=False):
    """An end user as of the last settled request.

    With ``sent_at_ms`` of 0, only the time of the newest event is known.
    """

    end_user: EndUser
    sent_at_ms: int
    newest_event_at_ms: int | None = None


Entry: TypeAlias = EventEntry | IntentEntry | UserEntry


def encode(entry: Entry) -> bytes:
    """Return the ledger value of an entry."""
    match entry:
        case EventEntry():
            fields = _event_fields(entry)
        case IntentEntry():
            fields = _intent_fields(entry)
        case UserEntry():
            fields = _user_fields(entry)
        case _:
            assert_never(entry)
    schema, head = _branch(_LEDGER_ENTRY, VERSION, type(entry).__name__)
    return avro.encode(schema, fields, head)


@cache
def _branch(ledger_entry: Schema, version: int, name: str) -> tuple[Schema, bytes]:
    """Return the schema of an entry of this name, and all bytes of the ledger value before it.

    These are the same for all such entries, and writing the entry alone takes two thirds of the
    time. Source: Avro 1.12, "Binary Encoding": a record is its fields, and a value of a union is
    its branch's number and the value.
    """
    plain: Any = ledger_entry.plain
    _, entry = plain["fields"]
    names = [branch["name"] for branch in entry["type"]]
    number = names.index(_NAMESPACE + name)
    head = avro.encode(Schema.of("int"), version, ledger_entry.header)
    head = avro.encode(Schema.of("long"), number, head)
    return Schema.of(entry["type"][number]), head


def decode(data: bytes) -> Entry:
    """Return the entry of a ledger value.

    Raises:
        UnknownSchemaError: a newer version of this service wrote it.
        DecodeError: the bytes are not an entry.
    """
    writer = _WRITERS.writer_of(data)
    value = read(data, HEADER_LENGTH, writer, _LEDGER_ENTRY, name_records=True)
    if value["version"] > VERSION:
        raise DecodeError("unknown_version", f"the ledger entry has version {value['version']}")
    name, fields = value["entry"]
    match name.removeprefix(_NAMESPACE):
        case "EventEntry":
            return _event_entry(fields)
        case "IntentEntry":
            return _intent_entry(fields)
        case _:
            return _user_entry(fields)


def _event_fields(entry: EventEntry) -> dict[str, Any]:
    return {
        "outcome": entry.outcome,
        "reason": entry.reason,
        "offset": entry.offset,
        "at": entry.at_ms,
        "requestId": entry.request_id,
        "remoteId": entry.remote_id,
        "status": entry.status,
        "attempts": entry.attempts,
    }


def _event_entry(fields: dict[str, Any]) -> EventEntry:
    return EventEntry(
        outcome=EventOutcome(fields["outcome"]),
        reason=fields["reason"],
        offset=fields["offset"],
        at_ms=fields["at"],
        request_id=fields["requestId"],
        remote_id=fields["remoteId"],
        status=fields["status"],
        attempts=fields["attempts"],
    )


def _intent_fields(entry: IntentEntry) -> dict[str, Any]:
    return {
        "requestId": entry.request_id,
        "effect": entry.effect,
        "members": [{"eventId": name, "offset": offset} for name, offset in entry.members],
        "operation": entry.operation,
        "operationHash": entry.operation_hash,
        "firstAttemptAt": entry.first_attempt_at_ms,
        "instance": entry.instance,
    }


def _intent_entry(fields: dict[str, Any]) -> IntentEntry:
    return IntentEntry(
        request_id=fields["requestId"],
        effect=EffectClass(fields["effect"]),
        members=tuple(Member(m["eventId"], m["offset"]) for m in fields["members"]),
        operation=fields["operation"],
        operation_hash=fields["operationHash"],
        first_attempt_at_ms=fields["firstAttemptAt"],
        instance=fields["instance"],
    )


def _user_fields(entry: UserEntry) -> dict[str, Any]:
    properties = entry.end_user.properties
    return {
        "id": entry.end_user.id,
        "email": entry.end_user.email,
        "externalId": entry.end_user.external_id,
        "phoneNumber": entry.end_user.phone_number,
        "createdAt": entry.end_user.external_created_at,
        "properties": None if properties is None else dump(properties),
        "sentAt": entry.sent_at_ms,
        "newestEventAt": entry.newest_event_at_ms,
    }


def _user_entry(fields: dict[str, Any]) -> UserEntry:
    properties = fields["properties"]
    return UserEntry(
        end_user=EndUser(
            id=fields["id"],
            email=fields["email"],
            external_id=fields["externalId"],
            phone_number=fields["phoneNumber"],
            external_created_at=fields["createdAt"],
            properties=None if properties is None else _properties(properties),
        ),
        sent_at_ms=fields["sentAt"],
        newest_event_at_ms=fields["newestEventAt"],
    )


def _properties(text: str) -> dict[str, Scalar]:
    try:
        properties = parse(text)
    except ValueError:
        raise DecodeError("invalid_json", "the user's properties are not JSON") from None
    if not isinstance(properties, dict):
        raise DecodeError("invalid_json", "the user's properties are not an object")
    return properties


INTENT = "intent/"
EVENT = "event/"
USER = "user/"

REMOTE_ID_HEADER = "remote-id"
EVENT_ID_LENGTH_MAX = 256
"""Segment's limit is 100 characters; longer ids are replaced by their hash."""


def user_key(operation: Operation) -> str | None:
    """Return the ledger key of the operation's end user; None if the operation names none."""
    name = operation.external_id or operation.email
    return None if not name else USER + bounded(name)


def intent_key(lane: str) -> str:
    """Return the ledger key of a lane's open intent."""
    return INTENT + bounded(lane)


def try_decode(value: bytes) -> Entry | None:
    """Return the entry of a ledger value; None if a newer version of this service wrote it."""
    try:
        return decode(value)
    except DecodeError:
        return None


def read_user(value: bytes | None, operation: Operation) -> UserEntry | None:
    """Return the user entry if it belongs to this operation's user, else None.

    An external id may equal another user's e-mail: an entry found by e-mail is valid only if it has
    that e-mail.
    """
    if value is None:
        return None
    entry = try_decode(value)
    if not isinstance(entry, UserEntry):
        return None
    if operation.external_id is None and entry.end_user.email != operation.email:
        return None
    return entry


def read_event(value: bytes) -> EventEntry | None:
    """Return the receipt; None if a newer version of this service wrote it."""
    entry = try_decode(value)
    return entry if isinstance(entry, EventEntry) else None


def bounded(name: str) -> str:
    """Return the name, or its hash if it is too long for a key."""
    if len(name) <= EVENT_ID_LENGTH_MAX:
        return name
    return "blake2b:" + hashlib.blake2b(name.encode(), digest_size=24).hexdigest()
