"""HTTP server: metrics for Prometheus, health for Kubernetes, status for operators."""

import hmac
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, TypeAlias

import orjson
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from prometheus_client import CollectorRegistry, exposition
from prometheus_client.openmetrics import exposition as openmetrics
from pydantic import SecretStr

from stream.errors import StartupError
from stream.telemetry.metrics import Metrics
from stream.telemetry.status import Identity, StatusGauges, WorkerStatus, status

LOOP_AGE_S_MAX = 15.0
POLL_AGE_S_MAX = 60.0
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data:; connect-src 'self'",
    "Cache-Control": "no-store",
}

UNAUTHORIZED = "a bearer token is required: send Authorization: Bearer and HTTP__BEARER_TOKEN"

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.Response]]


def _is_a_defect(record: logging.LogRecord) -> bool:
    """Return whether an error is the server's own, not an invalid HTTP request."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError)


_defects = logging.getLogger(__name__)
_defects.addFilter(_is_a_defect)


@dataclass(frozen=True, slots=True)
class Check:
    """One check of a health probe."""

    name: str
    ok: bool
    detail: str


Checks: TypeAlias = Callable[[], Sequence[Check]]
BearerToken: TypeAlias = Callable[[], SecretStr | None]
"""Returns the token in effect, which may change at runtime; None: every request is answered."""


class HealthServer:
    """Serves metrics and health until closed. ``refresh`` is called before every response with
    figures; ``checks`` maps the path of a probe to its checks, which needs no token.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        checks: Mapping[str, Checks],
        *,
        refresh: Callable[[], None] = lambda: None,
        bearer_token: BearerToken = lambda: None,
    ) -> None:
        self._registry = registry
        self._bearer_token = bearer_token
        self._checks = checks
        self._refresh = refresh
        self._runner: web.AppRunner | None = None

    def routes(self) -> dict[str, Handler]:
        """Return the handlers by path."""
        probes = {path: self._probe(checks) for path, checks in self._checks.items()}
        return {"/metrics": self._serve_metrics, **probes}

    async def start(self, host: str, port: int) -> None:
        """Start serving.

        An empty host stands for all addresses, IPv4 and IPv6.

        Raises:
            StartupError: the port cannot be used.
        """
        app = web.Application(middlewares=[self._authorize])
        for path, handler in self.routes().items():
            app.router.add_get(path, handler)
        self._runner = web.AppRunner(app, access_log=None, logger=_defects)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host or None, port).start()
        except OSError as error:
            text = f"HTTP__PORT {port} cannot be used: {error.strerror}; choose another port"
            raise StartupError(text, exit_code=69) from error

    async def close(self) -> None:
        """Stop serving."""
        if self._runner is not None:
            await self._runner.cleanup()

    @web.middleware
    async def _authorize(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        token = self._bearer_token()
        if token is None or request.path in self._checks or _carries(request, token):
            return await handler(request)
        headers = {"WWW-Authenticate": "Bearer"}
        return web.json_response({"error": UNAUTHORIZED}, status=401, headers=headers)

    def _probe(self, checks: Checks) -> Handler:
        async def handler(_: web.Request) -> web.Response:
            results = checks()
            ok = all(check.ok for check in results)
            body = {
                "ok": ok,
                "checks": {
                    check.name: {"ok": check.ok, "detail": check.detail} for check in results
                },
            }
            return _json(body, 200 if ok else 503)

        return handler

    async def _serve_metrics(self, request: web.Request) -> web.Response:
        self._refresh()
        if "application/openmetrics-text" in request.headers.get("Accept", ""):
            body = openmetrics.generate_latest(self._registry)
            kind = openmetrics.CONTENT_TYPE_LATEST
        else:
            body = exposition.generate_latest(self._registry)
            kind = exposition.CONTENT_TYPE_LATEST
        return web.Response(body=body, headers={"Content-Type": kind})


class StatusServer(HealthServer):
    """Serves a worker's health and status. ``polled_at`` returns the time of the last poll
    (monotonic seconds).
    """

    def __init__(
        self,
        metrics: Metrics,
        worker: WorkerStatus,
        gauges: StatusGauges,
        *,
        identity: Identity,
        polled_at: Callable[[], float],
        bearer_token: BearerToken = lambda: None,
    ) -> None:
        checks = {"/livez": self._live, "/readyz": self._ready, "/startupz": self._started}
        super().__init__(
            metrics.registry, checks, refresh=gauges.refresh, bearer_token=bearer_token
        )
        self._worker = worker
        self._gauges = gauges
        self._identity = identity
        self._polled_at = polled_at
        self._page = files("stream.telemetry").joinpath("page.html").read_text("utf-8")

    def routes(self) -> dict[str, Handler]:
        """Return the handlers by path."""
        return {**super().routes(), "/status": self._serve_status, "/": self._serve_page}

    def _live(self) -> list[Check]:
        now = time.monotonic()
        loop_age, poll_age = now - self._worker.loop_at, now - self._polled_at()
        return [
            Check("loop", loop_age < LOOP_AGE_S_MAX, f"turned {loop_age:.1f} s ago"),
            Check("poll", poll_age < POLL_AGE_S_MAX, f"polled the group {poll_age:.1f} s ago"),
        ]

    def _ready(self) -> list[Check]:
        """Ready once joined and restored, so that a rolling update waits for a large ledger. An
        outage of Wootric must not make every pod unready, nor must a halted partition.
        """
        left = sum(self._gauges.restoring.values())
        return [
            Check("joined", self._worker.joined, "the group has assigned partitions"),
            Check("restored", not self._gauges.restoring, f"{left} ledger records to restore"),
            Check("draining", not self._worker.draining, "not shutting down"),
        ]

    def _started(self) -> list[Check]:
        return [Check("joined", self._worker.joined, "the group has assigned partitions")]

    async def _serve_status(self, _: web.Request) -> web.Response:
        self._refresh()
        return _json(status(self._worker, self._identity))

    async def _serve_page(self, _: web.Request) -> web.Response:
        return web.Response(text=self._page, content_type="text/html", headers=PAGE_HEADERS)


def _carries(request: web.Request, token: SecretStr) -> bool:
    """Compare in a time that does not depend on where the tokens differ."""
    expected = f"Bearer {token.get_secret_value()}".encode()
    given = request.headers.get("Authorization", "").encode(errors="surrogateescape")
    return hmac.compare_digest(given, expected)


def _json(body: dict[str, Any], code: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=code, content_type="application/json")
