"""Operations of the Wootric destination.

Field names are Wootric's own. Source: docs.wootric.com (sources of 2018-10 and 2021-01),
sections end users, responses and declines.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, TypeAlias

import orjson
from msgspec import Struct, structs

from sink.delivery import EffectClass, EndUser, Operation, Properties, QueueClass

IDENTITY_LENGTH_MAX = 1_000
"""In characters, of an identity; an e-mail address has at most 254 (RFC 5321, 4.5.3.1.3). The
ledger stores identities, and a record too large for it would block its partition."""

PROPERTIES_MERGED_MAX = 5_000
"""Each merge copies all properties: without a limit the total time grew quadratically."""

NO_PROPERTIES: Properties = MappingProxyType({})


class _Operation(Struct, frozen=True, gc=False):
    """What most operations answer to the engine (``sink.delivery.Operation``)."""

    unlimited: ClassVar = False
    writes_profile: ClassVar = False

    def merge(self, _later: Operation) -> Operation | None:
        """Return None: it merges with nothing."""
        return None

    def may_overtake(self, _earlier: Iterable[Operation | None], _known: EndUser) -> bool:
        """Return False: it keeps its place."""
        return False

    def queue_class(self, _known: EndUser | None) -> QueueClass:
        """Return that its first request may be the write."""
        return QueueClass.UPDATE

    def is_unchanged(self, _known: EndUser) -> bool:
        """Return False: it has an effect in any case."""
        return False

    def to_bytes(self) -> bytes:
        """Return the operation as JSON, keys in order."""
        return orjson.dumps(to_fields(self), option=orjson.OPT_SORT_KEYS)  # type: ignore[arg-type]


class UpsertEndUser(_Operation, frozen=True, kw_only=True, gc=False):
    """Create the end user, or update the existing one.

    ``external_created_at`` is in Unix seconds. A field that is None is not changed.
    """

    type: ClassVar = "upsert_end_user"
    effect: ClassVar = EffectClass.OBSERVABLE
    writes_profile: ClassVar = True

    email: str | None = None
    external_id: str | None = None
    phone_number: str | None = None
    external_created_at: int | None = None
    properties: Properties = NO_PROPERTIES

    def merge(self, later: Operation) -> "UpsertEndUser | None":
        """Return both in one, the later value of each field; None if their identities differ."""
        if (
            not isinstance(later, UpsertEndUser)
            or self.external_id != later.external_id
            or self.email != later.email
            or self.phone_number != later.phone_number
            or len(self.properties) >= PROPERTIES_MERGED_MAX
        ):
            return None
        created = later.external_created_at
        return structs.replace(
            self,
            external_created_at=self.external_created_at if created is None else created,
            properties={**self.properties, **later.properties},
        )

    def queue_class(self, known: EndUser | None) -> QueueClass:
        """Return that it begins with a look-up if its end user is not known."""
        return QueueClass.LOOKUP if known is None or known.id is None else QueueClass.UPDATE

    def estimated_requests(self, known: EndUser | None, *, in_doubt: bool = False) -> int:
        """Return 1 for the write, and 1 for the look-up where it is needed."""
        return 2 if in_doubt or _is_profile_unknown(known) else 1

    def is_unchanged(self, known: EndUser) -> bool:
        """Return whether Wootric already holds everything in the operation."""
        profile = known.properties
        if known.id is None or profile is None:
            return False
        return (
            self.email in (None, known.email)
            and self.external_id in (None, known.external_id)
            and self.phone_number in (None, known.phone_number)
            and self.external_created_at in (None, known.external_created_at)
            and all(
                name in profile and profile[name] == value and type(profile[name]) is type(value)
                for name, value in self.properties.items()
            )
        )


class PageView(_Operation, frozen=True, kw_only=True, gc=False):
    """Report one page view through the pixel.

    ``created_at`` is when the *user* was created, in Unix seconds; ``random`` is the
    pixel's cache breaker, the same on every attempt. The sink fills in the user's e-mail and
    creation time if the event does not contain them.
    """

    type: ClassVar = "page_view"
    effect: ClassVar = EffectClass.UNOBSERVABLE
    unlimited: ClassVar = True

    url: str
    random: str
    email: str | None = None
    external_id: str | None = None
    created_at: int | None = None

    def may_overtake(self, earlier: Iterable[Operation | None], known: EndUser) -> bool:
        """Return whether none of the earlier operations changes what the pixel sends."""
        return bool(known.email) and all(_keeps_pixel_fields(one, known) for one in earlier)

    def needs_lookup(self, known: EndUser | None) -> bool:
        """Return whether its end user has to be looked up before it is reported."""
        return known is None and (self.email is None or self.created_at is None)

    def queue_class(self, known: EndUser | None) -> QueueClass:
        """Return whether it needs the API for a look-up, or only the pixel."""
        if self.needs_lookup(known):
            return QueueClass.LOOKUP_THEN_UNLIMITED
        return QueueClass.UNLIMITED

    def estimated_requests(self, known: EndUser | None, *, in_doubt: bool = False) -> int:  # noqa: ARG002
        """Return 1 for the look-up where it is needed."""
        return 1 if self.needs_lookup(known) else 0


class CreateResponse(_Operation, frozen=True, kw_only=True, gc=False):
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
    properties: Properties = NO_PROPERTIES

    def estimated_requests(self, known: EndUser | None, *, in_doubt: bool = False) -> int:
        """Return the requests of the survey, its end user and the search for an earlier one."""
        return _survey_requests(self, known, in_doubt=in_doubt)


class CreateDecline(_Operation, frozen=True, kw_only=True, gc=False):
    """Record a survey that was shown and declined; ``created_at`` in Unix seconds."""

    type: ClassVar = "create_decline"
    effect: ClassVar = EffectClass.OBSERVABLE

    email: str | None = None
    external_id: str | None = None
    ip_address: str | None = None
    origin_url: str | None = None
    created_at: int | None = None
    properties: Properties = NO_PROPERTIES

    def estimated_requests(self, known: EndUser | None, *, in_doubt: bool = False) -> int:
        """Return the requests of the survey, its end user and the search for an earlier one."""
        return _survey_requests(self, known, in_doubt=in_doubt)


class DeleteEndUser(_Operation, frozen=True, kw_only=True, gc=False):
    """Delete the end user."""

    type: ClassVar = "delete_end_user"
    effect: ClassVar = EffectClass.REPEATABLE

    email: str | None = None
    external_id: str | None = None

    def estimated_requests(self, known: EndUser | None, *, in_doubt: bool = False) -> int:  # noqa: ARG002
        """Return 2: it looks the end user up first in any case."""
        return 2


WootricOperation: TypeAlias = (
    UpsertEndUser | PageView | CreateResponse | CreateDecline | DeleteEndUser
)

OPERATIONS: Mapping[str, type[WootricOperation]] = MappingProxyType(
    {
        operation.type: operation
        for operation in (UpsertEndUser, PageView, CreateResponse, CreateDecline, DeleteEndUser)
    }
)


def fields_of(operation: Operation) -> tuple[str, ...]:
    """Return the field names of the operation's type."""
    return OPERATIONS[operation.type].__struct_fields__


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


