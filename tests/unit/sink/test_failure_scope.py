"""Whose failure it is: the delivery's own, or the host's."""

from unittest.mock import Mock

import pytest
from yarl import URL

from sink.concurrency import AdaptiveConcurrency
from sink.http_session import PermitPool
from sink.models import Request, Transport
from sink.rate_limit import CircuitBreaker, RateLimiter
from sink.wootric.endpoint import FAILING_MAX, Dependencies, Endpoint, FailureScope


def request(name: str, *, writes: bool = True) -> Request:
    return Request(name, "GET", URL("http://h/"), writes=writes)


UPDATE, DELETE = request("update_end_user"), request("delete_end_user")
LOOKUP = request("find_end_user", writes=False)


@pytest.fixture
def scope() -> FailureScope:
    return FailureScope()


def test_a_first_failure_is_nobodys(scope: FailureScope) -> None:
    scope.succeeded(UPDATE, "bob", now=1)
    assert not scope.failed(UPDATE, "ann", now=2)


def test_a_failure_while_others_are_served_is_isolated(scope: FailureScope) -> None:
    scope.failed(UPDATE, "ann", now=1)
    scope.succeeded(UPDATE, "bob", now=2)
    assert scope.failed(UPDATE, "ann", now=3)
    assert not scope.failed(UPDATE, "ann", now=4), "nobody was served since"


def test_what_all_of_a_kind_meet_is_the_hosts(scope: FailureScope) -> None:
    """Updates are served, deletes of nobody are."""
    for now, name in enumerate(("ann", "bob", "cid")):
        scope.failed(DELETE, name, now=now)
    scope.succeeded(UPDATE, "dee", now=5)
    assert not scope.failed(DELETE, "ann", now=6)
    scope.succeeded(DELETE, "dee", now=7)
    assert scope.failed(DELETE, "ann", now=8)


def test_where_nothing_else_of_its_kind_is_sent_the_same_effect_counts(
    scope: FailureScope,
) -> None:
    scope.failed(DELETE, "ann", now=1)
    scope.succeeded(LOOKUP, "bob", now=2)
    assert not scope.failed(DELETE, "ann", now=3), "a look-up proves nothing of writes"
    scope.succeeded(UPDATE, "bob", now=4)
    assert scope.failed(DELETE, "ann", now=5)


def test_its_own_success_is_no_evidence(scope: FailureScope) -> None:
    scope.failed(UPDATE, "ann", now=1)
    scope.succeeded(request("create_response"), "ann", now=2)
    assert not scope.failed(UPDATE, "ann", now=3)


def test_anothers_success_is_remembered_beside_its_own(scope: FailureScope) -> None:
    scope.failed(UPDATE, "ann", now=1)
    scope.succeeded(UPDATE, "bob", now=2)
    scope.failed(LOOKUP, "ann", now=3)
    for now in range(3, 9):
        scope.succeeded(request("find_by_id", writes=False), "ann", now=now)
    assert scope.failed(UPDATE, "ann", now=9)


def test_success_ends_a_failure_and_memory_is_bounded(scope: FailureScope) -> None:
    for number in range(FAILING_MAX + 1):
        scope.failed(UPDATE, str(number), now=number)
    scope.succeeded(UPDATE, "other", now=FAILING_MAX + 2)
    assert not scope.failed(UPDATE, "0", now=FAILING_MAX + 3), "the first was forgotten"
    assert scope.failed(UPDATE, str(FAILING_MAX), now=FAILING_MAX + 3)
    scope.succeeded(UPDATE, "1", now=FAILING_MAX + 4)
    assert not scope.failed(UPDATE, "1", now=FAILING_MAX + 5)


async def test_what_fails_while_the_circuit_is_open_is_not_isolated() -> None:
    """The account is refused: nobody is served any more."""
    endpoint = Endpoint(
        Dependencies(http=Mock(spec=Transport)),
        "api",
        circuit=CircuitBreaker(probe_interval_s=15, failures_max=20),
        rate_limiter=RateLimiter(requests_per_minute=0, now=0),
        permits=PermitPool(AdaptiveConcurrency(limit_max=4, now=0)),
    )
    endpoint.on_failure(UPDATE, "ann")
    endpoint.on_response(UPDATE, "bob")
    endpoint.open("credentials")
    assert not endpoint.on_failure(UPDATE, "ann")
