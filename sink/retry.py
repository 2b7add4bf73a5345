"""How long to wait: after a failure, and when a server says so. Pure."""

import math
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

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
