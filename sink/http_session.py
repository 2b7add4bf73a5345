"""HTTP/1.1 over aiohttp's connections: a request is sent at most once.

Only cancellation is raised, and every result states whether bytes of the request may have left.

``aiohttp.ClientSession`` is not used, because it sends some requests again and takes twice the CPU
time. These parts of aiohttp 3.14.5 are used beyond its documentation; a test compares them:

* ``TCPConnector.connect(request, traces, timeout)``: the pool, name resolution, TLS, tunnels
* ``ClientRequest(method, url, ...)``, of which the connector reads the origin and the proxy
* ``Connection.protocol``, which is a ``client_proto.ResponseHandler``
* ``ResponseHandler.set_response_params(...)``, ``read()`` and ``should_close``: the parser
* ``RawResponseMessage.code`` and ``headers``: what ``read()`` returns, with a ``StreamReader``
"""

import asyncio
import re
from collections import deque
from collections.abc import Callable, Mapping
from itertools import chain
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import Connection
from aiohttp.http import RawResponseMessage
from yarl import URL

from sink.concurrency import AdaptiveConcurrency
from sink.models import HttpResponse, LeaseExpired, NoResponse, NotSent, Request, SendResult, always
from sink.proxy import proxy_for

BODY_BYTES_MAX = 8 * 1024 * 1024  # fifty responses with long texts are far smaller
HEADER_BYTES_MAX = 64 * 1024  # of one line; proxies add policies and cookies of many kilobytes
HEADERS_MAX = 512
KEEPALIVE_S = 4.0  # common servers close after 5 s; losing that race would look ambiguous
CONNECT_S_MAX = 3.0
TICK_S_MAX = 0.05  # precision of deadlines
SPARE_CONNECTIONS = 2  # for the token and the probe, in addition to the deliveries

SWITCHING_PROTOCOLS = 101
INFORMATIONAL = frozenset(range(100, 200)) - {SWITCHING_PROTOCOLS}  # a final reply follows
WITHOUT_CONTENT = frozenset({"GET", "HEAD"})
FORBIDDEN = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # RFC 9110, 5.5: in no line of a head


class HttpSession:
    """A bounded connection pool. An asynchronous context manager.

    Requests go through the proxy of the environment, if it names one: see ``sink.proxy``.
    """

    def __init__(self, *, in_flight_max: int, request_timeout_s: float) -> None:
        self._in_flight_max = in_flight_max
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=min(CONNECT_S_MAX, request_timeout_s / 2)
        )
        self._deadlines = _Deadlines(request_timeout_s)
        self._origins: dict[tuple[str, str], ClientRequest] = {}
        self._connector: aiohttp.TCPConnector | None = None

    async def __aenter__(self) -> Self:
        self._connector = aiohttp.TCPConnector(
            limit=self._in_flight_max + SPARE_CONNECTIONS, keepalive_timeout=KEEPALIVE_S
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._connector is not None:
            await self._connector.close()

    async def send(
        self,
        request: Request,
        headers: Mapping[str, str],
        *,
        may_send: Callable[[], bool] = always,
    ) -> SendResult:
        """Send ``request`` at most once and return the result.

        ``may_send`` is called when a connection is ready, through a proxy when the tunnel and its
        TLS are, immediately before the first byte.
        One deadline covers the wait for the pool, the connection and the reply. Time in which the
        event loop is blocked does not count, since only the server's silence is measured.

        Raises:
            RuntimeError: the session is not open.
        """
        if self._connector is None:
            raise RuntimeError("the session is not open")
        exchange = _Exchange(may_send)
        deadline = self._deadlines.add()
        try:
            async with deadline:
                origin = self._origin(request.url)
                message = _message(request, headers, origin)
                connection = await self._connect(self._connector, origin)
                return await exchange.run(connection, request.method, message)
        except _WithheldError:
            return LeaseExpired()
        except Exception as error:  # noqa: BLE001  (any error: only whether bytes were sent matters)
            return exchange.evidence(error)
        finally:
            self._deadlines.remove(deadline)

    def _origin(self, url: URL) -> ClientRequest:
        """Return the connector's view of a URL's origin, with the headers that belong to it."""
        key = (url.scheme, url.raw_authority)
        if key not in self._origins:
            self._origins[key] = ClientRequest(
                "GET",
                url.with_path("/"),
                skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),
                loop=asyncio.get_running_loop(),
                proxy=proxy_for(url),
            )
        return self._origins[key]

    async def _connect(self, connector: aiohttp.TCPConnector, origin: ClientRequest) -> Connection:
        if connector.closed:
            raise aiohttp.ClientConnectionError
        try:
            return await connector.connect(origin, [], self._timeout)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError from error


class _Deadlines:
    """The deadlines of all requests, on a clock that advances only while the event loop runs.

    After a blocked loop, a deadline and a reply are due together, and uvloop runs timers first.
    Therefore the clock ticks: a late tick counts as two at most, and a deadline that is overdue at
    one tick expires at the next. By then the loop has read the data that had arrived.
    """

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s
        self._tick_s = min(TICK_S_MAX, after_s / 10)
        self._due: dict[asyncio.Timeout, float] = {}  # in the order in which they end
        self._awake_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def add(self) -> asyncio.Timeout:
        """Return a deadline that starts now; enter it before awaiting anything."""
        deadline = asyncio.timeout(None)
        self._due[deadline] = self._awake_s + self._after_s
        if self._timer is None:
            self._schedule(asyncio.get_running_loop())
        return deadline

    def remove(self, deadline: asyncio.Timeout) -> None:
        """Remove a deadline, whether or not it has expired."""
        self._due.pop(deadline, None)

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(self._tick_s, self._tick, loop, loop.time())

    def _tick(self, loop: asyncio.AbstractEventLoop, last_at: float) -> None:
        self._timer = None
        overdue_at = self._awake_s
        self._awake_s += min(loop.time() - last_at, 2 * self._tick_s)
        while self._due:
            deadline, due_at = next(iter(self._due.items()))
            if due_at > overdue_at:
                self._schedule(loop)
                return
            del self._due[deadline]
            deadline.reschedule(loop.time())


