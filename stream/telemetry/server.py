"""The service's own HTTP: metrics for Prometheus, health for Kubernetes, status for people."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import orjson
from aiohttp import web
from prometheus_client import exposition
from prometheus_client.openmetrics import exposition as openmetrics

from stream.telemetry.gauges import Gauges
from stream.telemetry.metrics import Metrics
from stream.telemetry.status import Identity, status
from stream.telemetry.vitals import Vitals

LOOP_AGE_S_MAX = 15.0
POLL_AGE_S_MAX = 60.0
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data:; connect-src 'self'",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True, slots=True)
class Check:
    """One reason for or against being healthy."""

    name: str
    ok: bool
    detail: str


class StatusServer:
    """Serves on a port until closed. ``polled_at`` gives when the group was last polled
    (monotonic seconds).
    """

    def __init__(
        self,
        metrics: Metrics,
        vitals: Vitals,
        gauges: Gauges,
        *,
        identity: Identity,
        polled_at: Callable[[], float],
    ) -> None:
        self._metrics = metrics
        self._vitals = vitals
        self._gauges = gauges
        self._identity = identity
        self._polled_at = polled_at
        self._page = files("stream.telemetry").joinpath("page.html").read_text("utf-8")
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int) -> None:
        """Begin to serve.

        Raises:
            OSError: the port is taken.
        """
        app = web.Application()
        app.router.add_get("/metrics", self._serve_metrics)
        app.router.add_get("/livez", self._serve(self._live))
        app.router.add_get("/readyz", self._serve(self._ready))
        app.router.add_get("/startupz", self._serve(self._started))
        app.router.add_get("/status", self._serve_status)
        app.router.add_get("/", self._serve_page)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()

    async def close(self) -> None:
        """Stop serving."""
        if self._runner is not None:
            await self._runner.cleanup()

    def _live(self) -> list[Check]:
        now = time.monotonic()
        loop_age, poll_age = now - self._vitals.beat_at, now - self._polled_at()
        return [
            Check("loop", loop_age < LOOP_AGE_S_MAX, f"turned {loop_age:.1f} s ago"),
            Check("poll", poll_age < POLL_AGE_S_MAX, f"polled the group {poll_age:.1f} s ago"),
        ]

    def _ready(self) -> list[Check]:
        """Latched: an outage of Wootric must not make every pod unready."""
        return [
            Check("joined", self._vitals.joined, "the group has given an assignment"),
            Check("draining", not self._vitals.draining, "not shutting down"),
        ]

    def _started(self) -> list[Check]:
        return [Check("joined", self._vitals.joined, "the group has given an assignment")]

    def _serve(self, checks: Callable[[], list[Check]]) -> Callable[[web.Request], Any]:
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
        self._gauges.refresh()
        if "application/openmetrics-text" in request.headers.get("Accept", ""):
            body = openmetrics.generate_latest(self._metrics.registry)
            kind = openmetrics.CONTENT_TYPE_LATEST
        else:
            body = exposition.generate_latest(self._metrics.registry)
            kind = exposition.CONTENT_TYPE_LATEST
        return web.Response(body=body, headers={"Content-Type": kind})

    async def _serve_status(self, _: web.Request) -> web.Response:
        self._gauges.refresh()
        return _json(status(self._vitals, self._identity))

    async def _serve_page(self, _: web.Request) -> web.Response:
        return web.Response(text=self._page, content_type="text/html", headers=PAGE_HEADERS)


def _json(body: dict[str, Any], code: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=code, content_type="application/json")
