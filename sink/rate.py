"""How fast requests may leave: a token bucket, and a gate that a server can shut. Pure."""


class RateGate:
    """Spreads requests over time and stays shut for as long as the server asked.

    ``requests_per_minute`` of 0 sets no pace of its own: only the server's word counts.
    Times are monotonic seconds, handed in by the caller. Places are taken in advance: who
    asks while none is free is told how long to wait, and its place is then its own.
    """

    __slots__ = ("_burst", "_not_before", "_per_s", "_seen_at", "_tokens", "strikes")

    def __init__(self, *, requests_per_minute: int = 0, now: float = 0.0) -> None:
        # A second's worth may leave at once; it is taken off the pace, so that no
        # window of a minute ever holds more than was asked for.
        self._burst = max(1, requests_per_minute // 60)
        self._per_s = (requests_per_minute - (self._burst - 1)) / 60
        self._tokens = float(self._burst)
        self._seen_at = now
        self._not_before = now
        self.strikes = 0

    def closed_s(self, now: float) -> float:
        """Return for how many seconds the server wants nothing."""
        return max(0.0, self._not_before - now)

    def close_for(self, wait_s: float, *, now: float) -> None:
        """Stay shut for ``wait_s`` seconds at least."""
        self._not_before = max(self._not_before, now + wait_s)
        self.strikes += 1

    def calm(self) -> None:
        """Forget how often the gate was shut in a row: a request was let through."""
        self.strikes = 0

    def places(self, now: float, *, at_most: int) -> int:
        """Return how many requests may leave now without a wait."""
        if self._not_before > now:
            return 0
        if self._per_s <= 0:
            return at_most
        self._refill(now)
        return max(0, min(at_most, int(self._tokens)))

    def reserve(self, now: float, *, patience_s: float) -> float:
        """Take a place and return the seconds to wait for it.

        A wait above ``patience_s`` means that no place was taken.
        """
        wait_s = self.closed_s(now)
        if self._per_s <= 0:
            return wait_s
        self._refill(now)
        wait_s = max(wait_s, (1.0 - self._tokens) / self._per_s)
        if wait_s <= patience_s:
            self._tokens -= 1.0
        return wait_s

    def _refill(self, now: float) -> None:
        elapsed_s = max(0.0, now - self._seen_at)
        self._tokens = min(float(self._burst), self._tokens + elapsed_s * self._per_s)
        self._seen_at = now
