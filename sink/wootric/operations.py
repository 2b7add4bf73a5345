"""Operations of the Wootric destination.

Field names are Wootric's own. Source: docs.wootric.com (sources of 2018-10 and 2021-01),
sections end users, responses and declines.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from types import MappingProxyType
from typing import Any, ClassVar, TypeAlias

Scalar: TypeAlias = str | int | float
Properties: TypeAlias = Mapping[str, Scalar]

IDENTITY_LENGTH_MAX = 1_000
"""In characters, of an identity; an e-mail address has at most 254 (RFC 5321, 4.5.3.1.3). The
ledger stores identities, and a record too large for it would block its partition."""

NO_PROPERTIES: Properties = MappingProxyType({})


class EffectClass(StrEnum):
    """How an attempt whose reply was lost can be resolved."""

    REPEATABLE = "U"
    """Repeating it gives the same state."""
    OBSERVABLE = "O"
    """The effect can be looked up before the operation is sent again."""
    UNOBSERVABLE = "N"
    """Whether it happened cannot be determined."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpsertEndUser:
    """Create the end user, or update the existing one.

    ``external_created_at`` is in Unix seconds. A field that is None is not changed.
    """

    type: ClassVar = "upsert_end_user"
    effect: ClassVar = EffectClass.OBSERVABLE

    email: str | None = None
    external_id: str | None = None
    phone_number: str | None = None
    external_created_at: int | None = None
    properties: Properties = field(default_factory=lambda: NO_PROPERTIES)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageView:
    """Report one page view through the pixel.

    ``created_at`` is when the *user* was created, in Unix seconds; ``random`` is the
    pixel's cache breaker, the same on every attempt. The sink fills in the user's e-mail and
    creation time if the event does not contain them.
    """

    type: ClassVar = "page_view"
    effect: ClassVar = EffectClass.UNOBSERVABLE

    url: str
    random: str
    email: str | None = None
    external_id: str | None = None
    created_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateResponse:
    """Record an answered survey: ``score`` is 0 to 10, ``created_at`` in Unix seconds."""

    type: ClassVar = "create_response"
    effect: ClassVar = EffectClass.OBSERVABLE

    score: int
    email: str | None = None
    external_id: str | None = None
    text: str | None = None
    ip_address: str | None = None
    origin_url: str | None = None
    created_at: int | None = None
    properties: Properties = field(default_factory=lambda: NO_PROPERTIES)


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateDecline:
    """Record a survey that was shown and declined; ``created_at`` in Unix seconds."""

    type: ClassVar = "create_decline"
    effect: ClassVar = EffectClass.OBSERVABLE

    email: str | None = None
    external_id: str | None = None
    ip_address: str | None = None
    origin_url: str | None = None
    created_at: int | None = None
    properties: Properties = field(default_factory=lambda: NO_PROPERTIES)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteEndUser:
    """Delete the end user."""

    type: ClassVar = "delete_end_user"
    effect: ClassVar = EffectClass.REPEATABLE

    email: str | None = None
    external_id: str | None = None


Operation: TypeAlias = UpsertEndUser | PageView | CreateResponse | CreateDecline | DeleteEndUser

OPERATIONS: Mapping[str, type[Operation]] = MappingProxyType(
    {
        operation.type: operation
        for operation in (UpsertEndUser, PageView, CreateResponse, CreateDecline, DeleteEndUser)
    }
)

_NAMES = {kind: tuple(one.name for one in fields(OPERATIONS[kind])) for kind in OPERATIONS}


def fields_of(operation: Operation) -> tuple[str, ...]:
    """Return the field names of the operation's type."""
    return _NAMES[operation.type]


def to_fields(operation: Operation) -> dict[str, Any]:
    """Return the operation as JSON values: its type, then every field that is set."""
    document: dict[str, Any] = {"type": operation.type}
    for name in fields_of(operation):
        value = getattr(operation, name)
        if name == "properties":
            if value:
                document["properties"] = dict(value)
        elif value is not None:
            document[name] = value
    return document


def from_fields(document: Mapping[str, Any]) -> Operation:
    """Return the operation from the result of ``to_fields``.

    Raises:
        KeyError: the type is unknown.
        TypeError: a field is unknown or missing.
    """
    arguments = dict(document)
    return OPERATIONS[arguments.pop("type")](**arguments)
