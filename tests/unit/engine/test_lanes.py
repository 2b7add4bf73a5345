"""Lanes: order, merging and what is released when."""

import pytest
from flow_driver import Driver, decline, delete, identify, names, page, response

from sink.delivery import Deferred, Delivered, Operation, Outcome, Parked, Rejected
from sink.wootric.operations import PROPERTIES_MERGED_MAX, UpsertEndUser
from stream.engine.limits import ReleaseBudget


def test_one_operation_of_a_user_is_in_flight_and_order_is_kept() -> None:
    driver = Driver()
    for operation in (response(), decline(), response()):
        driver.feed(operation)
    assert driver.through() == [["e0"], ["e1"], ["e2"]]


def test_users_do_not_wait_for_each_other() -> None:
    driver = Driver()
    driver.feed(response("ann"))
    driver.feed(response("bob"))
    assert [names(work) for work in driver.turn()] == [["e0"], ["e1"]]


def test_nothing_of_a_lane_is_released_while_its_head_is_in_flight() -> None:
    driver = Driver()
    driver.feed(response())
    driver.one()
    driver.feed(response())
    assert driver.turn() == []


@pytest.mark.parametrize(
    ("operations", "requests"),
    [
        ([identify(a=1), identify(b=2)], [["e0", "e1"]]),
        ([identify(a=1), page(), identify(b=2)], [["e0", "e2"], ["e1"]]),
        ([identify(a=1), page(), page(), identify(b=2)], [["e0", "e3"], ["e1"], ["e2"]]),
        ([page(), identify(a=1)], [["e0"], ["e1"]]),
        ([identify(a=1), response(), identify(b=2)], [["e0"], ["e1"], ["e2"]]),
        ([identify(a=1), decline(), identify(b=2)], [["e0"], ["e1"], ["e2"]]),
        ([identify(a=1), delete(), identify(a=1)], [["e0"], ["e1"], ["e2"]]),
        ([identify(a=1), response(), page(), identify(b=2)], [["e0"], ["e2"], ["e1"], ["e3"]]),
        (
            [identify(a=1), UpsertEndUser(external_id="ann", email="other@example.com")],
            [["e0"], ["e1"]],
        ),
    ],
)
def test_only_identifies_of_one_identity_merge_and_only_past_page_views(
    operations: list[Operation], requests: list[list[str]]
) -> None:
    driver = Driver()
    for operation in operations:
        driver.feed(operation)
    assert driver.through() == requests


def test_of_merged_identifies_the_last_value_wins() -> None:
    driver = Driver()
    driver.feed(identify(plan="free", seats=1))
    driver.feed(identify(plan="pro"))
    assert driver.one().operation == identify(plan="pro", seats=1)


def test_identifies_of_too_many_properties_merge_no_further() -> None:
    """Each merge copies all that there is."""
    driver = Driver()
    for number in range(3):
        driver.feed(identify(**{f"p{number}-{n}": 1 for n in range(PROPERTIES_MERGED_MAX)}))
    assert driver.through() == [["e0"], ["e1"], ["e2"]]


def test_a_released_identify_is_frozen() -> None:
    driver = Driver()
    driver.feed(identify(a=1))
    work = driver.one()
    driver.feed(identify(a=2))
    assert (names(work), work.operation) == (["e0"], identify(a=1))


def test_a_checkpoint_that_was_not_committed_freezes_all_the_same() -> None:
    """The intent may have been committed: nobody knows until Kafka is asked."""
    driver = Driver()
    driver.feed(identify(a=1))
    driver.checkpoint()
    driver.feed(identify(b=2))
    assert names(driver.one()) == ["e0"]


def test_what_was_not_executed_returns_to_its_lane_and_merges() -> None:
    driver = Driver()
    driver.feed(identify(a=1))
    work = driver.one()
    driver.feed(page())
    driver.feed(identify(b=2))
    driver.settle(work, Deferred(reason="throttled", retry_at=driver.now + 3))
    assert driver.turn() == []
    driver.now += 3
    assert driver.through() == [["e0", "e2"], ["e1"]]


def test_room_bounds_what_is_released() -> None:
    driver = Driver()
    for user in ("ann", "bob", "cid"):
        driver.feed(response(user))
        driver.feed(page(user + "-page"))
    released = driver.turn(ReleaseBudget(limited=2, unlimited=1))
    assert sorted(work.is_unlimited for work in released) == [False, False, True]
    assert not driver.flow.has_changes(ReleaseBudget(limited=0, unlimited=0))
    assert driver.flow.has_changes(ReleaseBudget(limited=1, unlimited=0))
    assert len(driver.turn()) == 3


