"""State of one host: circuit, rate limiter and permits; reports changes to the listener."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from sink.classify import Ambiguous, Classification, LeaseExpired, NotExecuted, Throttled
from sink.http_session import PermitPool
from sink.models import HttpResponse, SendResult, Transport
from sink.rate_limit import CircuitBreaker, RateLimiter, backoff_s, demanded_wait_s, read_quota
from sink.wootric.delivery import SinkListener

# Dependencies shared by all parts of the sink


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependencies:
    """``clock`` returns monotonic seconds, ``wall_clock`` Unix seconds, ``random`` numbers in
    [0, 1).
    """

    http: Transport
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time
    random: Callable[[], float] = Random().random  # noqa: S311  (jitter, not a secret)
    hooks: SinkListener = field(default_factory=SinkListener)


THROTTLE_INITIAL_S = 1.0
THROTTLE_MAX_S = 15.0  # an occasional request costs nothing


class Endpoint:
    """Circuit, rate limiter and permits of one host. ``circuit_opened`` is set while the circuit
    is open.
    """

    def __init__(
        self,
        dependencies: Dependencies,
        name: str,
        *,
        circuit: CircuitBreaker,
        rate_limiter: RateLimiter,
        permits: PermitPool,
    ) -> None:
        self._dependencies = dependencies
        self.name = name
        self.circuit = circuit
        self.rate_limiter = rate_limiter
        self.permits = permits
        self.circuit_opened = asyncio.Event()
        dependencies.hooks.concurrency_changed(name, permits.concurrency.limit)

    def open(self, reason: str) -> None:
        """Open the circuit because of credentials, account or address."""
        if self.circuit.open(reason, now=self._dependencies.clock()):
            self._announce(reason)

    def close(self) -> None:
        """Close the circuit: the host accepts requests again."""
        if self.circuit.close():
            self.circuit_opened.clear()
            self._dependencies.hooks.circuit_changed(self.name, False, "")

    def on_response(self) -> None:
        """Record a reply to a request that was not throttled."""
        self.circuit.record_success()
        self.rate_limiter.on_success()

    def on_failure(self) -> None:
        """Record an attempt without a reply."""
        if self.circuit.record_failure(now=self._dependencies.clock()):
            self._announce("unreachable")

    def throttle(self, verdict: Throttled) -> None:
        """Block requests for as long as the host asks, or with back-off if it does not say."""
        wait_s = demanded_wait_s(verdict.headers, unix_now=self._dependencies.wall_clock())
        throttle_count = self.rate_limiter.on_throttled(self._dependencies.clock())
        if wait_s is None:
            wait_s = backoff_s(
                throttle_count,
                initial_s=THROTTLE_INITIAL_S,
                max_s=THROTTLE_MAX_S,
                jitter=0.5 + self._dependencies.random() / 2,
            )
        self.rate_limiter.block_for(wait_s, now=self._dependencies.clock())
        self._dependencies.hooks.throttled(wait_s)

    def finished(self, name: str, verdict: Classification, took_s: float) -> None:
        """Adapt the concurrency limit to the result of a request, and release its permit."""
        permits = self.permits
        if not isinstance(verdict, LeaseExpired):
            changed = permits.concurrency.finished(
                name,
                took_s,
                failed=isinstance(verdict, Ambiguous | NotExecuted | Throttled),
                in_flight=permits.in_flight,
                now=self._dependencies.clock(),
            )
            if changed:
                self._dependencies.hooks.concurrency_changed(self.name, permits.concurrency.limit)
        permits.release()

    def on_rate_limit_headers(self, evidence: SendResult, *, number: int) -> None:
        """Apply the quota of a reply, so that it is not exceeded.

        ``number`` is the number of requests that had been sent, including this one.
        """
        if not isinstance(evidence, HttpResponse) or evidence.status == 429:
            return
        quota = read_quota(evidence.headers, unix_now=self._dependencies.wall_clock())
        if quota is None:
            return
        self.rate_limiter.update_quota(
            quota,
            uncounted=min(self.permits.in_flight - 1, self.permits.acquired - number),
            now=self._dependencies.clock(),
            only_in_flight=self.permits.in_use == 1,
        )
        limit = quota.limit or 0
        self._dependencies.hooks.allowance_changed(self.name, quota.remaining, limit)

    def _announce(self, reason: str) -> None:
        self.circuit_opened.set()
        self._dependencies.hooks.circuit_changed(self.name, True, reason)
