"""One host: whether it may be asked, when, and by how many. Told to whoever listens."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from sink.circuit_breaker import CircuitBreaker
from sink.classify import Ambiguous, Classification, NotExecuted, OutOfLease, Throttled
from sink.models import HttpResponse, SendResult, Transport
from sink.permits import PermitPool
from sink.rate_limit import RateLimiter, backoff_s, demanded_wait_s, read_allowance
from sink.wootric.delivery import SinkListener

# What every part of the sink needs from outside


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependencies:
    """``clock`` gives monotonic seconds, ``wall_clock`` Unix seconds, ``random`` numbers in
    [0, 1).
    """

    http: Transport
    clock: Callable[[], float]
    wall_clock: Callable[[], float]
    random: Callable[[], float]
    hooks: SinkListener


THROTTLE_INITIAL_S = 1.0
THROTTLE_MAX_S = 15.0  # to ask now and then costs nothing


class Endpoint:
    """A host's circuit, gate and slots. ``circuit_opened`` is set for as long as the circuit is
    open.
    """

    def __init__(
        self,
        context: Dependencies,
        name: str,
        *,
        circuit: CircuitBreaker,
        gate: RateLimiter,
        slots: PermitPool,
    ) -> None:
        self._context = context
        self.name = name
        self.circuit = circuit
        self.gate = gate
        self.slots = slots
        self.circuit_opened = asyncio.Event()
        context.hooks.concurrency_changed(name, slots.concurrency.limit)

    def open(self, reason: str) -> None:
        """Stop asking, because of credentials, account or address."""
        if self.circuit.open(reason, now=self._context.clock()):
            self._announce(reason)

    def close(self) -> None:
        """Note that the host serves again."""
        if self.circuit.close():
            self.circuit_opened.clear()
            self._context.hooks.circuit_changed(self.name, False, "")

    def on_response(self) -> None:
        """Note an answer to a request that the host let through."""
        self.circuit.record_success()
        self.gate.on_success()

    def on_failure(self) -> None:
        """Note an attempt that nobody answered."""
        if self.circuit.record_failure(now=self._context.clock()):
            self._announce("unreachable")

    def throttle(self, verdict: Throttled) -> None:
        """Shut the gate for as long as the host asks, or ever longer if it does not say."""
        wait_s = demanded_wait_s(verdict.headers, unix_now=self._context.wall_clock())
        strikes = self.gate.on_throttled(self._context.clock())
        if wait_s is None:
            wait_s = backoff_s(
                strikes,
                initial_s=THROTTLE_INITIAL_S,
                max_s=THROTTLE_MAX_S,
                jitter=0.5 + self._context.random() / 2,
            )
        self.gate.block_for(wait_s, now=self._context.clock())
        self._context.hooks.throttled(wait_s)

    def finished(self, name: str, verdict: Classification, took_s: float) -> None:
        """Take over how long the host took and whether it coped, and give the slot back."""
        slots = self.slots
        if not isinstance(verdict, OutOfLease):
            changed = slots.concurrency.finished(
                name,
                took_s,
                trouble=isinstance(verdict, Ambiguous | NotExecuted | Throttled),
                under_way=slots.under_way,
                now=self._context.clock(),
            )
            if changed:
                self._context.hooks.concurrency_changed(self.name, slots.concurrency.limit)
        slots.release()

    def on_rate_limit_headers(self, evidence: SendResult, *, number: int) -> None:
        """Take over what a reply says is left, so that no 429 has to say it.

        ``number`` is how many requests had been sent when this one was, itself included.
        """
        if not isinstance(evidence, HttpResponse) or evidence.status == 429:
            return
        allowance = read_allowance(evidence.headers, unix_now=self._context.wall_clock())
        if allowance is None:
            return
        self.gate.update_quota(
            allowance,
            uncounted=min(self.slots.under_way - 1, self.slots.taken - number),
            now=self._context.clock(),
            alone=self.slots.in_use == 1,
        )
        limit = allowance.limit or 0
        self._context.hooks.allowance_changed(self.name, allowance.remaining, limit)

    def _announce(self, reason: str) -> None:
        self.circuit_opened.set()
        self._context.hooks.circuit_changed(self.name, True, reason)
