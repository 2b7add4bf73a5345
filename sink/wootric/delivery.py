"""The sink's contract: a delivery, the one outcome that it has, and who is told of it. Pure."""

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
    """What is known of an end user at Wootric.

    ``id`` is None when a look-up found nobody. ``properties`` is None when the profile
    there is not known to us, so that the next change has to look it up.
    """

    id: int | None
    email: str | None = None
    external_id: str | None = None
    phone_number: str | None = None
    external_created_at: int | None = None
    properties: Mapping[str, Scalar] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """An operation that may take effect once.

    ``known`` is the end user as the last settled operation left it; None means look up.
    ``in_doubt`` says that an earlier attempt may have been executed: look before writing.
    ``claimed`` tells of an id of a response or decline whether another receipt names it.
    ``refused`` counts how often Wootric forbade just this operation while a probe was fine.
    ``may_send`` is the lease: asked immediately before bytes that may have an effect leave.
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

    ``remote_id`` is the id of the response or decline that was created. ``end_user`` is
    what is now known of the user; None means unknown.
    """

    end_user: EndUser | None = None
    remote_id: int | None = None
    status: int | None = None
    attempts: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """Nothing had to be sent, for this reason (``no_email``, ``unchanged``)."""

    reason: str
    end_user: EndUser | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """Wootric refused this operation for good and has no effect of it."""

    reason: str
    detail: str
    status: int | None = None
    attempts: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Parked:
    """Whether the effect exists cannot be found out (two candidates, nothing to look by)."""

    reason: str
    detail: str
    attempts: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class InDoubt:
    """The last attempt may have been executed; ``sent_at`` (monotonic seconds) is the last
    moment at which it may have been on its way.
    """

    detail: str
    sent_at: float
    attempts: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Deferred:
    """Known not to be executed; to be released again, not before ``retry_at``
    (monotonic seconds). ``refused`` says that Wootric forbade it (401, 402, 403).
    """

    reason: str
    retry_at: float
    refused: bool = False
    attempts: int = 0


Outcome: TypeAlias = Delivered | Skipped | Rejected | Parked | InDoubt | Deferred


# What the sink tells whoever listens; the listener turns it into metrics and logs


def _ignore(*_: object) -> None:
    """Listen to nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkListener:
    """Listeners. They must be quick and must not raise.

    ``request_finished`` gets the request's name, the verdict's word, the HTTP status (None
    without one) and the seconds it took. ``throttled`` gets the seconds that the server asked
    for. ``circuit_changed`` gets the circuit's name (``api``, ``pixel``), whether it is open
    and why. ``token_refreshed`` gets whether there is a new token, ``token_refused`` a word for
    why not and the HTTP status. ``concurrency_changed`` gets the host's name (as a circuit's)
    and how many requests may be under way there; ``allowance_changed`` gets the host's name, how
    many requests the account has left and how many it gets. ``pace_changed`` gets this worker's
    part of the pace, in requests per minute. ``identity_conflict`` gets the kind (see
    ``sink.wootric.matching``) and the delivery's request id.
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


# What a delivery will ask of the API, as far as it can be told beforehand


def needs_lookup(page: PageView, known: EndUser | None) -> bool:
    """Whether the person behind a page view has to be looked up before it is reported."""
    return known is None and (page.email is None or page.created_at is None)


def estimated_requests(
    operation: Operation, known: EndUser | None, *, in_doubt: bool = False
) -> int:
    """Return how many API requests the delivery takes when nothing unusual comes up.

    What is in doubt is looked for first, a survey in a list that ends with an empty page.
    """
    strange = known is None or known.id is None
    blind = strange or (known is not None and known.properties is None)
    match operation:
        case PageView():
            return 1 if needs_lookup(operation, known) else 0
        case UpsertEndUser():
            return 2 if blind or in_doubt else 1
        case CreateResponse() | CreateDecline():
            if strange or in_doubt:
                return 3 + (strange and in_doubt)
            return 2 if operation.properties and blind else 1
        case DeleteEndUser():
            return 2
