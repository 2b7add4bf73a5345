"""The sink's contract: a delivery, its possible outcomes, and the listener's callbacks. Pure."""

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from sink.wootric.operations import (
    CreateDecline,
    CreateResponse,
    DeleteEndUser,
    Operation,
    PageView,
    Scalar,
    UpsertEndUser,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndUser:
    """The known state of an end user at Wootric.

    ``id`` is None if a look-up found nobody. ``properties`` is None if the stored profile is not
    known, so that the next change has to look it up.
    """

    id: int | None
    email: str | None = None
    external_id: str | None = None
    phone_number: str | None = None
    external_created_at: int | None = None
    properties: Mapping[str, Scalar] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """An operation that must take effect at most once.

    ``known`` is the end user as the last settled operation left it; None requires a look-up.
    ``in_doubt`` means that an earlier attempt may have been executed: look before writing.
    ``claimed`` contains the ids of responses and declines that other receipts name, and the
    numbers that stand for those without an id (``sink.wootric.matching.claim``).
    ``refused`` counts the times that Wootric forbade this operation while a probe succeeded.
    ``may_send`` is the lease check, called immediately before bytes of a write are sent.
    """

    request_id: str
    operation: Operation
    may_send: Callable[[], bool]
    known: EndUser | None = None
    in_doubt: bool = False
    refused: int = 0
    claimed: Container[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """Wootric holds the effect.

    ``remote_id`` is the id of the response or decline that was created. If the reply did not name
    it, ``claim`` stands for its fields. ``end_user`` is the end user's state afterwards; None
    means unknown.
    """

    end_user: EndUser | None = None
    remote_id: int | None = None
    claim: int | None = None
    status: int | None = None
    attempts: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """Nothing had to be sent, for ``reason`` (``no_email``, ``unchanged``)."""

    reason: str
    end_user: EndUser | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """Wootric permanently rejected this operation and has no effect of it."""

    reason: str
    detail: str
    status: int | None = None
    attempts: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Parked:
    """Whether the effect exists cannot be determined (two candidates, nothing to search by)."""

    reason: str
    detail: str
    attempts: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class InDoubt:
    """The last attempt may have been executed; ``sent_at`` (monotonic seconds) is the latest
    time at which it may have been in transit.
    """

    detail: str
    sent_at: float
    attempts: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Deferred:
    """Not executed; to be retried at ``retry_at`` (monotonic seconds) or later. ``refused`` means
    that Wootric forbade it (401, 402, 403).
    """

    reason: str
    retry_at: float
    refused: bool = False
    attempts: int = 0


Outcome: TypeAlias = Delivered | Skipped | Rejected | Parked | InDoubt | Deferred


# Callbacks for metrics and logs


def _ignore(*_: object) -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkListener:
    """Callbacks. They must be fast and must not raise.

    * ``request_finished``: request name, label of the classification, HTTP status (None without
      one), seconds.
    * ``throttled``: seconds that the server asked to wait.
    * ``circuit_changed``: circuit (``api``, ``pixel``), whether it is open, reason.
    * ``token_refreshed``: whether there is a new token.
    * ``token_refused``: OAuth error, HTTP status.
    * ``concurrency_changed``: host (same names as circuits), limit of requests in flight.
    * ``allowance_changed``: host, remaining requests of the quota, its limit.
    * ``pace_changed``: this worker's share of the rate, in requests per minute.
    * ``identity_conflict``: kind (``sink.wootric.matching.Conflict``), the delivery's request id.
    """

    request_finished: Callable[[str, str, int | None, float], None] = _ignore
    throttled: Callable[[float], None] = _ignore
    circuit_changed: Callable[[str, bool, str], None] = _ignore
    token_refreshed: Callable[[bool], None] = _ignore
    token_refused: Callable[[str, int], None] = _ignore
    concurrency_changed: Callable[[str, int], None] = _ignore
    allowance_changed: Callable[[str, int, int], None] = _ignore
    pace_changed: Callable[[float], None] = _ignore
    identity_conflict: Callable[[str, str], None] = _ignore


# Estimated cost of a delivery


def needs_lookup(page: PageView, known: EndUser | None) -> bool:
    """Return whether the end user of a page view has to be looked up before it is reported."""
    return known is None and (page.email is None or page.created_at is None)


def _changes(known: EndUser | None, properties: Mapping[str, Scalar]) -> bool:
    held = (known.properties if known is not None else None) or {}
    return any(name not in held or held[name] != value for name, value in properties.items())


def estimated_requests(
    operation: Operation, known: EndUser | None, *, in_doubt: bool = False
) -> int:
    """Return the number of API requests that a delivery takes without conflicts or retries.

    An operation in doubt is searched for first; for a survey that reads a list up to its empty
    last page.
    """
    unknown = known is None or known.id is None
    profile_unknown = unknown or (known is not None and known.properties is None)
    match operation:
        case PageView():
            return 1 if needs_lookup(operation, known) else 0
        case UpsertEndUser():
            return 2 if profile_unknown or in_doubt else 1
        case CreateResponse() | CreateDecline():
            look_ups = unknown or (bool(operation.properties) and profile_unknown)
            changes = unknown or _changes(known, operation.properties)
            return 1 + look_ups + changes + (2 if in_doubt else 0)
        case DeleteEndUser():
            return 2
