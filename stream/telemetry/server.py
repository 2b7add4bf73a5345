"""The service's own HTTP: metrics for Prometheus, health for Kubernetes, status for people."""

import html
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web
from prometheus_client import exposition
from prometheus_client.openmetrics import exposition as openmetrics

from stream import __version__
from stream.telemetry.metrics import Metrics
from stream.telemetry.observer import Vitals

LOOP_AGE_S_MAX = 15.0
POLL_AGE_S_MAX = 60.0


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

    def __init__(self, metrics: Metrics, vitals: Vitals, polled_at: Callable[[], float]) -> None:
        self._metrics = metrics
        self._vitals = vitals
        self._polled_at = polled_at
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
            return _json(body, status=200 if ok else 503)

        return handler

    async def _serve_metrics(self, request: web.Request) -> web.Response:
        if "application/openmetrics-text" in request.headers.get("Accept", ""):
            body = openmetrics.generate_latest(self._metrics.registry)
            kind = openmetrics.CONTENT_TYPE_LATEST
        else:
            body = exposition.generate_latest(self._metrics.registry)
            kind = exposition.CONTENT_TYPE_LATEST
        return web.Response(body=body, headers={"Content-Type": kind})

    async def _serve_status(self, _: web.Request) -> web.Response:
        return _json(self._status())

    async def _serve_page(self, _: web.Request) -> web.Response:
        return web.Response(text=page(self._status()), content_type="text/html")

    def _status(self) -> dict[str, Any]:
        vitals = self._vitals
        settled: dict[str, dict[str, int]] = {}
        for (outcome, reason), count in sorted(vitals.settled.items()):
            settled.setdefault(outcome, {})[reason or "-"] = count
        return {
            "version": __version__,
            "up_s": round(time.monotonic() - vitals.started_at, 1),
            "joined": vitals.joined,
            "draining": vitals.draining,
            "consumed": vitals.consumed,
            "settled": settled,
            "in_flight": vitals.in_flight,
            "in_doubt": vitals.in_doubt,
            "relinquished": vitals.relinquished,
            "circuits_open": dict(vitals.circuits),
            "lag_records": {str(p.number): lag for p, lag in sorted(vitals.lag.items())},
            "halted": {
                str(partition.number): {"reason": halted.reason, "detail": halted.detail}
                for partition, halted in sorted(vitals.halted.items())
            },
            "last_dead_letters": list(vitals.letters),
        }


def page(status: dict[str, Any]) -> str:
    """Return the status as a small page."""
    rows = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{_cell(value)}</td></tr>"
        for name, value in status.items()
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta http-equiv="refresh" content="2"><title>wootric-stream</title>'
        "<style>body{font:15px system-ui;margin:2rem;max-width:60rem}th{text-align:left;"
        "vertical-align:top;padding:.3rem 2rem .3rem 0}td{font-variant-numeric:tabular-nums}"
        "tr{border-bottom:1px solid #ddd}</style>"
        f"<h1>wootric-stream</h1><table>{rows}</table></html>"
    )


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return "<br>".join(f"{html.escape(str(k))}: {_cell(v)}" for k, v in value.items()) or "none"
    if isinstance(value, list):
        return "<br>".join(_cell(item) for item in value) or "none"
    return html.escape(str(value))


def _json(body: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")
