"""When requests may be sent: token bucket, the server's quota headers, 429, the circuit. Pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TypeAlias

SPREAD_BELOW = 0.5
"""Below this part of the quota, the rest is spread evenly until the reset. The first half may be
used immediately, and the second does not trigger a 429."""
WINDOW_MOVED_S = 2.0  # dates are whole seconds: two resets closer than this are the same window
SHARE_MIN = 0.001

Pace: TypeAlias = tuple[float, float]
"""Requests per second, and the burst size."""


@dataclass(frozen=True, slots=True)
class RateLimitQuota:
    """The account's quota as a reply states it: ``remaining`` requests until the reset in
    ``reset_s`` seconds, then ``limit`` (None if not stated).
    """

    remaining: int
    reset_s: float
    limit: int | None = None


def read_quota(headers: Mapping[str, str], *, unix_now: float) -> RateLimitQuota | None:
    """Return the quota of the ``X-Rate-Limit`` headers; None if they are absent or invalid.

    The reset is relative to the reply's own ``Date``, as in ``demanded_wait_s``, and bounded in
    the same way: a reset in milliseconds would block requests for ever.
    """
    remaining = _count(headers.get("X-Rate-Limit-Remaining", ""))
    if remaining is None:
        return None
    server_now = http_date(headers.get("Date", ""))
    now = unix_now if server_now is None else server_now
    reset_s = rate_reset_s(headers.get("X-Rate-Limit-Reset", ""), unix_now=now)
    if reset_s is None:
        return None
    reset_s = min(reset_s, WAIT_S_MAX)
    return RateLimitQuota(remaining, reset_s, _count(headers.get("X-Rate-Limit-Limit", "")))


class RateLimiter:
    """Token-bucket rate limiter that also honours the server's rate-limit headers.

    With ``requests_per_minute=0`` only the headers apply. Times are monotonic seconds, passed by
    the caller. Tokens are reserved in advance: ``reserve`` returns the delay after which the
    caller may send.
    """

    __slots__ = (
        "_limit",
        "_not_before",
        "_per_minute",
        "_remaining",
        "_renewed_at",
        "_seen_at",
        "_share",
        "_tokens",
        "throttle_count",
    )

    def __init__(self, *, requests_per_minute: int = 0, now: float = 0.0) -> None:
        self._per_minute = requests_per_minute
        self._share = 1.0
        self._tokens = float("inf")
        self._seen_at = now
        self._not_before = now
        self._limit = 0
        self._remaining: float | None = None
        self._renewed_at: float | None = None
        self.throttle_count = 0

    @property
    def per_minute(self) -> float:
        """This worker's share of the configured rate; 0 if none is configured."""
        return self._per_minute * self._share

    def share(self, part: float) -> None:
        """Use only this part of the configured rate and of the remaining quota."""
        self._share = min(1.0, max(SHARE_MIN, part))

    def update_quota(
        self, quota: RateLimitQuota, *, uncounted: int, now: float, only_in_flight: bool = False
    ) -> None:
        """Apply the quota of a reply that does not yet count ``uncounted`` of our requests.

        Replies overtake each other, so within one window only the lowest counts. With many
        requests in flight this may underestimate what remains; a reply to the ``only_in_flight``
        request corrects it.
        """
        self._limit = quota.limit or max(self._limit, quota.remaining)
        left = float(quota.remaining - uncounted)
        renewed_at = now + quota.reset_s
        known = self._renewed_at
        if known is None or now >= known or renewed_at > known + WINDOW_MOVED_S:
            self._remaining = left
            self._renewed_at = renewed_at
        elif only_in_flight and self._tokens > -1:  # no reserved token is being waited for
            self._remaining = left
        elif self._remaining is not None:
            self._remaining = min(self._remaining, left)
        self._shut_if_spent()

    def blocked_s(self, now: float) -> float:
        """Return the seconds for which the server wants no requests."""
        return max(0.0, self._not_before - now)

    def block_for(self, wait_s: float, *, now: float) -> None:
        """Block requests for at least ``wait_s`` seconds."""
        self._not_before = max(self._not_before, now + wait_s)

    def on_throttled(self, now: float) -> int:
        """Count a throttled request and return the number of consecutive ones.

        A request throttled while blocked was in flight with the first one and is not counted.
        """
        if self.throttle_count == 0 or self._not_before <= now:
            self.throttle_count += 1
        return self.throttle_count

    def on_success(self) -> None:
        """Reset the count of consecutive throttled requests."""
        self.throttle_count = 0

    def available_within(self, now: float, *, within_s: float) -> float:
        """Return the number of requests that may start within ``within_s``; inf if unlimited.

        Requests that wait for a reserved token are not included.
        """
        open_s = within_s - self.blocked_s(now)
        if open_s < 0:
            return 0.0
        self._renew(now)
        soon = float("inf")
        if self._remaining is not None:
            surplus = (self._remaining - self._limit * SPREAD_BELOW) * self._share
            if surplus >= 0 or self._renewed_at is None:
                soon = max(1.0, surplus)
        pace = self._pace(now)
        if pace is None:
            return soon
        self._refill(now, pace)
        return min(soon, self._tokens + pace[0] * open_s)

    def reserve(self, now: float, *, max_wait_s: float) -> float:
        """Reserve a token and return the seconds until it may be used.

        No token is reserved if the wait is above ``max_wait_s``.
        """
        wait_s = self.blocked_s(now)
        self._renew(now)
        pace = self._pace(now)
        if pace is not None:
            self._refill(now, pace)
            wait_s = max(wait_s, (1.0 - self._tokens) / pace[0])
        if wait_s <= max_wait_s:
            self._spend(paced=pace is not None)
        return wait_s

    def _spend(self, *, paced: bool) -> None:
        if paced:
            self._tokens -= 1.0
        if self._remaining is not None:
            self._remaining -= 1.0
            self._shut_if_spent()

    def _shut_if_spent(self) -> None:
        if self._renewed_at is not None and self._remaining is not None and self._remaining < 1:
            self._not_before = max(self._not_before, self._renewed_at)

    def _pace(self, now: float) -> Pace | None:
        """Return the slower of the configured rate and the rate that the remaining quota allows."""
        own = _steady(self.per_minute) if self._per_minute > 0 else None
        spread = self._spread(now)
        if own is None or spread is None:
            return own or spread
        return min(own, spread)

    def _spread(self, now: float) -> Pace | None:
        """Return the rate at which the remaining quota lasts until the reset.

        None above ``SPREAD_BELOW``, when nothing remains, and without a quota.
        """
        if self._remaining is None or self._renewed_at is None:
            return None
        if not 1 <= self._remaining < self._limit * SPREAD_BELOW:
            return None
        per_s = self._remaining * self._share / (self._renewed_at - now)
        return per_s, max(1.0, per_s)

    def _renew(self, now: float) -> None:
        """Start a new window with the full limit; the next reply gives the actual remainder."""
        if self._renewed_at is not None and now >= self._renewed_at:
            self._renewed_at = None
            self._remaining = float(self._limit)

    def _refill(self, now: float, pace: Pace) -> None:
        per_s, burst = pace
        elapsed_s = max(0.0, now - self._seen_at)
        self._tokens = min(burst, self._tokens + elapsed_s * per_s)
        self._seen_at = now