def from_fields(document: Mapping[str, Any]) -> WootricOperation:
    """Return the operation from the result of ``to_fields``.

    Raises:
        KeyError: the type is unknown.
        TypeError: a field is unknown or missing.
    """
    arguments = dict(document)
    return OPERATIONS[arguments.pop("type")](**arguments)


def read_operation(data: bytes) -> WootricOperation:
    """Return the operation that ``to_bytes`` wrote.

    Raises:
        ValueError: another version of this service wrote it.
    """
    try:
        return from_fields(orjson.loads(data))
    except (KeyError, TypeError) as error:
        raise ValueError("it is no operation of this version") from error


def _is_profile_unknown(known: EndUser | None) -> bool:
    return known is None or known.id is None or known.properties is None


def _survey_requests(
    survey: CreateResponse | CreateDecline, known: EndUser | None, *, in_doubt: bool
) -> int:
    """Return the requests of a survey; the search for an earlier one reads up to an empty page."""
    unknown = known is None or known.id is None
    look_ups = unknown or (bool(survey.properties) and _is_profile_unknown(known))
    held = (known.properties if known is not None else None) or {}
    changes = unknown or any(
        name not in held or held[name] != value for name, value in survey.properties.items()
    )
    return 1 + look_ups + changes + (2 if in_doubt else 0)


def _keeps_pixel_fields(operation: Operation | None, known: EndUser) -> bool:
    """Return whether an operation leaves the fields that the pixel sends unchanged."""
    if isinstance(operation, UpsertEndUser):
        return operation.email in (None, known.email) and operation.external_created_at in (
            None,
            known.external_created_at,
        )
    return isinstance(operation, CreateResponse | CreateDecline | PageView)
