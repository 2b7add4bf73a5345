"""State of one host: circuit, rate limiter and permits; reports changes to the listener."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from sink.classify import Ambiguous, Classification, LeaseExpired, NotExecuted, Throttled
from sink.delivery import SinkListener
from sink.http_session import PermitPool
from sink.models import HttpResponse, Request, SendResult, Transport
from sink.rate_limit import CircuitBreaker, RateLimiter, backoff_s, demanded_wait_s, read_quota

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


FAILING_MAX = 1_000


class FailureScope:
    """Tells the failures of one delivery from those of the host.

    A failure is isolated if, since the same delivery failed last, the host has served another
    delivery's request of the same name; or, where no other delivery fails in a request of that
    name, any other delivery's request of the same effect. The first failure never is.
    """

    __slots__ = ("_failing", "_served")

    def __init__(self) -> None:
        self._failing: dict[str, OrderedDict[str, float]] = {}
        self._served: dict[tuple[bool, str], dict[str, float]] = {}

    def succeeded(self, request: Request, delivery: str, *, now: float) -> None:
        """Record a reply. Of each name of requests, the last two deliveries are kept."""
        served = self._served.setdefault((request.writes, request.name), {})
        served.pop(delivery, None)
        served[delivery] = now
        if len(served) > 2:  # one of two is another delivery's
            del served[next(iter(served))]
        failing = self._failing.get(request.name)
        if failing:
            failing.pop(delivery, None)

    def failed(self, request: Request, delivery: str, *, now: float) -> bool:
        """Record a failure; return whether it is isolated."""
        failing = self._failing.setdefault(request.name, OrderedDict())
        since = failing.pop(delivery, None)
        failing[delivery] = now
        if len(failing) > FAILING_MAX:
            failing.popitem(last=False)
        if since is None:
            return False
        if self._others_served((request.writes, request.name), delivery, since):
            return True
        return len(failing) == 1 and any(
            self._others_served(kind, delivery, since)
            for kind in self._served
            if kind[0] == request.writes
        )

    def _others_served(self, kind: tuple[bool, str], delivery: str, since: float) -> bool:
        served = self._served.get(kind, {})
        return any(at > since for other, at in served.items() if other != delivery)


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
        self._failures = FailureScope()
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

    def on_response(self, request: Request, delivery: str) -> None:
        """Record a reply to a request of a delivery that was not throttled."""
        self.circuit.record_success()
        self.rate_limiter.on_success()
        self._failures.succeeded(request, delivery, now=self._dependencies.clock())

    def on_failure(self, request: Request, delivery: str) -> bool:
        """Record an attempt without a reply; return whether the failure is isolated."""
        now = self._dependencies.clock()
        if self.circuit.record_failure(now=now):
            self._announce("unreachable")
        return self._failures.failed(request, delivery, now=now) and not self.circuit.is_open

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
