"""Metrics of a process: memory limit, expiry of its certificates, lag of its event loop."""

import asyncio
import os
import re
import ssl
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, Histogram

CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
"""Limits of cgroups v2 and v1 as seen in a container."""
UNLIMITED_BYTES = 2**60
"""The v1 hierarchy writes a number near 2**63 where there is no limit."""


def memory_limit_gauge(registry: CollectorRegistry) -> Gauge:
    """Return a gauge with the process's memory limit."""
    gauge = Gauge(
        "wootric_memory_limit_bytes",
        "Memory limit of the container; +Inf without a limit. Compare process_resident_memory_bytes"
        ": at the limit the process is killed.",
        registry=registry,
    )
    gauge.set(memory_limit())
    return gauge


def memory_limit() -> float:
    """Return the memory limit of the process's control group in bytes; inf without a limit."""
    for file in CGROUP_LIMITS:
        try:
            limit = float(file.read_text().strip().replace("max", "inf"))
        except (OSError, ValueError):
            continue
        return limit if limit < UNLIMITED_BYTES else float("inf")
    return float("inf")


# Certificates

VALIDITY = re.compile(
    rb"\x30.(?:\x17\x0d\d{12}|\x18\x0f\d{14})Z(?:\x17\x0d(\d{12})|\x18\x0f(\d{14}))Z", re.DOTALL
)
"""A certificate's validity: two times as UTCTime or GeneralizedTime, always with seconds and Z.
Source: RFC 5280, 4.1.2.5."""
CENTURY_OF_UTC_TIME = 50
"""Two-digit years from here on are of the twentieth century. Source: RFC 5280, 4.1.2.5.1."""
PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
BUNDLES = ("ssl.ca.location", "ssl.ca.pem", "SSL_CERT_FILE")
CHAINS = ("ssl.certificate.location", "ssl.certificate.pem")


def certificate_gauge(registry: CollectorRegistry) -> Gauge:
    """Return a gauge for the times at which certificates expire; see ``watch_certificates``."""
    return Gauge(
        "wootric_certificate_expiry_timestamp_seconds",
        "Unix time at which a certificate expires, by the setting that names it: of a chain the "
        "first to expire, of trusted certificates the last. NaN if it cannot be read.",
        ["certificate"],
        registry=registry,
    )


def watch_certificates(gauge: Gauge, properties: Mapping[str, Any]) -> None:
    """Show the expiry of each certificate that librdkafka's properties and the environment
    variable ``SSL_CERT_FILE`` name; replaced files are read again.
    """
    named = {**os.environ, **properties}
    for name in (*BUNDLES, *CHAINS):
        value = str(named.get(name) or "")
        if value:
            gauge.labels(name).set_function(partial(_expiry, name, value))


def _expiry(name: str, value: str) -> float:
    try:
        if name.endswith(".pem"):
            ends = _ends(value)
        else:
            ends = _ends_of_file(value, Path(value).stat().st_mtime_ns)
    except OSError:
        return float("nan")
    choose = max if name in BUNDLES else min
    return choose(ends, default=float("nan"))


@cache
def _ends_of_file(path: str, _changed_ns: int) -> tuple[float, ...]:
    return _ends(Path(path).read_text("ascii", "replace"))


def _ends(text: str) -> tuple[float, ...]:
    return tuple(expiries(text))


def expiries(text: str) -> Iterator[float]:
    """Yield the Unix time at which each certificate of a PEM text expires."""
    for pem in PEM.findall(text):
        found = VALIDITY.search(ssl.PEM_cert_to_DER_cert(pem))
        if found is None:
            continue
        short, long = found.groups()
        if short is not None:
            century = "19" if int(short[:2]) >= CENTURY_OF_UTC_TIME else "20"
            long = century.encode() + short
        yield datetime.strptime(long.decode(), "%Y%m%d%H%M%S").replace(tzinfo=UTC).timestamp()


# Event loop lag: the delay of a timer


EVERY_S = 0.25


class LoopLagProbe:
    """Measures the event loop's lag until closed."""

    def __init__(self, lag: Histogram) -> None:
        self._lag = lag
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(EVERY_S, self._measure, self._loop.time() + EVERY_S)

    def close(self) -> None:
        """Stop measuring."""
        self._timer.cancel()

    def _measure(self, planned: float) -> None:
        now = self._loop.time()
        self._lag.observe(max(0.0, now - planned))
        self._timer = self._loop.call_later(EVERY_S, self._measure, now + EVERY_S)
