"""One host: whether it may be asked, and when. Circuit and gate, told to whoever listens."""

import asyncio

from sink.circuit import Circuit
from sink.classify import Throttled
from sink.http import Evidence, Reply
from sink.rate import RateGate
from sink.retry import backoff_s, demanded_wait_s
from sink.wootric.context import Context

THROTTLE_INITIAL_S = 1.0
THROTTLE_MAX_S = 60.0


class Host:
    """A host's circuit and gate. ``opened`` is set for as long as the circuit is open."""

    def __init__(self, context: Context, name: str, *, circuit: Circuit, gate: RateGate) -> None:
        self._context = context
        self.name = name
        self.circuit = circuit
        self.gate = gate
        self.opened = asyncio.Event()

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
        if wait_s is None:
            wait_s = backoff_s(
                self.gate.strikes + 1,
                initial_s=THROTTLE_INITIAL_S,
                max_s=THROTTLE_MAX_S,
                jitter=0.5 + self._context.random() / 2,
            )
        self.gate.close_for(wait_s, now=self._context.clock())
        self._context.hooks.throttled(wait_s)

    def mind_allowance(self, evidence: Evidence) -> None:
        """Shut the gate ahead of a 429 when the reply says that nothing is left."""
        if not isinstance(evidence, Reply) or evidence.status == 429:
            return
        if evidence.headers.get("X-Rate-Limit-Remaining") == "0":
            wait_s = demanded_wait_s(evidence.headers, unix_now=self._context.wall_clock())
            if wait_s is not None:
                self.gate.close_for(wait_s, now=self._context.clock())

    def _announce(self, reason: str) -> None:
        self.opened.set()
        self._context.hooks.circuit_changed(self.name, True, reason)
