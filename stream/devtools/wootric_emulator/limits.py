"""The rate limit: so many requests in each minute of the clock, told in headers.

Source: docs.wootric.com, rate limits (added 2018-09-26): three ``X-Rate-Limit`` headers, the
reset in Unix seconds, no ``Retry-After``; a reply without them is not limited.
"""

from collections.abc import Callable
from dataclasses import dataclass

WINDOW_S = 60


@dataclass(frozen=True, slots=True)
class Allowance:
    """Whether a request may pass, and what its reply says about the next ones."""

    allowed: bool
    headers: dict[str, str]


class RateLimit:
    """Counts the account's requests in the current minute; ``clock`` gives Unix seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._window = 0
        self._used = 0

    def take(self, per_minute: int) -> Allowance:
        """Count one request against ``per_minute``."""
        window = int(self._clock()) // WINDOW_S
        if window != self._window:
            self._window, self._used = window, 0
        allowed = self._used < per_minute
        if allowed:
            self._used += 1
        headers = {
            "X-Rate-Limit-Limit": str(per_minute),
            "X-Rate-Limit-Remaining": str(max(0, per_minute - self._used)),
            "X-Rate-Limit-Reset": str((window + 1) * WINDOW_S),
        }
        return Allowance(allowed, headers)
