"""What the engine and a destination agree on: operations, deliveries, outcomes, the sink. Pure."""

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from itertools import count
from typing import ClassVar, Protocol, TypeAlias

from msgspec import Struct

Scalar: TypeAlias = str | int | float
Properties: TypeAlias = Mapping[str, Scalar]


class EffectClass(StrEnum):
    """How an attempt whose reply was lost can be resolved."""

    REPEATABLE = "U"
    """Repeating it gives the same state."""
    OBSERVABLE = "O"
    """The effect can be looked up before the operation is sent again."""
    UNOBSERVABLE = "N"
    """Whether it happened cannot be determined."""


class QueueClass(Enum):
    """What the release of an operation needs."""

    UNLIMITED = "unlimited"
    """Only requests that no rate limit counts."""
    UPDATE = "update"
    """Requests under the rate limit, the first of which may have the effect."""
    LOOKUP = "lookup"
    """Requests under the rate limit, of which the first is a look-up."""
    LOOKUP_THEN_UNLIMITED = "lookup_then_unlimited"
    """A look-up under the rate limit, then a request that no rate limit counts."""


class Operation(Protocol):
    """One change that a destination is to make, and what the engine has to know of it.

    ``external_id`` and ``email`` name the end user that it concerns; the engine stores what is
    known of the user under the first of them that is set. ``type`` is its name in logs and metrics.
    ``unlimited`` means that no rate limit counts its own request; ``writes_profile`` that it sets
    values of the end user, so that a later one may replace it and an old one may be outdated.
    """

    type: ClassVar[str]
    effect: ClassVar[EffectClass]
    unlimited: ClassVar[bool]
    writes_profile: ClassVar[bool]

    @property
    def external_id(self) -> str | None:
        """The end user's id in the source."""

    @property
    def email(self) -> str | None:
        """The end user's e-mail."""

    def merge(self, later: "Operation", /) -> "Operation | None":
        """Return one operation that stands for this one and a later one; None if there is none."""

    def may_overtake(self, earlier: "Iterable[Operation | None]", known: "EndUser", /) -> bool:
        """Return whether it may be sent before operations of the same lane that precede it.

        Asked only of operations with ``unlimited``. None stands for one that cannot be read.
        """

    def queue_class(self, known: "EndUser | None", /) -> QueueClass:
        """Return what its release needs, given what is known of its end user."""

    def estimated_requests(self, known: "EndUser | None", /, *, in_doubt: bool = False) -> int:
        """Return the number of requests under the rate limit, without conflicts or retries."""

    def is_unchanged(self, known: "EndUser", /) -> bool:
        """Return whether the destination already holds all that it would write."""

    def to_bytes(self) -> bytes:
        """Return the operation as the ledger stores it: UTF-8."""


ReadOperation: TypeAlias = Callable[[bytes], Operation]
"""Returns the operation that ``Operation.to_bytes`` wrote; raises ``ValueError`` if it cannot."""


class EndUser(Struct, frozen=True, kw_only=True, gc=False):
    """The known state of an end user at the destination.

    ``id`` is None if a look-up found nobody. ``properties`` is None if the stored profile is not
    known, so that the next change has to look it up.
    """

    id: int | None
    email: str | None = None
    external_id: str | None = None
    phone_number: str | None = None
    external_created_at: int | None = None
    properties: Mapping[str, Scalar] | None = None


class Delivery(Struct, frozen=True, kw_only=True):
    """An operation that must take effect at most once.

    ``known`` is the end user as the last settled operation left it; None requires a look-up.
    ``in_doubt`` means that an earlier attempt may have been executed: look before writing.
    ``claimed`` contains the ids of responses and declines that other receipts name, and the
    numbers that stand for those without an id (``next_claim``).
    ``refused`` counts the times that it was forbidden while a probe succeeded.
    ``may_send`` is the lease check, called immediately before bytes of a write are sent.
    """

    request_id: str
    operation: Operation
    may_send: Callable[[], bool]
    known: EndUser | None = None
    in_doubt: bool = False
    refused: int = 0
    claimed: Container[int] = frozenset()


class Delivered(Struct, frozen=True, kw_only=True, gc=False):
    """The destination holds the effect.

    ``remote_id`` is the id of the response or decline that was created. If the reply did not name
    it, ``claim`` stands for its fields. ``end_user`` is the end user's state afterwards; None
    means unknown.
    """

    end_user: EndUser | None = None
    remote_id: int | None = None
    claim: int | None = None
    status: int | None = None
    attempts: int = 1


