"""Requests, results of sending them, and the transport protocol."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol, TypeAlias

from msgspec import Struct
from yarl import URL


def status_only(reply: Any) -> str:
    """Represent a reply without its headers and body, which may contain personal data."""
    return f"{type(reply).__name__}(status={reply.status})"


class HttpResponse(Struct, frozen=True, gc=False):
    """A reply. ``body`` is None if it was cut off or larger than ``BODY_BYTES_MAX``."""

    status: int
    headers: Mapping[str, str]
    body: bytes | None
    __repr__ = status_only


def any_reply(_: HttpResponse) -> bool:
    """Accept every reply."""
    return True


class Request(Struct, frozen=True):
    """One request. ``name`` labels it in metrics; ``writes`` marks one that may have an effect.

    ``accepts`` returns whether a reply that reports success or absence comes from the API itself,
    and not from a proxy or a maintenance page in front of it.
    """

    name: str
    method: str
    url: URL
    body: bytes | None = None
    writes: bool = False
    accepts: Callable[[HttpResponse], bool] = any_reply

    def __repr__(self) -> str:
        return f"Request(name={self.name!r}, method={self.method!r}, writes={self.writes})"


class NotSent(Struct, frozen=True, gc=False):
    """No byte was sent: name resolution, connection, TLS or the wait for the pool failed."""

    detail: str


class NoResponse(Struct, frozen=True, gc=False):
    """Bytes may have been sent, and no reply arrived."""

    detail: str


class LeaseExpired(Struct, frozen=True, gc=False):
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
