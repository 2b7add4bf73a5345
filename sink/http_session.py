"""HTTP transport over aiohttp that reports whether a request may have been sent.

A request is never resent implicitly, only cancellation is raised, and every result states
whether bytes of the request may have left.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_reqrep import ClientResponse
from aiohttp.connector import Connection

from sink.concurrency import AdaptiveConcurrency
from sink.models import HttpResponse, LeaseExpired, NoResponse, NotSent, Request, SendResult, always
from sink.proxy import proxies

BODY_BYTES_MAX = 8 * 1024 * 1024  # fifty responses with long texts are far smaller
HEADER_BYTES_MAX = 64 * 1024  # of one line; proxies add policies and cookies of many kilobytes
HEADERS_MAX = 512
KEEPALIVE_S = 4.0  # common servers close after 5 s; losing that race would look ambiguous
CONNECT_S_MAX = 3.0
TICK_S_MAX = 0.05  # precision of deadlines
SPARE_CONNECTIONS = 2  # for the token and the probe, in addition to the deliveries


class HttpSession:
    """A bounded connection pool. An asynchronous context manager.

    Requests go through the proxy of the environment, if it names one: see ``sink.proxy``.
    """

    def __init__(self, *, in_flight_max: int, request_timeout_s: float) -> None:
        self._in_flight_max = in_flight_max
        self._request_timeout_s = request_timeout_s
        self._deadlines = _Deadlines(request_timeout_s)
        self._proxy_for = proxies()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._in_flight_max + SPARE_CONNECTIONS, keepalive_timeout=KEEPALIVE_S
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            request_class=_GatedRequest,
            skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),
            max_line_size=HEADER_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
            max_headers=HEADERS_MAX,
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=min(CONNECT_S_MAX, self._request_timeout_s / 2)
            ),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

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
        if self._session is None:
            raise RuntimeError("the session is not open")
        attempt = _Attempt(may_send)
        deadline = self._deadlines.add()
        try:
            async with (
                deadline,
                self._session.request(
                    request.method,
                    request.url,
                    headers=headers,
                    data=request.body,
                    allow_redirects=False,
                    proxy=self._proxy_for(request.url),
                    middlewares=(attempt,),
                ) as response,
            ):
                attempt.response = response
                return HttpResponse(response.status, response.headers, await _body(response))
        except _WithheldError:
            return LeaseExpired()
        except Exception as error:  # noqa: BLE001  (any error: only whether bytes were sent matters)
            return attempt.evidence(error)
        finally:
            self._deadlines.remove(deadline)


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


class _ConnectionLostError(Exception):
    """The connection was lost. Not one of aiohttp's classes, because aiohttp resends on those."""


class _Attempt:
    """A client middleware that tracks how far one request has progressed."""

    __slots__ = ("_may_send", "response", "sent")

    def __init__(self, may_send: Callable[[], bool]) -> None:
        self._may_send = may_send
        self.sent = False
        self.response: ClientResponse | None = None

    async def __call__(
        self,
        request: aiohttp.ClientRequest,
        handler: Callable[[aiohttp.ClientRequest], Awaitable[ClientResponse]],
    ) -> ClientResponse:
        if isinstance(request, _GatedRequest):
            request.attempt = self
        try:
            return await handler(request)
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            # Past this point aiohttp would send a GET, PUT or DELETE a second time
            # (its client.py, "retry_persistent_connection", read in 3.14.5).
            raise _ConnectionLostError from error

    def depart(self) -> None:
        """Check the lease and mark the request as sent.

        Raises:
            _WithheldError: the lease has expired.
        """
        if not self._may_send():
            raise _WithheldError
        self.sent = True

    def evidence(self, error: Exception) -> SendResult:
        """Return the result of the attempt that failed with ``error``."""
        if self.response is not None:
            return HttpResponse(self.response.status, self.response.headers, None)
        # Only class names: aiohttp's messages contain the URL, and with it a person's e-mail.
        cause = error.__cause__ if isinstance(error, _ConnectionLostError) else error
        detail = type(cause).__name__
        return NoResponse(detail) if self.sent else NotSent(detail)


class _GatedRequest(aiohttp.ClientRequest):
    """A request that checks the lease when its connection is ready, before the first byte.

    aiohttp writes a head without a body in ``send``, but a head with a body in a separate task.
    A check in ``send`` would leave time for other tasks between the check and that write.
    """

    attempt: _Attempt  # set by the middleware

    async def send(self, conn: Connection) -> ClientResponse:
        if not self.body:
            self.attempt.depart()
        return await super().send(conn)

    async def write_bytes(
        self,
        writer: AbstractStreamWriter,
        conn: Connection,
        content_length: int | None = None,
    ) -> None:
        try:
            self.attempt.depart()
        except _WithheldError as error:
            if conn.protocol is not None:
                conn.protocol.set_exception(error)  # raised where the reply is read, which closes
            return
        await super().write_bytes(writer, conn, content_length)


async def _body(response: ClientResponse) -> bytes | None:
    """Return the body; None if it is larger than ``BODY_BYTES_MAX``."""
    chunks = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > BODY_BYTES_MAX:
            response.close()
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
