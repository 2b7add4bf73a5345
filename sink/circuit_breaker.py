"""When to stop asking: a circuit that opens and is probed. Pure."""

from sink.rate_limit import backoff_s

FIRST_PROBE_S = 0.5


class CircuitBreaker:
    """Open means: send nothing but a probe. Times are monotonic seconds, handed in.

    It opens at once when the server forbids (credentials, account, address: a matter of
    configuration), and then is probed every ``probe_interval_s``. It opens after
    ``failures_max`` attempts in a row without any answer, and then is probed soon at first,
    later less often, so that a short outage costs little.
    """

    __slots__ = ("_failures_max", "_probe_interval_s", "_probes", "failures", "probe_at", "reason")

    def __init__(self, *, probe_interval_s: float, failures_max: int) -> None:
        self._probe_interval_s = probe_interval_s
        self._failures_max = failures_max
        self._probes = 0
        self.failures = 0
        self.reason: str | None = None
        self.probe_at = 0.0

    @property
    def is_open(self) -> bool:
        """Whether nothing may be sent but a probe."""
        return self.reason is not None

    def open(self, reason: str, *, now: float) -> bool:
        """Open because the server forbade; return whether that changed anything."""
        opened = self.reason is None
        self.reason = reason
        self.probe_at = now + self._probe_interval_s
        return opened

    def record_failure(self, *, now: float) -> bool:
        """Note an attempt without an answer; return whether it opened the circuit."""
        self.failures += 1
        if self.reason is not None or self.failures < self._failures_max:
            return False
        self.reason = "unreachable"
        self._probes = 0
        self._schedule(now)
        return True

    def record_success(self) -> None:
        """Note an answer: the server is there. An open circuit stays open until its probe."""
        self.failures = 0

    def probe_failed(self, *, now: float) -> None:
        """Stay open and plan the next probe."""
        self._schedule(now)

    def close(self) -> bool:
        """Close after a good probe; return whether it was open."""
        closed = self.reason is not None
        self.reason = None
        self.failures = 0
        return closed

    def _schedule(self, now: float) -> None:
        self._probes += 1
        wait_s = self._probe_interval_s
        if self.reason == "unreachable":
            wait_s = backoff_s(self._probes, initial_s=FIRST_PROBE_S, max_s=wait_s, jitter=1.0)
        self.probe_at = now + wait_s