class Skipped(Struct, frozen=True, kw_only=True, gc=False):
    """Nothing had to be sent, for ``reason`` (``no_email``, ``unchanged``)."""

    reason: str
    end_user: EndUser | None = None


class Rejected(Struct, frozen=True, kw_only=True, gc=False):
    """The destination permanently rejected this operation and has no effect of it."""

    reason: str
    detail: str
    status: int | None = None
    attempts: int = 1


class Parked(Struct, frozen=True, kw_only=True, gc=False):
    """Whether the effect exists cannot be determined (two candidates, nothing to search by)."""

    reason: str
    detail: str
    attempts: int = 1


class InDoubt(Struct, frozen=True, kw_only=True, gc=False):
    """The last attempt may have been executed; ``sent_at`` (monotonic seconds) is the latest
    time at which it may have been in transit. ``isolated`` and ``requests`` are as for
    ``Deferred``.
    """

    detail: str
    sent_at: float
    attempts: int = 1
    isolated: bool = False
    requests: int = 1


class Deferred(Struct, frozen=True, kw_only=True, gc=False):
    """Not executed; to be retried at ``retry_at`` (monotonic seconds) or later. ``refused`` means
    that it was forbidden (401, 402, 403). ``isolated`` means that its request failed while others
    were served; ``requests`` counts all that it sent.
    """

    reason: str
    retry_at: float
    refused: bool = False
    attempts: int = 0
    isolated: bool = False
    requests: int = 0


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
    * ``circuit_changed``: circuit, whether it is open, reason.
    * ``token_refreshed``: whether there is a new token.
    * ``token_refused``: OAuth error, HTTP status.
    * ``concurrency_changed``: host (same names as circuits), limit of requests in flight.
    * ``allowance_changed``: host, remaining requests of the quota, its limit.
    * ``pace_changed``: this worker's share of the rate, in requests per minute.
    * ``identity_conflict``: kind (``Conflict``), the delivery's request id.
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


# Receipts of effects whose id the destination does not tell


def next_claim(number: int, claimed: Container[int]) -> int:
    """Return what the next receipt without an id claims; ``number`` stands for its fields.

    Receipt n (from 0) with the same fields claims ``-(number + n)``, which is no id.
    """
    return -(number + claims_of(number, claimed))


def claims_of(number: int, claimed: Container[int]) -> int:
    """Return how many receipts claim an effect by its fields."""
    return next(n for n in count() if -(number + n) not in claimed)


class Conflict(StrEnum):
    """Kinds of identity conflicts, for metrics."""

    JOINED = "joined"
    """The e-mail of a new user belongs to an end user without another user id."""
    TAKEN_OVER = "taken_over"
    """An end user now has this user id instead of another one."""
    EMAIL_TAKEN = "email_taken"
    """The new e-mail of a known end user belongs to another one, and was left unchanged."""
    PHONE_NUMBER_TAKEN = "phone_number_taken"
    """The same for a phone number."""
    EXTERNAL_ID_TAKEN = "external_id_taken"
    """The same for a user id."""
    GONE = "gone"
    """The known end user no longer exists, or belongs to somebody else."""
    DELETION_PENDING = "deletion_pending"
    """An end user whose deletion was accepted was changed before the deletion took effect."""


class Sink(Protocol):
    """Delivers operations to a destination, between ``start`` and ``close``."""

    async def start(self) -> None:
        """Start what runs in the background. Returns although the destination does not respond."""

    async def close(self) -> None:
        """Stop background tasks. The caller awaits deliveries in progress."""

    async def deliver(self, delivery: Delivery) -> Outcome:
        """Deliver the operation at most once. Raises only on cancellation."""

    def capacity(self, now: float, *, unlimited: bool = False) -> int:
        """Return the number of deliveries that may be released at ``now`` (monotonic seconds).

        ``unlimited`` asks for operations that no rate limit counts. The caller subtracts those
        released whose ``deliver`` has not been called yet.
        """

    def requests(self, now: float, *, within_s: float) -> float:
        """Return the number of requests that may start within ``within_s``; inf if unlimited.

        Requests that deliveries in progress still need are subtracted. The caller subtracts those
        of releases whose ``deliver`` has not been called yet.
        """

    def circuits(self) -> Mapping[str, str | None]:
        """Return the reason for which each circuit is open; None for a closed one."""

    def share(self, owned: int, total: int) -> None:
        """Set this worker's share of the rate: ``owned`` of ``total`` partitions."""