def _steady(per_minute: float) -> Pace:
    """Return a rate at which no window of one minute has more than ``per_minute`` requests.

    The burst is one second's worth and is subtracted from the rate.
    """
    burst = max(1, int(per_minute // 60))
    return (per_minute - (burst - 1)) / 60, float(burst)


def _count(value: str) -> int | None:
    return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else None


# Waits: back-off after failures, and waits requested by the server


WAIT_S_MAX = 3600.0  # a server that asks for a wait until tomorrow is retried within the hour


def backoff_s(attempt: int, *, initial_s: float, max_s: float, jitter: float = 1.0) -> float:
    """Return the seconds before retry number ``attempt`` (from 1).

    ``jitter`` is drawn from [0, 1) by the caller: full jitter below a bound that doubles
    with every attempt up to ``max_s``. Without it, the wait is the bound.
    """
    doublings = min(attempt - 1, 62)
    return float(jitter * min(max_s, initial_s * 2.0**doublings))


def demanded_wait_s(headers: Mapping[str, str], *, unix_now: float) -> float | None:
    """Return the seconds that the reply asks to wait, at most ``WAIT_S_MAX``; None if unstated.

    ``Retry-After`` takes precedence over ``X-Rate-Limit-Reset`` (Unix seconds). A point in time
    is relative to the reply's own ``Date`` if present, so that a wrong local clock does not
    matter, otherwise to ``unix_now``. Zero and past times are ignored: rate limiters round down.
    """
    server_now = http_date(headers.get("Date", ""))
    now = unix_now if server_now is None else server_now
    for wait in (
        retry_after_s(headers.get("Retry-After", ""), unix_now=now),
        rate_reset_s(headers.get("X-Rate-Limit-Reset", ""), unix_now=now),
    ):
        if wait:
            return min(wait, WAIT_S_MAX)
    return None


def retry_after_s(value: str, *, unix_now: float) -> float | None:
    """Return the seconds of a ``Retry-After`` (number or HTTP date); None if it is invalid."""
    seconds = _number(value)
    if seconds is not None:
        return seconds
    moment = http_date(value)
    return None if moment is None else max(0.0, moment - unix_now)


def rate_reset_s(value: str, *, unix_now: float) -> float | None:
    """Return the seconds until ``X-Rate-Limit-Reset``; None if absent, invalid or past."""
    moment = _number(value)
    return None if moment is None or moment <= unix_now else moment - unix_now


def http_date(value: str) -> float | None:
    """Return an HTTP date in Unix seconds; None if it is invalid."""
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _number(value: str) -> float | None:
    """Return ``value`` as a finite, non-negative number; None if it is not one."""
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


# The circuit of a host: whether requests are sent to it at all


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
            wait_s = backoff_s(self._probes, initial_s=FIRST_PROBE_S, max_s=wait_s)
        self.probe_at = now + wait_s
