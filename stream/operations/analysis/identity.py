"""Whose an event is, and how little of a person is shown. Pure."""

from collections.abc import Collection, Iterator
from typing import Any

from stream.codec.decode import Decoder
from stream.codec.event import Event
from stream.errors import RecordError
from stream.record import Record
from stream.state.ledger_codec import UserEntry
from stream.transform.lookup import find

RAW_NAME_LENGTH_MIN = 6
"""A shorter name would be found in any bytes by chance."""


def names_of(user: str, entries: Collection[UserEntry]) -> frozenset[str]:
    """Return what a person is known by: the name that was given, and what their entries add."""
    found = {user}
    for entry in entries:
        found |= {name for name in (entry.external_id, entry.email, entry.phone_number) if name}
    return frozenset(found)


def is_about(record: Record, names: Collection[str], decoder: Decoder) -> bool:
    """Whether a record is about somebody who goes by one of these names.

    Bytes that nobody can read are about them if a name that is long enough is among them.
    """
    if record.key is not None and record.key.decode("utf-8", "replace") in names:
        return True
    value = record.value or b""
    among = [name for name in names if name.encode() in value]
    if not among:
        return False
    try:
        event = decoder.decode(value)
    except RecordError:
        return any(len(name) >= RAW_NAME_LENGTH_MIN for name in among)
    return any(name in names for name in _named(event))


def _named(event: Event) -> Iterator[str]:
    for name in (event.user_id, event.anonymous_id):
        if name:
            yield name
    context = event.context if isinstance(event.context, dict) else {}
    for traits in (event.traits, context.get("traits")):
        if isinstance(traits, dict):
            found: tuple[Any, Any] = (find(traits, "email"), find(traits, "phone"))
            yield from (str(value) for value in found if value)


def masked(text: str | None) -> str | None:
    """Return an e-mail or a number that can be recognised by who knows it, and by nobody else."""
    if not text:
        return text
    name, at, host = text.partition("@")
    return f"{name[:1]}***{at}{host}" if at else f"***{text[-2:]}"
