"""Circuit breaker with probes. Pure."""

from sink.rate_limit import backoff_s

FIRST_PROBE_S = 0.5


class CircuitBreaker:
    """While open, only probes may be sent. Times are monotonic seconds, passed by the caller.

    It opens immediately when the server forbids requests (credentials, account or address: a
    matter of configuration) and is then probed every ``probe_interval_s``. It also opens after
    ``failures_max`` consecutive attempts without a reply. The probes then start soon and back
    off up to ``probe_interval_s``, so that a short outage costs little.
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
        """Whether only a probe may be sent."""
        return self.reason is not None

    def open(self, reason: str, *, now: float) -> bool:
        """Open because the server forbade a request; return whether it was closed before."""
        opened = self.reason is None
        self.reason = reason
        self.probe_at = now + self._probe_interval_s
        return opened

    def record_failure(self, *, now: float) -> bool:
        """Count an attempt without a reply; return whether it opened the circuit."""
        self.failures += 1
        if self.reason is not None or self.failures < self._failures_max:
            return False
        self.reason = "unreachable"
        self._probes = 0
        self._schedule(now)
        return True

    def record_success(self) -> None:
        """Reset the failure count after a reply. An open circuit stays open until its probe."""
        self.failures = 0

    def probe_failed(self, *, now: float) -> None:
        """Stay open and schedule the next probe."""
        self._schedule(now)

    def close(self) -> bool:
        """Close after a successful probe; return whether it was open."""
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
