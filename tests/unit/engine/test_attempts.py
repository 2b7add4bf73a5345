"""Tries of one operation end; what else the engine holds goes on."""

import pytest
from flow_driver import Driver, identify, page, response
from msgspec.structs import replace

from sink.delivery import Deferred, InDoubt, Outcome, QueueClass
from stream.engine.lanes import PendingRequest
from stream.engine.limits import AttemptLimit, FailedTries

HOUR_S = 3_600
UPDATE = QueueClass.UPDATE


def failing(driver: Driver, *, isolated: bool, requests: int, doubt: bool) -> Outcome:
    if doubt:
        return InDoubt(
            detail="status 500", sent_at=driver.now, isolated=isolated, requests=requests
        )
    return Deferred(reason="status 500", retry_at=driver.now, isolated=isolated, requests=requests)


def fail_until_parked(
    driver: Driver, work: PendingRequest, *, doubt: bool, within_s: float
) -> tuple[int, float]:
    """Fail every try of a request; return the requests spent and the seconds that it took."""
    spent, began = 0, driver.now
    while not driver.parked:
        cost = 2 if doubt and spent else 1
        spent += cost
        driver.settle(work, failing(driver, isolated=True, requests=cost, doubt=doubt))
        driver.turn()
        if driver.parked:
            break
        driver.now += 1
        while not (works := driver.turn()):
            driver.now += 1
            assert driver.now - began < within_s
        (work,) = works
    return spent, driver.now - began


@pytest.mark.parametrize("doubt", [False, True])
def test_an_operation_that_fails_alone_is_parked_and_others_go_on(doubt: bool) -> None:
    driver = Driver()
    driver.feed(identify("ann", a=1))
    (work,) = driver.turn()
    driver.feed(identify("bob", a=1))
    (other,) = driver.turn()
    driver.settle(other)
    spent, took_s = fail_until_parked(driver, work, doubt=doubt, within_s=HOUR_S)
    assert driver.settled["parked", "attempts_exhausted"] == 1
    assert driver.flow.unsettled == 0, "its offset is no longer held"
    assert 600 <= took_s <= 700
    assert 8 <= spent <= 10, "no more than ten requests in an hour"


def test_what_fails_for_everybody_is_never_given_up() -> None:
    driver = Driver()
    driver.feed(identify("ann", a=1))
    (work,) = driver.turn()
    for _ in range(50):
        driver.settle(work, failing(driver, isolated=False, requests=1, doubt=True))
        driver.now += 100
        (work,) = driver.turn()
    assert not driver.parked


def test_after_that_the_person_is_tried_once_an_hour() -> None:
    driver = Driver()
    driver.feed(identify("ann", a=1))
    (work,) = driver.turn()
    fail_until_parked(driver, work, doubt=True, within_s=HOUR_S)
    for number in range(3):
        driver.feed(response("ann", score=number))
        assert driver.turn() == [], "not sent"
    driver.turn()
    assert driver.settled["parked", "attempts_exhausted"] == 4
    driver.now += HOUR_S
    driver.feed(response("ann", score=7))
    (work,) = driver.turn()
    driver.settle(work, failing(driver, isolated=True, requests=1, doubt=False))
    driver.turn()
    assert driver.settled["parked", "attempts_exhausted"] == 5, "one try suffices"
    driver.feed(response("ann", score=8))
    assert driver.turn() == []


def test_a_page_view_that_needs_only_the_pixel_is_sent_all_the_same() -> None:
    driver = Driver()
    driver.feed(identify("ann", a=1))
    driver.through()
    driver.feed(identify("ann", a=2))
    (work,) = driver.turn()
    fail_until_parked(driver, work, doubt=False, within_s=HOUR_S)
    driver.feed(replace(page("ann"), email="ann@example.com", created_at=1))
    assert len(driver.turn()) == 1


def test_what_somebody_replays_is_tried_and_success_ends_the_suspension() -> None:
    driver = Driver()
    driver.feed(identify("ann", a=1))
    (work,) = driver.turn()
    fail_until_parked(driver, work, doubt=True, within_s=HOUR_S)
    driver.feed(identify("ann", a=1), replayed=True, time_ms=10**9)
    (work,) = driver.turn()
    driver.settle(work)
    driver.turn()
    driver.feed(response("ann"))
    assert len(driver.turn()) == 1


def test_of_many_suspended_lanes_the_first_are_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered of people that Wootric fails is bounded."""
    monkeypatch.setattr("stream.engine.limits.SUSPENDED_MAX", 2)
    limit = AttemptLimit(attempts_max=1, over_s=1)
    for lane in ("ann", "bob", "cid"):
        tries = FailedTries(0)
        tries.add(1)
        assert limit.next_at(tries, lane, 2, 0) is None
    suspended = [lane for lane in ("ann", "bob", "cid") if limit.suspends(lane, UPDATE, 1)]
    assert suspended == ["bob", "cid"]