class _WithheldError(Exception):
    """The lease has expired."""


class UnaskedReplyError(Exception):
    """Bytes came before the request, and would be taken for its reply."""


class _Exchange:
    """A request and its reply on one connection, and how far both have come."""

    __slots__ = ("_may_send", "_reply", "_sent")

    def __init__(self, may_send: Callable[[], bool]) -> None:
        self._may_send = may_send
        self._sent = False
        self._reply: RawResponseMessage | None = None

    async def run(self, connection: Connection, method: str, message: bytes) -> HttpResponse:
        """Send ``message`` and return the reply.

        The connection is kept if both are complete, and closed otherwise.

        Raises:
            Exception: there is no complete reply; ``evidence`` returns what that means.
        """
        transport, protocol = connection.transport, connection.protocol
        is_complete = False
        try:
            if transport is None or protocol is None or transport.is_closing():
                raise aiohttp.ServerDisconnectedError
            if protocol.should_close:
                raise UnaskedReplyError
            protocol.set_response_params(
                skip_payload=method == "HEAD",
                read_until_eof=True,
                max_line_size=HEADER_BYTES_MAX,
                max_field_size=HEADER_BYTES_MAX,
                max_headers=HEADERS_MAX,
            )
            self.depart(transport, message)
            reply, content = await protocol.read()
            while reply.code in INFORMATIONAL:
                reply, content = await protocol.read()
            self._reply = reply
            body = await _body(content)
            is_complete = body is not None and not transport.get_write_buffer_size()
        finally:
            if is_complete:
                connection.release()
            else:
                connection.close()
        return HttpResponse(reply.code, reply.headers, body)

    def depart(self, transport: asyncio.WriteTransport, message: bytes) -> None:
        """Check the lease and write the request; nothing runs in between.

        Raises:
            _WithheldError: the lease has expired.
        """
        if not self._may_send():
            raise _WithheldError
        self._sent = True
        transport.write(message)

    def evidence(self, error: Exception) -> SendResult:
        """Return the result of the exchange that failed with ``error``."""
        if self._reply is not None:
            return HttpResponse(self._reply.code, self._reply.headers, None)
        detail = type(error).__name__  # never its message, which may contain a person's e-mail
        return NoResponse(detail) if self._sent else NotSent(detail)


def _message(request: Request, headers: Mapping[str, str], origin: ClientRequest) -> bytes:
    """Return the bytes of a request.

    Raises:
        ValueError: its head would have a control character, or two authorizations.
    """
    if "Authorization" in origin.headers and "Authorization" in headers:
        raise ValueError("the URL has credentials, and the request has others")
    lines = [f"{request.method} {request.url.raw_path_qs} HTTP/1.1"]
    lines += [f"{name}: {text}" for name, text in chain(origin.headers.items(), headers.items())]
    if request.body is not None or request.method not in WITHOUT_CONTENT:
        lines.append(f"Content-Length: {len(request.body or b'')}")
    if request.body is not None and "Content-Type" not in headers:
        lines.append("Content-Type: application/octet-stream")
    if any(map(FORBIDDEN.search, lines)):
        raise ValueError("a control character in the head")
    return "\r\n".join([*lines, "", ""]).encode() + (request.body or b"")


async def _body(content: aiohttp.StreamReader) -> bytes | None:
    """Return the body; None if it is larger than ``BODY_BYTES_MAX``."""
    chunks = []
    size = 0
    while chunk := await content.readany():
        size += len(chunk)
        if size > BODY_BYTES_MAX:
            return None
        chunks.append(chunk)
    return b"".join(chunks)


# Requests at once


class PermitPool:
    """A semaphore whose size is the current limit of ``concurrency``.

    ``acquired`` counts all permits ever granted, ``in_flight`` those not yet released.
    """

    __slots__ = ("_waiting", "acquired", "concurrency", "in_flight")

    def __init__(self, concurrency: AdaptiveConcurrency) -> None:
        self.concurrency = concurrency
        self.acquired = 0
        self.in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def in_use(self) -> int:
        """The number of requests that hold or wait for a permit."""
        return self.in_flight + len(self._waiting)

    async def acquire(self, *, timeout_s: float) -> bool:
        """Acquire a permit; return False if none became free within ``timeout_s``."""
        if not self._waiting and self.in_flight < self.concurrency.limit:
            self._grant()
            return True
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled():
                self.release()  # it was granted at the moment in which the wait ended
            elif waiter in self._waiting:
                self._waiting.remove(waiter)
            if isinstance(error, TimeoutError):
                return False
            raise
        return True

    def release(self) -> None:
        """Return a permit and grant it to the longest waiting request."""
        self.in_flight -= 1
        while self._waiting and self.in_flight < self.concurrency.limit:
            waiter = self._waiting.popleft()
            if not waiter.done():  # otherwise its request no longer waits
                self._grant()
                waiter.set_result(None)

    def _grant(self) -> None:
        self.acquired += 1
        self.in_flight += 1