def test_pages_and_operations_have_rooms_of_their_own() -> None:
    driver = Driver()
    driver.feed(identify())
    driver.through()
    driver.feed(page())
    driver.feed(response("bob"))
    assert [names(work) for work in driver.turn(ReleaseBudget(limited=1, unlimited=0))] == [["e2"]]
    assert [names(work) for work in driver.turn(ReleaseBudget(limited=0, unlimited=1))] == [["e1"]]


def test_a_partition_that_is_given_up_releases_nothing_more() -> None:
    driver = Driver()
    driver.feed(response("ann"))
    work = driver.one()
    driver.feed(response("bob"))
    driver.flow.stop_releasing([driver.part.partition])
    assert driver.turn() == []
    driver.settle(work)
    driver.turn()
    assert driver.settled == {("delivered", ""): 1}


def test_a_replayed_identify_does_not_take_a_newer_one_along() -> None:
    """An old event out of the dead letters is stale; the fresh one behind it is not."""
    driver = Driver()
    driver.feed(identify(plan="free"), time_ms=1_000)
    driver.through()
    driver.feed(response())
    busy = driver.one()
    driver.feed(identify(plan="old"), time_ms=500, replayed=True)
    driver.feed(identify(plan="pro"), time_ms=2_000)
    driver.settle(busy)
    sent = [work.operation for work in driver.turn()]
    assert sent == [identify(plan="pro")]


def test_a_replayed_identify_never_wins_over_a_newer_one_that_waits() -> None:
    driver = Driver()
    driver.feed(response())
    busy = driver.one()
    driver.feed(identify(plan="pro"), time_ms=2_000)
    driver.feed(identify(plan="old"), time_ms=500, replayed=True)
    driver.settle(busy)
    work = driver.one()
    assert work.operation == identify(plan="pro")
    driver.settle(work)
    driver.through()
    assert driver.settled["skipped", "stale"] == 1


def test_a_replayed_identify_is_stale_after_a_newer_one_that_changed_nothing() -> None:
    driver = Driver()
    driver.feed(identify(plan="free"), time_ms=1_000)
    driver.through()
    driver.feed(identify(plan="free"), time_ms=3_000)
    driver.turn()
    driver.feed(identify(plan="old"), time_ms=2_000, replayed=True)
    assert driver.turn() == []
    assert driver.settled["skipped", "stale"] == 1


@pytest.mark.parametrize(
    ("operation", "outcome"),
    [
        (response(), Rejected(reason="invalid", detail="no")),
        (response(), Parked(reason="two_candidates", detail="")),
        (identify(plan="team"), Rejected(reason="invalid", detail="no")),
        (identify(plan="team"), Delivered(end_user=None)),
        (delete(), Delivered()),
    ],
)
def test_a_replayed_identify_is_stale_where_nothing_else_is_known_of_its_user_any_more(
    operation: Operation, outcome: Outcome
) -> None:
    driver = Driver()
    driver.feed(identify(plan="pro"), time_ms=2_000)
    driver.through()
    driver.feed(operation, time_ms=3_000)
    driver.settle(driver.one(), outcome)
    driver.turn()
    driver.feed(identify(plan="old"), time_ms=500, replayed=True)
    assert driver.turn() == []
    assert driver.settled["skipped", "stale"] == 1
    driver.feed(identify(plan="pro"), time_ms=4_000)
    assert driver.one().known is None


def test_a_forced_replay_wins_over_what_is_newer() -> None:
    driver = Driver()
    driver.feed(identify(plan="pro"), time_ms=2_000)
    driver.through()
    driver.feed(identify(plan="old"), time_ms=500, replayed=True, forced=True)
    work = driver.one()
    assert work.operation == identify(plan="old")
    driver.settle(work)
    driver.feed(identify(plan="older"), time_ms=900, replayed=True)
    driver.through()
    assert driver.settled["skipped", "stale"] == 1


def test_a_page_behind_what_needs_no_request_keeps_to_its_own_room() -> None:
    """The pixel's circuit may be open while the API's is not."""
    driver = Driver()
    driver.feed(identify(a=1))
    work = driver.one()
    driver.feed(identify(a=1))
    driver.feed(page())
    driver.settle(work)
    assert driver.turn(ReleaseBudget(limited=9, unlimited=0)) == []
    assert [names(work) for work in driver.turn()] == [["e2"]]
