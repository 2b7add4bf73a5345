"""Waits: how long after a failure, and how long when a server says so."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sink.rate_limit import WAIT_S_MAX, backoff_s, demanded_wait_s, http_date, retry_after_s

NOW = 1_533_310_127.0
DATE = "Fri, 03 Aug 2018 15:28:47 GMT"


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_a_backoff_is_never_above_its_bound(attempt: int, jitter: float) -> None:
    assert 0 <= backoff_s(attempt, initial_s=0.2, max_s=15, jitter=jitter) <= 15


def test_the_bound_of_a_backoff_doubles() -> None:
    bounds = [backoff_s(n, initial_s=0.5, max_s=3, jitter=1.0) for n in (1, 2, 3, 4, 5)]
    assert bounds == [0.5, 1, 2, 3, 3]


def test_the_jitter_is_full() -> None:
    """Clients that fail together do not come back together."""
    assert backoff_s(4, initial_s=1, max_s=60, jitter=0.0) == 0
    assert backoff_s(4, initial_s=1, max_s=60, jitter=0.25) == 2


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7),
        ("0", 0),
        ("1.5", 1.5),
        ("Fri, 03 Aug 2018 15:29:47 GMT", 60),
        ("Friday, 03-Aug-18 15:29:47 GMT", 60),
        ("Fri Aug  3 15:29:47 2018", 60),
        ("Fri, 03 Aug 2018 15:28:00 GMT", 0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("nan", None),
        ("inf", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float | None) -> None:
    assert retry_after_s(value, unix_now=NOW) == seconds


def test_a_date_is_read_in_unix_seconds() -> None:
    assert http_date(DATE) == NOW


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "garbage"}, None),
        ({"Retry-After": "3", "X-Rate-Limit-Reset": str(NOW + 40)}, 3),
        ({"X-Rate-Limit-Reset": str(NOW + 40)}, 40),
        ({"X-Rate-Limit-Reset": str(NOW - 40)}, None),
        ({"X-Rate-Limit-Reset": "x"}, None),
        ({"Retry-After": "86400"}, WAIT_S_MAX),
        ({"Retry-After": "0"}, None),
        ({"Date": DATE, "Retry-After": DATE}, None),
    ],
)
def test_a_reply_demands_a_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert demanded_wait_s(headers, unix_now=NOW) == seconds


@pytest.mark.parametrize("skew_s", [-300, 0, 300])
def test_a_wrong_clock_here_does_not_matter(skew_s: float) -> None:
    """The reset is measured against the server's own date."""
    headers = {"Date": DATE, "X-Rate-Limit-Reset": str(int(NOW) + 40)}
    assert demanded_wait_s(headers, unix_now=NOW + skew_s) == 40
