"""What is sent, and what is known of it afterwards: values, and the protocol of a sender."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from yarl import URL


@dataclass(frozen=True, slots=True)
class Request:
    """One request. ``name`` is a word for metrics; ``writes`` says that it may have an effect."""

    name: str
    method: str
    url: URL = field(repr=False)
    body: bytes | None = field(default=None, repr=False)
    writes: bool = False


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """An answer; ``body`` is None when it broke off or was larger than ``BODY_BYTES_MAX``."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class NotSent:
    """No byte of the request left: no name, no connection, no TLS, no free place in the pool."""

    detail: str


@dataclass(frozen=True, slots=True)
class NoResponse:
    """Bytes may have left, and no answer came."""

    detail: str


@dataclass(frozen=True, slots=True)
class LeaseExpired:
    """The lease was over when the connection was ready: nothing was sent."""


SendResult: TypeAlias = HttpResponse | NotSent | NoResponse | LeaseExpired


def always() -> bool:
    """Let every request be sent."""
    return True


class Transport(Protocol):
    """What sends a request at most once and returns what is known of it."""

    async def send(
        self,
        request: Request,
        headers: Mapping[str, str],
        *,
        may_send: Callable[[], bool] = always,
    ) -> SendResult:
        """Send ``request``, if ``may_send`` says so immediately before the first byte."""
