"""HTTP server of the webhook: limits on connections, request heads and times."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias, cast

import structlog
from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from stream.bridge.admission import Admission, network
from stream.telemetry.http import BearerToken, Check, HealthServer
from stream.telemetry.metrics import BridgeMetrics

LINE_BYTES_MAX = 8190
HEADERS_MAX = 64
HEAD_BYTES_MAX = 16 * 1024
"""Of a head that is not complete. Segment's has about 500 bytes."""
LINGER_S = 2.0
"""Seconds for which the rest of a rejected body is read, so that its sender gets the response."""
READ_AHEAD_BYTES = 32 * 1024
KEEPALIVE_S = 75.0
"""How long to wait for the next request; then the connection is closed."""
BACKLOG = 1024
"""Connections that the kernel accepts ahead; a sender beyond it waits a second and longer."""
CLOSINGS_LOGGED_EVERY_S = 60.0

# aiohttp's messages quote invalid requests, which may contain anything; responses are counted.
_SILENT = logging.getLogger("stream.bridge.http_server")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False

Handler: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
Cause: TypeAlias = Literal["capacity", "refusals", "slow_head", "long_head"]

log = structlog.get_logger()


class HttpServer:
    """Serves one handler until closed.

    ``head_timeout_s`` is for a request's head, ``drain_s`` for the requests in flight when the port
    is closed.
    """

    def __init__(
        self,
        handler: Handler,
        admission: Admission,
        metrics: BridgeMetrics,
        *,
        head_timeout_s: float,
        drain_s: float,
    ) -> None:
        self._server = web.Server(handler)
        self._admission = admission
        self._closed = ClosedConnections(metrics)
        self._connection = partial(
            Connection,
            self._server,
            admission=admission,
            closed=self._closed,
            head_timeout_s=head_timeout_s,
            access_log_class=partial(ResponseCounter, metrics=metrics),
        )
        self._runner = web.ServerRunner(self._server, shutdown_timeout=drain_s)
        self._listening: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> None:
        """Start listening. An empty host stands for all addresses, IPv4 and IPv6.

        Raises:
            OSError: the port cannot be used.
        """
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(
            lambda: Entrance(self._admit), host or None, port, backlog=BACKLOG
        )

    async def close(self) -> None:
        """Stop accepting requests, and finish those in flight."""
        if self._listening is not None:
            self._listening.close()
        await self._runner.cleanup()

    def _admit(self, address: str) -> "Connection | None":
        connections = self._admission.connections
        if self._admission.refusals.is_excluded(address, connections=connections.held(address)):
            self._closed.count("refusals")
            return None
        if not connections.take(address, 1):
            self._closed.count("capacity")
            return None
        return self._connection(address)


