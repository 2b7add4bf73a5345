"""Whose turn it is: nobody starves, and who needs no request of the API waits for none."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from flow_driver import Driver, decline, delete, identify, names, page, response
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sink.delivery import Deferred, Operation
from sink.wootric.operations import PageView, UpsertEndUser
from stream.engine.lanes import PendingRequest, RequestState
from stream.engine.limits import ReleaseBudget
from stream.engine.scheduler import FairScheduler, QueueClass

EMAIL_CHANGES = UpsertEndUser(external_id="ann", email="other@example.com")
NO_REQUESTS = ReleaseBudget(limited=100, unlimited=100, requests=0)
COST_MAX = 4


def known(*users: str) -> Driver:
    """A flow that knows these people."""
    driver = Driver()
    for user in users:
        driver.feed(identify(user))
    driver.through()
    return driver


# Turns


def test_in_a_class_the_oldest_goes_first_whenever_it_came() -> None:
    turns: FairScheduler[str] = FairScheduler()
    for arrival, name in ((3, "c"), (1, "a"), (2, "b")):
        turns.add(QueueClass.UPDATE, arrival, name)
    order = []
    while (turn := turns.next(limited=True, unlimited=False)) is not None:
        order.append(turns.pop(turn))
    assert order == ["a", "b", "c"]


def test_changes_and_lookups_share_the_requests_half_and_half() -> None:
    turns: FairScheduler[int] = FairScheduler()
    for number in range(100):
        turns.add(QueueClass.UPDATE, number, 1)
        turns.add(QueueClass.LOOKUP, number, 2)
    spent = {QueueClass.UPDATE: 0, QueueClass.LOOKUP: 0}
    for _ in range(60):
        turn = turns.next(limited=True, unlimited=False)
        assert turn is not None
        cost = turns.pop(turn)
        turns.consume(turn, cost)
        spent[turn] += cost
        assert abs(spent[QueueClass.UPDATE] - spent[QueueClass.LOOKUP]) <= COST_MAX


def test_a_side_that_had_nothing_to_do_has_nothing_to_make_up_for() -> None:
    turns: FairScheduler[int] = FairScheduler()
    for number in range(50):
        turns.add(QueueClass.LOOKUP, number, 2)
        turns.consume(
            turns.next(limited=True, unlimited=False) or QueueClass.UNLIMITED,
            turns.pop(QueueClass.LOOKUP),
        )
    for number in range(10):
        turns.add(QueueClass.UPDATE, number, 1)
        turns.add(QueueClass.LOOKUP, number, 1)
    order = []
    for _ in range(6):
        turn = turns.next(limited=True, unlimited=False)
        assert turn is not None
        turns.consume(turn, turns.pop(turn))
        order.append(turn)
    assert order == [QueueClass.UPDATE, QueueClass.LOOKUP] * 3


def test_of_lookups_the_older_one_goes_first_unless_the_pixel_is_shut() -> None:
    turns: FairScheduler[str] = FairScheduler()
    turns.add(QueueClass.LOOKUP_THEN_UNLIMITED, 1, "view")
    turns.add(QueueClass.LOOKUP, 2, "person")
    assert turns.next(limited=True, unlimited=True) is QueueClass.LOOKUP_THEN_UNLIMITED
    assert turns.next(limited=True, unlimited=False) is QueueClass.LOOKUP
    assert turns.next(limited=False, unlimited=True) is None


# What waits for what


def test_a_page_view_of_somebody_known_waits_for_no_request() -> None:
    driver = known("ann")
    driver.feed(page())
    driver.feed(page("bob"))
    assert [names(work) for work in driver.turn(NO_REQUESTS)] == [["e1"]]


@pytest.mark.parametrize(
    ("waiting", "passes"),
    [
        ([identify(plan="pro")], True),
        ([response()], True),
        ([decline(), identify(plan="pro"), response()], True),
        ([UpsertEndUser(external_id="ann", properties={"plan": "pro"})], True),
        ([EMAIL_CHANGES], False),
        ([UpsertEndUser(external_id="ann", external_created_at=7)], False),
        ([response(), EMAIL_CHANGES], False),
        ([delete()], False),
    ],
)
def test_a_page_view_passes_what_waits_and_changes_nothing_of_it(
    waiting: list[Operation], passes: bool
) -> None:
    """The pixel is told e-mail and creation of the person, and nothing else of them."""
    driver = known("ann")
    for operation in waiting:
        driver.feed(operation)
    view = driver.feed(page())
    sent = [name for work in driver.turn(NO_REQUESTS) for name in names(work)]
    assert sent == ([f"e{view}"] if passes else [])
    for work in driver.part._lanes["ann"].waiting:
        assert work.not_before == float("-inf")


def test_page_views_keep_their_order_when_they_pass() -> None:
    driver = known("ann")
    driver.feed(response())
    for number in range(3):
        driver.feed(page(random=str(number)))
    sent = []
    while works := driver.turn(NO_REQUESTS):
        sent += [
            work.require_operation().random
            for work in works
            if isinstance(work.require_operation(), PageView)
        ]
        for work in works:
            driver.settle(work)
    assert sent == ["0", "1", "2"]
    assert [names(work) for work in driver.turn()] == [["e1"]]


def test_a_page_view_passes_what_was_put_off() -> None:
    """A gate that is shut for a minute is the API's, not the pixel's."""
    driver = known("ann")
    driver.feed(identify(plan="pro"))
    work = driver.one()
    driver.feed(page())
    driver.feed(identify(plan="max"))
    driver.settle(work, Deferred(reason="throttled", retry_at=driver.now + 60))
    view = driver.one()
    assert names(view) == ["e2"]
    driver.settle(view)
    assert driver.turn() == []
    driver.now += 60
    assert driver.one().operation == identify(plan="max")


def test_a_page_view_of_somebody_unknown_waits_for_pixel_and_api() -> None:
    driver = Driver()
    driver.feed(page())
    assert driver.turn(ReleaseBudget(limited=1, unlimited=0)) == []
    assert driver.turn(NO_REQUESTS) == []
    assert len(driver.turn(ReleaseBudget(limited=1, unlimited=1, requests=1))) == 1


def test_no_more_is_released_than_requests_may_begin() -> None:
    """What is not frozen yet can still merge; the last one may overdraw."""
    driver = known("ann")
    for user in ("ann", "bob", "cid", "dan"):
        driver.feed(identify(user, plan="pro"))
    released = driver.turn(ReleaseBudget(limited=100, unlimited=100, requests=2.5))
    assert sum(work.api_requests for work in released) == 3
    driver.feed(identify("dan", plan="max"))
    rest = driver.turn()
    assert ["e4", "e5"] in [names(work) for work in rest]


def test_a_wave_of_new_people_does_not_hold_up_who_is_known() -> None:
    driver = known("ann", "bob")
    for number in range(40):
        driver.feed(identify(f"new{number}"))
    driver.feed(identify("ann", plan="pro"))
    driver.feed(response("bob"))
    released = [
        work.lane.key
        for _ in range(3)
        for work in driver.turn(ReleaseBudget(limited=100, unlimited=100, requests=1))
    ]
    assert {"ann", "bob"} < set(released)


def test_a_users_next_operation_keeps_the_place_of_its_arrival() -> None:
    """Behind its own predecessor, and before everybody who came later."""
    driver = known("ann", "bob")
    one = ReleaseBudget(limited=1, unlimited=0, requests=1)
    driver.feed(response("ann"))
    driver.feed(response("ann"))
    (first,) = driver.turn(one)
    for number in range(5):
        driver.feed(response("bob"), name=f"late{number}")
    driver.settle(first)
    (second,) = driver.turn(one)
    assert second.lane.key == "ann"


def test_who_turns_out_to_be_unknown_waits_with_the_unknown() -> None:
    """An entry that says that nobody was found is no acquaintance; nor is one of long ago."""
    driver = known("ann")
    driver.now += driver.limits.unchanged_resend_after_s
    driver.feed(identify("ann", plan="pro"))
    driver.feed(response("bob"))
    released = driver.turn(ReleaseBudget(limited=100, unlimited=100, requests=2))
    assert [work.lane.key for work in released] == ["bob"]


# The bound


@dataclass
class Clerk:
    """Serves one request at a time, each taking one tick."""

    driver: Driver
    free_at: float = 0.0

    def work(self, now: float) -> dict[PendingRequest, float]:
        """Release what may begin now; return when each will be done."""
        done = {}
        room = ReleaseBudget(limited=1, unlimited=100, requests=1 if self.free_at <= now else 0)
        for work in self.driver.turn(room):
            began_at = max(now, self.free_at) if work.api_requests else now
            done[work] = began_at + work.api_requests
            if work.api_requests:
                self.free_at = done[work]
        return done


KNOWN = [f"known{number}" for number in range(12)]
WAVES: dict[str, Callable[[int], Operation]] = {
    "surveys": lambda number: response(KNOWN[number % len(KNOWN)], score=number % 10),
    "updates": lambda number: identify(KNOWN[number % len(KNOWN)], n=number),
    "one person": lambda number: response("known0", score=number % 10),
    "new people": lambda number: identify(f"new{number}"),
    "strangers' surveys": lambda number: response(f"stranger{number}"),
    "strangers' views": lambda number: page(f"visitor{number}"),
    "known views": lambda number: page(KNOWN[number % len(KNOWN)], random=str(number)),
    "deletes": lambda number: delete(KNOWN[number % len(KNOWN)]),
}
SCHEDULES = st.lists(
    st.tuples(
        st.integers(0, 30), st.integers(1, 25), st.integers(0, 3), st.sampled_from(list(WAVES))
    ),
    min_size=1,
    max_size=6,
)
"""Waves: when each begins, how many events it has, how far apart, and of what kind."""


@settings(max_examples=300, deadline=None)
@example([(0, 20, 0, "new people"), (0, 90, 1, "surveys")])
@example([(0, 20, 0, "surveys"), (0, 90, 1, "new people"), (0, 90, 1, "strangers' views")])
@example([(0, 5, 0, "one person"), (1, 90, 0, "strangers' surveys")])
@given(SCHEDULES)
def test_nobody_waits_longer_than_twice_what_was_there_before(
    waves: list[tuple[int, int, int, str]],
) -> None:
    """Whatever comes later, and in whatever mixture: measured in requests of the API.

    While an operation waits for its answer the same person's next one cannot begin; what
    begins instead, of somebody else, is finished first.
    """
    ahead = [
        (begin + number * gap, WAVES[kind](place * 100 + number))
        for place, (begin, size, gap, kind) in enumerate(waves)
        for number in range(size)
    ]
    ahead.sort(key=lambda arrival: arrival[0])
    driver, now = known(*KNOWN), 0
    clerk, done, arrived = Clerk(driver), dict[PendingRequest, float](), dict[str, float]()
    while ahead or driver.flow.unsettled:
        while ahead and ahead[0][0] <= now:
            arrived[f"e{driver.feed(ahead.pop(0)[1])}"] = now
        done |= clerk.work(now)
        for work, at in done.items():
            if at <= now and work.state in (RequestState.INTENT_PENDING, RequestState.SENT):
                driver.settle(work)
        now += 1
        assert now < 10_000
    for work, at in done.items():
        for event in work.events:
            came_at = arrived[event.event_id]
            before = [
                other
                for other, ended_at in done.items()
                if ended_at > came_at and other.arrival <= event.arrival
            ]
            gaps = sum(other.lane is work.lane for other in before)
            drain = sum(other.api_requests for other in before)
            assert at - came_at <= 2 * (drain + gaps * COST_MAX)
