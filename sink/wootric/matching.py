"""Match Wootric's objects with operations, and detect identity conflicts. Pure."""

import hashlib
import json
import re
from collections import OrderedDict
from collections.abc import Container, Iterable, Mapping
from typing import Any, TypeAlias

from msgspec.structs import replace

from sink.delivery import Conflict, EndUser
from sink.wootric.operations import CreateDecline, CreateResponse, DeleteEndUser, UpsertEndUser
from sink.wootric.replies import identifier, message, seconds, taken, whole


def candidates(
    listed: Iterable[Mapping[str, Any]],
    operation: CreateResponse | CreateDecline,
    *,
    claimed: Container[int],
) -> list[Mapping[str, Any]]:
    """Return the items that may be the effect of ``operation`` and that no receipt ``claimed``."""
    return [
        item for item in listed if is_effect_of(item, operation) and identifier(item) not in claimed
    ]


def claim(end_user_id: int, operation: CreateResponse | CreateDecline) -> int:
    """Return the number that stands for the fields of an end user's survey."""
    fields = [end_user_id, operation.type, operation.created_at, operation.origin_url or ""]
    if isinstance(operation, CreateResponse):
        fields += [operation.score, operation.text or ""]
    digest = hashlib.blake2b(json.dumps(fields).encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 2


def is_effect_of(item: Mapping[str, Any], operation: CreateResponse | CreateDecline) -> bool:
    """Return whether no shown field of ``item`` contradicts ``operation``.

    Wootric stores no marker of the event. A field that the list does not show, or that the
    operation leaves to Wootric, is not compared: a list of declines shows no origin.
    """
    at = operation.created_at
    if at is not None and "created_at" in item and seconds(item["created_at"]) != at:
        return False
    if isinstance(operation, CreateResponse):
        if "score" in item and whole(item["score"]) != operation.score:
            return False
        if not _same_text(item, "text", operation.text):
            return False
    return _same_text(item, "origin_url", operation.origin_url)


def shows_all(item: Mapping[str, Any], operation: CreateResponse | CreateDecline) -> bool:
    """Return whether ``item`` shows every field that distinguishes operations."""
    names = ["created_at", "origin_url"]
    if isinstance(operation, CreateResponse):
        names += ["score", "text"]
    return all(name in item for name in names)


def _same_text(item: Mapping[str, Any], name: str, wanted: str | None) -> bool:
    return name not in item or (item[name] or "") == (wanted or "")


# Identities: conflicts, and end users that several Segment users share.
#
# At Wootric an e-mail belongs to one end user; whether external ids and phone numbers do is not
# documented. docs/explanation/identity.md has the policy.


SHARED_MAX = 10_000
OfEndUser: TypeAlias = UpsertEndUser | CreateResponse | CreateDecline | DeleteEndUser
"""Operations on one end user at the API."""

IDENTITIES = ("email", "phone_number", "external_id")

_TAKEN = re.compile(r"(e-?mail|phone|external)[a-z _]{0,40} has already been taken")
_FIELDS = {
    "email": "email",
    "e-mail": "email",
    "phone": "phone_number",
    "external": "external_id",  # "External" is what Rails makes of external_id
}


TAKEN = {
    "email": Conflict.EMAIL_TAKEN,
    "phone_number": Conflict.PHONE_NUMBER_TAKEN,
    "external_id": Conflict.EXTERNAL_ID_TAKEN,
}


def conflicting_fields(status: int, body: bytes | None) -> frozenset[str]:
    """Return the fields that another end user holds according to a rejection.

    All identities if the rejection does not name a field; none if it has another cause.
    """
    if not taken(body) and status != 409:
        return frozenset()
    text = (message(body) or (body or b"").decode("utf-8", "replace")).lower()
    return frozenset(_FIELDS[name] for name in _TAKEN.findall(text)) or frozenset(IDENTITIES)


def without(wanted: UpsertEndUser, fields: Container[str]) -> UpsertEndUser:
    """Return the operation without changes to these identities."""
    return replace(
        wanted,
        email=None if "email" in fields else wanted.email,
        phone_number=None if "phone_number" in fields else wanted.phone_number,
        external_id=None if "external_id" in fields else wanted.external_id,
    )


def identity_of(operation: OfEndUser) -> str | None:
    """Return the external id, or else the e-mail, of the operation's end user."""
    return operation.external_id or operation.email


def belongs_to_other(shown: EndUser, operation: OfEndUser) -> bool:
    """Return whether the end user known by its id now belongs to somebody else.

    The same e-mail is the same person to Wootric.
    """
    if same_email(shown.email, operation.email):
        return False
    if operation.external_id:
        return shown.external_id not in {None, operation.external_id}
    return operation.email is not None and shown.email is not None


def same_email(one: str | None, other: str | None) -> bool:
    """Return whether both are set and equal, ignoring case."""
    return one is not None and other is not None and one.casefold() == other.casefold()


class DeletedUsers:
    """The end users that this worker deleted, at most ``SHARED_MAX``.

    Wootric queues a deletion for a day or more. Until then the end user is found and changed, and
    the deletion takes the change as well.
    """

    __slots__ = ("_ids",)

    def __init__(self) -> None:
        self._ids: OrderedDict[int, None] = OrderedDict()

    def add(self, end_user_id: int) -> None:
        """Record a deletion that Wootric accepted."""
        self._ids[end_user_id] = None
        if len(self._ids) > SHARED_MAX:
            self._ids.popitem(last=False)

    def __contains__(self, end_user_id: object) -> bool:
        return end_user_id in self._ids


class SharedUserTracker:
    """The last writer of every end user that several Segment users share, as seen by this worker.

    After a write by one of them, the knowledge of the others is outdated. Beyond ``SHARED_MAX`` the
    least recently used are forgotten, which matters only if PUT replaces properties.
    """

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: OrderedDict[int, str | None] = OrderedDict()

    def wrote(self, end_user_id: int, name: str | None, *, shared: bool) -> None:
        """Record a write; ``shared`` means that the end user had another writer before."""
        if shared or end_user_id in self._last:
            self._last[end_user_id] = name
            self._last.move_to_end(end_user_id)
            if len(self._last) > SHARED_MAX:
                self._last.popitem(last=False)

    def outdated(self, end_user_id: int, name: str | None) -> bool:
        """Return whether another writer wrote after ``name``."""
        return end_user_id in self._last and self._last[end_user_id] != name
