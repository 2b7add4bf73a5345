"""What an HTTP exchange proves about its effect. Pure.

The question is never "did it fail?" but "may it have been executed?". An answer of doubt is
no licence to send again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias, assert_never

from sink.models import HttpResponse, LeaseExpired, NoResponse, NotSent, SendResult

PAYMENT_REQUIRED = 402
FORBIDDEN = 403
ALWAYS_FORBIDDEN = frozenset({PAYMENT_REQUIRED, FORBIDDEN})
DOUBTFUL = frozenset({408, 499})  # the server, or a proxy before it, gave up while it may have run


@dataclass(frozen=True, slots=True)
class Executed:
    """The server did it (2xx), whether or not its body can be read."""

    word: ClassVar = "executed"
    status: int
    body: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class RejectedByServer:
    """The server will never do just this; the body says why."""

    word: ClassVar = "refused"
    status: int
    body: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Forbidden:
    """Not executed, for a reason that lies in credentials, account or address, not in the data.

    ``personal`` is True when the server forbade just this request, and a later 403 to the
    same one, with all else well, may be held against it.
    """

    word: ClassVar = "forbidden"
    status: int
    reason: str
    personal: bool = True


@dataclass(frozen=True, slots=True)
class Unauthorized:
    """Not executed: the token does not count (401)."""

    word: ClassVar = "unauthorized"
    status: int = 401


@dataclass(frozen=True, slots=True)
class Throttled:
    """Not executed: too much at once; ``headers`` say for how long to wait."""

    word: ClassVar = "throttled"
    status: int
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class NotExecuted:
    """Nothing happened that matters: it may be sent again."""

    word: ClassVar = "not_executed"
    detail: str
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """It may have been executed."""

    word: ClassVar = "ambiguous"
    detail: str
    status: int | None = None


@dataclass(frozen=True, slots=True)
class OutOfLease:
    """Nothing was sent: the right to send had ended."""

    word: ClassVar = "withheld"
    status: None = None


Classification: TypeAlias = (
    Executed
    | RejectedByServer
    | Forbidden
    | Unauthorized
    | Throttled
    | NotExecuted
    | Ambiguous
    | OutOfLease
)


def classify(
    evidence: SendResult, *, writes: bool, forbidden: frozenset[int] = ALWAYS_FORBIDDEN
) -> Classification:
    """Return what ``evidence`` proves.

    ``writes`` is False for a look-up: it has no effect, so that nothing about it is in
    doubt. ``forbidden`` are the statuses that are a matter of configuration at this host.
    """
    match evidence:
        case LeaseExpired():
            return OutOfLease()
        case NotSent(detail):
            return NotExecuted(detail)
        case NoResponse(detail):
            return _doubt(detail, status=None, writes=writes)
        case HttpResponse(status, headers, body):
            if 200 <= status <= 299:
                return _success(status, body, writes=writes)
            if status in forbidden or 300 <= status <= 399:
                return _forbidden(status)
            return _failure(status, headers, body, writes=writes)
        case _:
            assert_never(evidence)


def _success(status: int, body: bytes | None, *, writes: bool) -> Classification:
    if body is None and not writes:
        return NotExecuted("the answer broke off", status)
    return Executed(status, body)


def _forbidden(status: int) -> Forbidden:
    if status <= 399:  # followed, a redirect would take the credentials to another place
        return Forbidden(status, "redirected", personal=False)
    return Forbidden(status, "payment_required" if status == PAYMENT_REQUIRED else "forbidden")


def _failure(
    status: int,
    headers: Mapping[str, str],
    body: bytes | None,
    *,
    writes: bool,
) -> Classification:
    """Return what a status proves that is neither success nor a matter of configuration."""
    if status == 401:
        return Unauthorized()
    if status == 429 or (status == 503 and "Retry-After" in headers):
        return Throttled(status, headers)
    if status == 425:  # "too early": the server says that it did not process it (RFC 8470)
        return NotExecuted("too early", status)
    if 400 <= status <= 499 and status not in DOUBTFUL:
        return RejectedByServer(status, body)
    return _doubt(f"status {status}", status=status, writes=writes)


def _doubt(detail: str, *, status: int | None, writes: bool) -> Classification:
    return Ambiguous(detail, status) if writes else NotExecuted(detail, status)