class Entrance(asyncio.Protocol):
    """A new connection, before anything is spent on it. ``admit`` returns None to close it."""

    def __init__(self, admit: "Callable[[str], Connection | None]") -> None:
        self._admit = admit

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hand the connection over, or close it immediately."""
        transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        connection = self._admit(network(peer[0] if peer else None))
        if connection is None:
            transport.abort()
            return
        transport.set_protocol(connection)
        connection.connection_made(transport)


class Connection(web.RequestHandler):
    """A connection. It is closed when a head does not arrive in time, is too long, or when its
    address has no refusals left.
    """

    def __init__(
        self,
        server: web.Server,
        address: str,
        *,
        admission: Admission,
        closed: "ClosedConnections",
        head_timeout_s: float,
        access_log_class: Callable[..., AbstractAccessLogger],
    ) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=KEEPALIVE_S,
            max_line_size=LINE_BYTES_MAX,
            max_field_size=LINE_BYTES_MAX,
            max_headers=HEADERS_MAX,
            read_bufsize=READ_AHEAD_BYTES,
            lingering_time=LINGER_S,
            auto_decompress=False,
            access_log_class=cast(type[AbstractAccessLogger], access_log_class),
            access_log=_SILENT,
            logger=_SILENT,
        )
        self._address = address
        self._admission = admission
        self._closed = closed
        self._head_timeout_s = head_timeout_s
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first head."""
        super().connection_made(transport)
        self._start_head_timer()

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        heads = self._request_count
        super().data_received(data)
        if self._request_count > heads:
            self._stop_head_timer()
        elif self._waits():
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                self._close_for("long_head")
            elif self._head_timer is None:
                self._start_head_timer()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Leave the place to others."""
        self._stop_head_timer()
        self._admission.connections.release(self._address, 1)
        super().connection_lost(exc)

    def log_access(
        self, request: web.BaseRequest, response: web.StreamResponse, time: float | None
    ) -> None:
        """Count a response, and a refusal for its sender; 5xx is not the sender's."""
        super().log_access(request, response, time)
        if 400 <= response.status < 500:
            self._admission.refusals.refused(self._address)
            if self._admission.refusals.is_excluded(self._address):
                self._closed.count("refusals")
                self.close()

    def _waits(self) -> bool:
        """Return whether no request is handled, and none is read to its end after a refusal."""
        return self._waiter is not None and not self._waiter.done()

    def _start_head_timer(self) -> None:
        self._head_timer = self._loop.call_later(self._head_timeout_s, self._close_for, "slow_head")

    def _stop_head_timer(self) -> None:
        self._head_bytes = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _close_for(self, cause: Cause) -> None:
        self._admission.refusals.refused(self._address)
        self._closed.count(cause)
        self._stop_head_timer()
        self.force_close()


class ClosedConnections:
    """Counts connections that the bridge closes by itself; logs them once a minute at most."""

    def __init__(self, metrics: BridgeMetrics) -> None:
        self._metrics = metrics
        self._unlogged: Counter[str] = Counter()
        self._logged_at = -CLOSINGS_LOGGED_EVERY_S

    def count(self, cause: Cause) -> None:
        """Count a connection."""
        self._metrics.connections_closed.labels(cause).inc()
        self._unlogged[cause] += 1
        now = time.monotonic()
        if now - self._logged_at >= CLOSINGS_LOGGED_EVERY_S:
            log.warning("connections_closed", **self._unlogged)
            self._unlogged.clear()
            self._logged_at = now


class ResponseCounter(AbstractAccessLogger):
    """Counts every response, including those to invalid requests."""

    def __init__(self, logger: logging.Logger, log_format: str, *, metrics: BridgeMetrics) -> None:
        super().__init__(logger, log_format)
        self._metrics = metrics

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:  # noqa: ARG002  aiohttp's signature
        """Count a response."""
        self._metrics.requests.labels(str(response.status)).inc()
        self._metrics.request_seconds.observe(time)


# The bridge's health: live while its loop and its Kafka client run, ready once started


POLL_AGE_S_MAX = 60.0


@dataclass(slots=True)
class BridgeHealth:
    """State for the probes. An outage of Kafka does not affect readiness: the bridge responds
    with 503 and ``Retry-After`` itself. ``polled_at`` returns monotonic seconds.
    """

    polled_at: Callable[[], float]
    started: bool = False
    draining: bool = False

    def live(self) -> Sequence[Check]:
        """Return the liveness checks; the response itself shows that the event loop runs."""
        age = time.monotonic() - self.polled_at()
        return [Check("poll", age < POLL_AGE_S_MAX, f"polled Kafka {age:.1f} s ago")]

    def ready(self) -> Sequence[Check]:
        """Return the readiness checks."""
        return [*self.begun(), Check("draining", not self.draining, "not shutting down")]

    def begun(self) -> Sequence[Check]:
        """Return the startup checks."""
        return [Check("started", self.started, "events are accepted")]


def health_server(
    metrics: BridgeMetrics, health_state: BridgeHealth, bearer_token: BearerToken
) -> HealthServer:
    """Return a server of metrics and health; the caller starts it."""
    checks = {
        "/livez": health_state.live,
        "/readyz": health_state.ready,
        "/startupz": health_state.begun,
    }
    return HealthServer(metrics.registry, checks, bearer_token=bearer_token)
