"""Requests, results of sending them, and the transport protocol."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, TypeAlias

from yarl import URL


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A reply. ``body`` is None if it was cut off or larger than ``BODY_BYTES_MAX``."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)


def any_reply(_: HttpResponse) -> bool:
    """Accept every reply."""
    return True


@dataclass(frozen=True, slots=True)
class Request:
    """One request. ``name`` labels it in metrics; ``writes`` marks one that may have an effect.

    ``accepts`` returns whether a reply that reports success or absence comes from the API itself,
    and not from a proxy or a maintenance page in front of it.
    """

    name: str
    method: str
    url: URL = field(repr=False)
    body: bytes | None = field(default=None, repr=False)
    writes: bool = False
    accepts: Callable[[HttpResponse], bool] = field(default=any_reply, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class NotSent:
    """No byte was sent: name resolution, connection, TLS or the wait for the pool failed."""

    detail: str


@dataclass(frozen=True, slots=True)
class NoResponse:
    """Bytes may have been sent, and no reply arrived."""

    detail: str


@dataclass(frozen=True, slots=True)
class LeaseExpired:
    """The lease had expired when the connection was ready: nothing was sent."""

    label: ClassVar = "withheld"
    status: ClassVar[None] = None


SendResult: TypeAlias = HttpResponse | NotSent | NoResponse | LeaseExpired


def always() -> bool:
    """Allow every request."""
    return True


class Transport(Protocol):
    """Sends a request at most once."""

    async def send(
        self,
        request: Request,
        headers: Mapping[str, str],
        *,
        may_send: Callable[[], bool] = always,
    ) -> SendResult:
        """Send ``request`` if ``may_send`` returns True immediately before the first byte."""
