"""A delivery, and the one outcome that it has.

The sink makes attempts and says what is known afterwards. It never decides what
becomes of the event: that is the flow's part.
"""

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from sink.wootric.operations import Operation, Scalar


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
