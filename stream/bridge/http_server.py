"""HTTP server of the webhook: limits on connections, request heads and times."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from stream.telemetry.http import BearerToken, Check, HealthServer
from stream.telemetry.metrics import BridgeMetrics

LINE_BYTES_MAX = 8190
HEADERS_MAX = 64
LINGER_S = 2.0
"""Seconds for which the rest of a rejected body is read, so that its sender gets the response."""
READ_AHEAD_BYTES = 32 * 1024
KEEPALIVE_S = 75.0
"""How long to wait for the next request's complete head; then the connection is closed."""

# aiohttp's messages quote invalid requests, which may contain anything; responses are counted.
_SILENT = logging.getLogger("stream.bridge.http_server")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerBounds:
    """Times in seconds. ``drain_s`` is for requests in flight when the port is closed."""

    connections_max: int
    drain_s: float


class HttpServer:
    """Serves one handler until closed."""

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        bounds: ListenerBounds,
        metrics: BridgeMetrics,
    ) -> None:
        self._bounds = bounds
        self._metrics = metrics
        self._server = web.Server(
            handler,
            keepalive_timeout=KEEPALIVE_S,
            max_line_size=LINE_BYTES_MAX,
            max_field_size=LINE_BYTES_MAX,
            max_headers=HEADERS_MAX,
            read_bufsize=READ_AHEAD_BYTES,
            lingering_time=LINGER_S,
            auto_decompress=False,
            access_log_class=partial(ResponseCounter, metrics=metrics),
            access_log=_SILENT,
            logger=_SILENT,
        )
        self._runner = web.ServerRunner(self._server, shutdown_timeout=bounds.drain_s)
        self._listening: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> None:
        """Start listening. An empty host stands for all addresses, IPv4 and IPv6.

        Raises:
            OSError: the port cannot be used.
        """
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(self._connect, host or None, port)

    async def close(self) -> None:
        """Stop accepting requests, and finish those in flight."""
        if self._listening is not None:
            self._listening.close()
        await self._runner.cleanup()

    def _connect(self) -> asyncio.Protocol:
        if len(self._server.connections) < self._bounds.connections_max:
            return self._server()
        self._metrics.connections_refused.inc()
        return RefusedConnection()


class RefusedConnection(asyncio.Protocol):
    """A connection above the limit."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Close it immediately."""
        transport.close()


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
