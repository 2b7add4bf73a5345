"""One host: whether it may be asked, when, and by how many. Told to whoever listens."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from sink.circuit_breaker import Circuit
from sink.classify import Ambiguous, NotExecuted, OutOfLease, Throttled, Verdict
from sink.models import Evidence, Reply, Sender
from sink.permits import Slots
from sink.rate_limit import RateGate, backoff_s, demanded_wait_s, read_allowance
from sink.wootric.delivery import SinkHooks

# What every part of the sink needs from outside


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """``clock`` gives monotonic seconds, ``wall_clock`` Unix seconds, ``random`` numbers in
    [0, 1).
    """

    http: Sender
    clock: Callable[[], float]
    wall_clock: Callable[[], float]
    random: Callable[[], float]
    hooks: SinkHooks


THROTTLE_INITIAL_S = 1.0
THROTTLE_MAX_S = 15.0  # to ask now and then costs nothing


class Host:
    """A host's circuit, gate and slots. ``opened`` is set for as long as the circuit is open."""

    def __init__(
        self, context: Context, name: str, *, circuit: Circuit, gate: RateGate, slots: Slots
    ) -> None:
        self._context = context
        self.name = name
        self.circuit = circuit
        self.gate = gate
        self.slots = slots
        self.opened = asyncio.Event()
        context.hooks.concurrency_changed(name, slots.concurrency.limit)

    def open(self, reason: str) -> None:
        """Stop asking, because of credentials, account or address."""
        if self.circuit.forbid(reason, now=self._context.clock()):
            self._announce(reason)

    def close(self) -> None:
        """Note that the host serves again."""
        if self.circuit.close():
            self.opened.clear()
            self._context.hooks.circuit_changed(self.name, False, "")

    def answered(self) -> None:
        """Note an answer to a request that the host let through."""
        self.circuit.answer()
        self.gate.calm()

    def failed(self) -> None:
        """Note an attempt that nobody answered."""
        if self.circuit.fail(now=self._context.clock()):
            self._announce("unreachable")

    def throttle(self, verdict: Throttled) -> None:
        """Shut the gate for as long as the host asks, or ever longer if it does not say."""
        wait_s = demanded_wait_s(verdict.headers, unix_now=self._context.wall_clock())
        strikes = self.gate.strike(self._context.clock())
        if wait_s is None:
            wait_s = backoff_s(
                strikes,
                initial_s=THROTTLE_INITIAL_S,
                max_s=THROTTLE_MAX_S,
                jitter=0.5 + self._context.random() / 2,
            )
        self.gate.close_for(wait_s, now=self._context.clock())
        self._context.hooks.throttled(wait_s)

    def finished(self, name: str, verdict: Verdict, took_s: float) -> None:
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
        slots.give()

    def mind_allowance(self, evidence: Evidence, *, number: int) -> None:
        """Take over what a reply says is left, so that no 429 has to say it.

        ``number`` is how many requests had been sent when this one was, itself included.
        """
        if not isinstance(evidence, Reply) or evidence.status == 429:
            return
        allowance = read_allowance(evidence.headers, unix_now=self._context.wall_clock())
        if allowance is None:
            return
        self.gate.heed(
            allowance,
            uncounted=min(self.slots.under_way - 1, self.slots.taken - number),
            now=self._context.clock(),
            alone=self.slots.engaged == 1,
        )
        limit = allowance.limit or 0
        self._context.hooks.allowance_changed(self.name, allowance.remaining, limit)

    def _announce(self, reason: str) -> None:
        self.opened.set()
        self._context.hooks.circuit_changed(self.name, True, reason)
