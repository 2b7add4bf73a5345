"""Classify an HTTP exchange by whether its request may have been executed. Pure.

The question is never "did it fail?" but "may it have been executed?". An ambiguous result does
not permit sending the request again.
"""

from collections.abc import Callable, Mapping
from typing import ClassVar, TypeAlias, assert_never

from msgspec import Struct

from sink.models import (
    HttpResponse,
    LeaseExpired,
    NoResponse,
    NotSent,
    SendResult,
    any_reply,
    status_only,
)

PAYMENT_REQUIRED = 402
FORBIDDEN = 403
PROXY_AUTHENTICATION_REQUIRED = 407
ALWAYS_FORBIDDEN = frozenset({PAYMENT_REQUIRED, FORBIDDEN})
ABSENT = frozenset({404, 410})
DOUBTFUL = frozenset({408, 499})  # the server or a proxy gave up on a request that may have run


class Executed(Struct, frozen=True, gc=False):
    """The server executed the request (2xx), whether or not the body can be read."""

    label: ClassVar = "executed"
    status: int
    body: bytes | None
    __repr__ = status_only


class RejectedByServer(Struct, frozen=True, gc=False):
    """The server permanently rejects this request; the body gives the reason."""

    label: ClassVar = "refused"
    status: int
    body: bytes | None
    __repr__ = status_only


class Forbidden(Struct, frozen=True, gc=False):
    """Not executed, because of credentials, account or address, not because of the data.

    ``personal`` is True if the status may concern this request only: a repeated 403 to the same
    request, while other requests succeed, then counts against the request.
    """

    label: ClassVar = "forbidden"
    status: int
    reason: str
    personal: bool = True


class Unauthorized(Struct, frozen=True, gc=False):
    """Not executed: the token was not accepted (401)."""

    label: ClassVar = "unauthorized"
    status: int = 401


class Throttled(Struct, frozen=True, gc=False):
    """Not executed: rate limited; ``headers`` may contain the time to wait."""

    label: ClassVar = "throttled"
    status: int
    headers: Mapping[str, str]
    __repr__ = status_only


class NotExecuted(Struct, frozen=True, gc=False):
    """Not executed, or without an effect: it may be sent again."""

    label: ClassVar = "not_executed"
    detail: str
    status: int | None = None


class Ambiguous(Struct, frozen=True, gc=False):
    """It may have been executed."""

    label: ClassVar = "ambiguous"
    detail: str
    status: int | None = None


Classification: TypeAlias = (
    Executed
    | RejectedByServer
    | Forbidden
    | Unauthorized
    | Throttled
    | NotExecuted
    | Ambiguous
    | LeaseExpired
)
"""Each has a ``label`` for metrics and logs, and the HTTP ``status`` (None without one)."""


def classify(
    evidence: SendResult,
    *,
    writes: bool,
    forbidden: frozenset[int] = ALWAYS_FORBIDDEN,
    accepts: Callable[[HttpResponse], bool] = any_reply,
) -> Classification:
    """Return the classification of ``evidence``.

    ``writes`` is False for a look-up: it has no effect, so it is never ambiguous. ``forbidden``
    are the statuses that this host uses for configuration errors. ``accepts`` decides whether a
    reply of success or absence is the API's own; any other proves nothing.
    """
    match evidence:
        case LeaseExpired():
            return evidence
        case NotSent(detail):
            return NotExecuted(detail)
        case NoResponse(detail):
            return _doubt(detail, None, writes=writes)
        case HttpResponse(status=status):
            if 200 <= status <= 299:
                return _success(evidence, writes=writes, accepts=accepts)
            if (
                status in forbidden
                or status == PROXY_AUTHENTICATION_REQUIRED
                or 300 <= status <= 399
            ):
                return _forbidden(status)
            return _failure(evidence, writes=writes, accepts=accepts)
        case _:
            assert_never(evidence)


def _success(
    reply: HttpResponse, *, writes: bool, accepts: Callable[[HttpResponse], bool]
) -> Classification:
    if not accepts(reply):
        return _doubt(f"status {reply.status} is no reply of the API", reply.status, writes=writes)
    if reply.body is None and not writes:
        return NotExecuted("the reply was cut off", reply.status)
    return Executed(reply.status, reply.body)


def _forbidden(status: int) -> Forbidden:
    if status <= 399:  # following a redirect would send the credentials to another host
        return Forbidden(status, "redirected", personal=False)
    if status == PROXY_AUTHENTICATION_REQUIRED:  # of something on the way, not of the API
        return Forbidden(status, "forbidden", personal=False)
    return Forbidden(status, "payment_required" if status == PAYMENT_REQUIRED else "forbidden")


def _failure(
    reply: HttpResponse, *, writes: bool, accepts: Callable[[HttpResponse], bool]
) -> Classification:
    """Classify a status that means neither success nor a configuration error."""
    status, headers = reply.status, reply.headers
    if status == 401:
        return Unauthorized()
    if status == 429 or (status == 503 and "Retry-After" in headers):
        return Throttled(status, headers)
    if status == 425:  # "too early": the server did not process it (RFC 8470)
        return NotExecuted("too early", status)
    if status in ABSENT and not accepts(reply):
        return NotExecuted(f"status {status} is no reply of the API", status)
    if 400 <= status <= 499 and status not in DOUBTFUL:
        return RejectedByServer(status, reply.body)
    return _doubt(f"status {status}", status, writes=writes)


def _doubt(detail: str, status: int | None, *, writes: bool) -> Classification:
    return Ambiguous(detail, status) if writes else NotExecuted(detail, status)
