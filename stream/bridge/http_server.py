"""The webhook's port: bounded in connections, in heads, and in the time for each."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from stream.telemetry.http import Check, HealthServer
from stream.telemetry.metrics import BridgeMetrics

LINE_BYTES_MAX = 8190
HEADERS_MAX = 64
LINGER_S = 2.0
"""How long the rest of a body is read that nobody wants, so that its sender sees the answer."""
READ_AHEAD_BYTES = 32 * 1024

# aiohttp quotes what it could not read, which may be anything; answers are counted instead.
_SILENT = logging.getLogger("stream.bridge.http_server")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerBounds:
    """Times in seconds. ``drain_s`` is for what is under way when the port is closed."""

    connections_max: int
    keepalive_s: float
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
            keepalive_timeout=bounds.keepalive_s,
            max_line_size=LINE_BYTES_MAX,
            max_field_size=LINE_BYTES_MAX,
            max_headers=HEADERS_MAX,
            read_bufsize=READ_AHEAD_BYTES,
            lingering_time=LINGER_S,
            auto_decompress=False,
            access_log_class=partial(Tally, metrics=metrics),
            access_log=_SILENT,
            logger=_SILENT,
        )
        self._runner = web.ServerRunner(self._server, shutdown_timeout=bounds.drain_s)
        self._listening: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> None:
        """Begin to listen.

        Raises:
            OSError: the port is taken.
        """
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(self._connect, host, port)

    async def close(self) -> None:
        """Take no more requests, and answer those that are under way."""
        if self._listening is not None:
            self._listening.close()
        await self._runner.cleanup()

    def _connect(self) -> asyncio.Protocol:
        if len(self._server.connections) < self._bounds.connections_max:
            return self._server()
        self._metrics.connections_refused.inc()
        return Turned()


class Turned(asyncio.Protocol):
    """A connection that is one too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Close it at once."""
        transport.close()


class Tally(AbstractAccessLogger):
    """Counts every answer, also to what was no request at all."""

    def __init__(self, logger: logging.Logger, log_format: str, *, metrics: BridgeMetrics) -> None:
        super().__init__(logger, log_format)
        self._metrics = metrics

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:  # noqa: ARG002  aiohttp's signature
        """Count one."""
        self._metrics.requests.labels(str(response.status)).inc()
        self._metrics.request_seconds.observe(time)


# The bridge's health: alive while its loop and its client turn, ready once it has begun


POLL_AGE_S_MAX = 60.0


@dataclass(slots=True)
class BridgeHealth:
    """What the probes are answered from. An outage of Kafka does not change readiness: the
    bridge says 503 itself, and when to come again. ``polled_at`` is in monotonic seconds.
    """

    polled_at: Callable[[], float]
    started: bool = False
    draining: bool = False

    def live(self) -> Sequence[Check]:
        """Whether it has to be restarted; that anybody answers shows that the loop turns."""
        age = time.monotonic() - self.polled_at()
        return [Check("poll", age < POLL_AGE_S_MAX, f"polled Kafka {age:.1f} s ago")]

    def ready(self) -> Sequence[Check]:
        """Whether it takes events."""
        return [*self.begun(), Check("draining", not self.draining, "not shutting down")]

    def begun(self) -> Sequence[Check]:
        """Whether it has begun."""
        return [Check("started", self.started, "events are taken")]


def health_server(metrics: BridgeMetrics, standing: BridgeHealth) -> HealthServer:
    """Return a server of metrics and health that is not started yet."""
    checks = {"/livez": standing.live, "/readyz": standing.ready, "/startupz": standing.begun}
    return HealthServer(metrics.registry, checks)
