"""How fast requests may leave: a pace, what replies say is left, a gate that can be shut. Pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TypeAlias

SPREAD_BELOW = 0.5
"""From this part of the allowance on, what is left is spread until it is renewed: the first half
may leave at once, the second never ends in a 429."""
WINDOW_MOVED_S = 2.0  # dates are whole seconds: below this two replies mean the same window
SHARE_MIN = 0.001

Pace: TypeAlias = tuple[float, float]
"""Requests per second, and how many of them may leave at once."""


@dataclass(frozen=True, slots=True)
class RateLimitQuota:
    """What a reply says of the account: ``remaining`` requests until it is renewed in ``reset_s``
    seconds, to ``limit`` (None if it does not say).
    """

    remaining: int
    reset_s: float
    limit: int | None = None


def read_allowance(headers: Mapping[str, str], *, unix_now: float) -> RateLimitQuota | None:
    """Return what the ``X-Rate-Limit`` headers say; None where there are none, or only garbage.

    The reset is measured against the reply's own ``Date``, as in ``retry.demanded_wait_s``, and
    bounded like there: one in milliseconds would shut the gate for ever.
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
    """Spreads requests over time and stays shut for as long as the server asked.

    ``requests_per_minute`` of 0 sets no pace of its own: only the server's word counts.
    Times are monotonic seconds, handed in by the caller. Places are taken in advance: who
    asks while none is free is told how long to wait, and its place is then its own.
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
        "strikes",
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
        self.strikes = 0

    @property
    def per_minute(self) -> float:
        """The pace that was set, as far as it is ours; 0 where none was."""
        return self._per_minute * self._share

    def share(self, part: float) -> None:
        """Take only this part of the pace and of what the account has left."""
        self._share = min(1.0, max(SHARE_MIN, part))

    def update_quota(
        self, allowance: RateLimitQuota, *, uncounted: int, now: float, alone: bool = False
    ) -> None:
        """Take over what a reply says is left; so many requests of ours it has not counted yet.

        Replies overtake each other: within one window only the lowest counts. So many at once
        may seem to leave less than they do; a reply that is ``alone`` under way puts that right.
        """
        self._limit = allowance.limit or max(self._limit, allowance.remaining)
        left = float(allowance.remaining - uncounted)
        renewed_at = now + allowance.reset_s
        known = self._renewed_at
        if known is None or now >= known or renewed_at > known + WINDOW_MOVED_S:
            self._remaining = left
            self._renewed_at = renewed_at
        elif alone and self._tokens > -1:  # nobody waits who took a place already
            self._remaining = left
        elif self._remaining is not None:
            self._remaining = min(self._remaining, left)
        self._shut_if_spent()

    def closed_s(self, now: float) -> float:
        """Return for how many seconds the server wants nothing."""
        return max(0.0, self._not_before - now)

    def block_for(self, wait_s: float, *, now: float) -> None:
        """Stay shut for ``wait_s`` seconds at least."""
        self._not_before = max(self._not_before, now + wait_s)

    def on_throttled(self, now: float) -> int:
        """Count a refusal and return how many came in a row.

        What was refused while shut was under way with the first one, and counts with it.
        """
        if self.strikes == 0 or self._not_before <= now:
            self.strikes += 1
        return self.strikes

    def on_success(self) -> None:
        """Forget how often the gate was shut in a row: a request was let through."""
        self.strikes = 0

    def places(self, now: float, *, at_most: int) -> int:
        """Return how many requests may leave now without a wait."""
        return int(max(0.0, min(at_most, self.available_within(now, within_s=0.0))))

    def available_within(self, now: float, *, within_s: float) -> float:
        """Return how many requests may begin within so many seconds; inf where nothing limits.

        Those of them that took a place already and wait for it are not among them.
        """
        open_s = within_s - self.closed_s(now)
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

    def reserve(self, now: float, *, patience_s: float) -> float:
        """Take a place and return the seconds to wait for it.

        A wait above ``patience_s`` means that no place was taken.
        """
        wait_s = self.closed_s(now)
        self._renew(now)
        pace = self._pace(now)
        if pace is not None:
            self._refill(now, pace)
            wait_s = max(wait_s, (1.0 - self._tokens) / pace[0])
        if wait_s <= patience_s:
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
        """Return the slower of the pace that was set and the one that what is left allows."""
        own = _steady(self.per_minute) if self._per_minute > 0 else None
        spread = self._spread(now)
        if own is None or spread is None:
            return own or spread
        return min(own, spread)

    def _spread(self, now: float) -> Pace | None:
        """Return the pace at which what is left lasts; None while there is plenty, or nothing."""
        if self._remaining is None or self._renewed_at is None:
            return None
        if not 1 <= self._remaining < self._limit * SPREAD_BELOW:
            return None
        per_s = self._remaining * self._share / (self._renewed_at - now)
        return per_s, max(1.0, per_s)

    def _renew(self, now: float) -> None:
        """Begin a new window with all that the account may; the next reply tells what is left."""
        if self._renewed_at is not None and now >= self._renewed_at:
            self._renewed_at = None
            self._remaining = float(self._limit)

    def _refill(self, now: float, pace: Pace) -> None:
        per_s, burst = pace
        elapsed_s = max(0.0, now - self._seen_at)
        self._tokens = min(burst, self._tokens + elapsed_s * per_s)
        self._seen_at = now


def _steady(per_minute: float) -> Pace:
    """Return the pace by which no window of a minute ever holds more than ``per_minute``.

    A second's worth may leave at once; it is taken off the pace.
    """
    burst = max(1, int(per_minute // 60))
    return (per_minute - (burst - 1)) / 60, float(burst)


def _count(value: str) -> int | None:
    return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else None


# How long to wait: after a failure, and when a server says so


WAIT_S_MAX = 3600.0  # a server that says "tomorrow" is asked again within the hour


def backoff_s(attempt: int, *, initial_s: float, max_s: float, jitter: float) -> float:
    """Return the wait before retry number ``attempt`` (from 1), in seconds.

    ``jitter`` is drawn from [0, 1) by the caller: full jitter below a bound that doubles
    with every attempt up to ``max_s``.
    """
    doublings = min(attempt - 1, 62)
    return float(jitter * min(max_s, initial_s * 2.0**doublings))


def demanded_wait_s(headers: Mapping[str, str], *, unix_now: float) -> float | None:
    """Return for how long the reply asks to be left alone, in seconds; None if it does not say.

    ``Retry-After`` comes first, then ``X-Rate-Limit-Reset`` (Unix seconds). A point in time
    is measured against the reply's own ``Date`` where it has one, so that a wrong clock here
    does not matter; against ``unix_now`` otherwise. Never more than ``WAIT_S_MAX``; zero, or a
    time that is over, says nothing: rate limiters round down.
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
    """Return the seconds that a ``Retry-After`` asks for: a number or an HTTP date; else None."""
    seconds = _number(value)
    if seconds is not None:
        return seconds
    moment = http_date(value)
    return None if moment is None else max(0.0, moment - unix_now)


def rate_reset_s(value: str, *, unix_now: float) -> float | None:
    """Return the seconds until ``X-Rate-Limit-Reset``; None if it is absent, garbage or past."""
    moment = _number(value)
    return None if moment is None or moment <= unix_now else moment - unix_now


def http_date(value: str) -> float | None:
    """Return an HTTP date in Unix seconds, or None if it is none."""
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _number(value: str) -> float | None:
    """Return ``value`` as a finite number that is not negative, or None."""
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
