"""In doubt: attempts whose outcome nobody knows, here and after a takeover."""

from dataclasses import replace

import pytest
from flow_driver import LIMITS, PARTITION, Driver, delete, identify, names, page, response

from sink.delivery import (
    Deferred,
    Delivered,
    EffectClass,
    EndUser,
    InDoubt,
    Operation,
    Parked,
    Skipped,
)
from stream.errors import DecodeError
from stream.state.ledger import EVENT, IntentEntry, UserEntry, encode
from stream.state.store import InMemoryStateStore
from stream.transform import Skip


def doubt(driver: Driver, sent_at: float | None = None) -> InDoubt:
    return InDoubt(detail="timeout", sent_at=driver.now if sent_at is None else sent_at)


@pytest.mark.parametrize("operation", [response(), identify(a=1), delete()])
def test_an_attempt_in_doubt_closes_its_lane_until_late_effects_are_excluded(
    operation: Operation,
) -> None:
    driver = Driver()
    driver.feed(operation)
    work = driver.one()
    driver.settle(work, doubt(driver, sent_at=driver.now - 1))
    driver.feed(response())
    assert driver.flow.in_doubt == 1
    driver.now += LIMITS.quiet_s - 1.5
    assert driver.turn() == []
    driver.now += 0.5
    assert driver.turn() == [work]
    assert driver.delivery(work).in_doubt
    driver.settle(work)
    assert driver.flow.in_doubt == 0
    assert names(driver.one()) == ["e1"]


def test_what_is_looked_for_is_not_sent_a_second_time_when_its_lane_grows() -> None:
    """An event that joins the lane meanwhile releases nothing."""
    driver = Driver()
    driver.feed(response())
    work = driver.one()
    driver.settle(work, doubt(driver))
    driver.now += 60
    assert driver.turn() == [work]
    driver.feed(response())
    assert driver.turn() == []
    assert driver.flow.under_way == 1


def test_a_lookup_knows_nothing_and_is_told_which_effects_are_spoken_for() -> None:
    driver = Driver()
    driver.feed(response())
    driver.settle(driver.one(), Delivered(remote_id=7))
    driver.turn()
    driver.feed(response("bob"))
    driver.settle(driver.one(), Delivered(remote_id=8))
    driver.feed(response())
    work = driver.one()
    driver.settle(work, doubt(driver))
    driver.now += 60
    driver.turn()
    delivery = driver.delivery(work)
    assert delivery.known is None
    assert [number for number in range(10) if number in delivery.claimed] == [7, 8]


def test_a_lookup_that_has_to_wait_keeps_its_intent() -> None:
    driver = Driver()
    driver.feed(identify(a=1))
    work = driver.one()
    driver.settle(work, doubt(driver))
    driver.now += 60
    driver.turn()
    driver.feed(identify(b=1))
    driver.settle(work, Deferred(reason="throttled", retry_at=driver.now + 9))
    assert driver.turn() == []
    assert list(driver.state.intents()) == ["ann"]
    driver.now += 9
    assert driver.turn() == [work]
    assert (names(work), work.in_doubt) == (["e0"], True)


def test_a_page_view_in_doubt_is_parked() -> None:
    driver = Driver()
    driver.feed(page())
    driver.settle(driver.one(), doubt(driver))
    driver.turn()
    assert driver.parked == ["e0"]
    assert driver.settled == {("parked", "ambiguous"): 1}


def test_a_page_view_in_doubt_is_sent_again_if_so_set() -> None:
    driver = Driver(replace(LIMITS, resend_unobservable=True))
    driver.feed(page())
    work = driver.one()
    driver.settle(work, doubt(driver))
    assert driver.turn() == [work]


def test_after_doubt_the_user_is_not_taken_for_known() -> None:
    driver = Driver()
    driver.feed(identify(a=1))
    driver.through()
    driver.feed(identify(a=2))
    work = driver.one()
    driver.settle(work, doubt(driver))
    driver.feed(page())
    driver.now += LIMITS.quiet_s
    assert driver.turn() == [work]
    assert driver.delivery(work).known is None
    driver.settle(work, Delivered(end_user=None))
    assert driver.one().known is None


# The lease


def test_the_lease_ends_and_a_commit_renews_it() -> None:
    driver = Driver()
    driver.feed(response())
    work = driver.one()
    assert driver.flow.may_send(work, driver.now + 4.9)
    assert not driver.flow.may_send(work, driver.now + 5)
    driver.now += 4
    driver.turn()
    assert driver.flow.may_send(work, driver.now + 4.9)


def test_the_lease_counts_from_the_start_of_the_transaction() -> None:
    driver = Driver()
    driver.feed(response())
    (work,) = driver.flow.on_committed(driver.checkpoint(), driver.now - 3)
    assert not driver.flow.may_send(work, driver.now + 2)


def test_nothing_may_be_sent_for_a_closed_partition_or_a_settled_work() -> None:
    driver = Driver()
    driver.feed(response())
    driver.feed(response("bob"))
    ann, bob = driver.turn()
    driver.settle(ann)
    assert not driver.flow.may_send(ann, driver.now)
    driver.flow.close(PARTITION)
    assert not driver.flow.may_send(bob, driver.now)


def reopened(driver: Driver) -> Driver:
    """The same worker, which lost the partition and has it back."""
    driver.flow.close(PARTITION)
    driver.flow.open(PARTITION, driver.state, driver.offset or 0, driver.now, assignment_epoch=2)
    return driver


def test_a_work_of_an_earlier_ownership_may_not_be_sent() -> None:
    """Lost and assigned again: the ledger's intent is in doubt, the old delivery is dead."""
    driver = Driver()
    driver.feed(response())
    work = driver.one()
    reopened(driver)
    driver.turn()
    assert not driver.flow.may_send(work, driver.now)


def test_an_outcome_of_an_earlier_ownership_settles_nothing() -> None:
    driver = Driver()
    driver.feed(response())
    work = driver.one()
    reopened(driver)
    driver.feed(response(), at=0)
    driver.settle(work, Delivered(remote_id=7))
    assert (driver.flow.under_way, driver.flow.in_doubt) == (0, 1)
    assert driver.state.intents().keys() == {"ann"}


def test_a_commit_of_an_earlier_ownership_releases_and_removes_nothing() -> None:
    """A commit that was unclear for a while is told of after the partition came back."""
    driver = Driver()
    driver.feed(response())
    checkpoint = driver.checkpoint()
    reopened(driver)
    driver.feed(Skip("unsupported_type"))
    assert driver.flow.on_committed(checkpoint, driver.now) == []
    driver.turn()
    assert driver.settled == {("skipped", "unsupported_type"): 1}


# After a takeover


def crashed(*operations: Operation, resend_unobservable: bool = False) -> Driver:
    """A worker that died with all of these released."""
    driver = Driver(replace(LIMITS, resend_unobservable=resend_unobservable))
    for operation in operations:
        driver.feed(operation)
    driver.turn()
    return driver.after_crash()


def test_a_restored_intent_waits_for_the_takeover_and_for_its_events() -> None:
    driver = crashed(identify(a=1), identify(b=2))
    assert driver.flow.in_doubt == 1
    driver.feed(identify(a=1))
    driver.now += LIMITS.takeover_wait_s - 0.1
    assert driver.turn() == []
    driver.now += 0.1
    assert driver.turn() == []
    driver.feed(identify(b=2))
    work = driver.one()
    assert (names(work), work.in_doubt) == (["e0", "e1"], True)
    assert work.operation == identify(a=1, b=2)
    driver.settle(work)
    driver.turn()
    assert driver.offset == 2
    assert driver.state.intents() == {}


def test_events_that_are_no_members_wait_behind_a_restored_intent() -> None:
    driver = crashed(identify(a=1))
    driver.feed(identify(a=1))
    driver.feed(identify(b=2))
    driver.now += LIMITS.takeover_wait_s
    work = driver.one()
    assert names(work) == ["e0"]
    driver.settle(work)
    assert driver.through() == [["e1"]]


def test_other_lanes_flow_while_one_is_in_doubt() -> None:
    driver = crashed(identify("ann", a=1))
    driver.feed(identify("ann", a=1))
    driver.feed(identify("bob", a=1))
    assert driver.through() == [["e1"]]


def test_a_restored_page_view_is_parked_at_once() -> None:
    driver = crashed(page())
    assert driver.turn() == []
    driver.feed(page())
    driver.turn()
    driver.turn()
    assert (driver.parked, driver.offset) == (["e0"], 1)


def test_a_restored_page_view_is_sent_again_if_so_set() -> None:
    driver = crashed(page(), resend_unobservable=True)
    driver.feed(page())
    assert names(driver.one()) == ["e0"]


def test_a_page_view_that_was_sent_perhaps_is_not_skipped() -> None:
    """Its person has no e-mail now. Whoever had it before may have known one, or still find one."""
    driver = crashed(page(), resend_unobservable=True)
    driver.feed(page())
    driver.settle(driver.one(), Skipped(reason="no_email"))
    driver.turn()
    assert driver.parked == ["e0"]


def test_a_restored_page_view_is_not_sent_twice_when_its_lane_grows() -> None:
    driver = crashed(page(), resend_unobservable=True)
    driver.feed(page())
    driver.one()
    driver.feed(page(random="2"))
    assert driver.turn() == []


def test_a_twin_of_a_restored_member_is_a_duplicate() -> None:
    driver = crashed(response())
    driver.feed(response(), name="e0")
    driver.feed(response(), name="e0")
    driver.now += LIMITS.takeover_wait_s
    driver.settle(driver.one())
    driver.turn()
    assert driver.settled == {("delivered", ""): 1, ("duplicate", "message_id"): 1}


def test_a_member_that_is_gone_from_the_input_is_settled_without_its_bytes() -> None:
    driver = crashed(identify(a=1), identify(b=2))
    driver.feed(identify(a=1))
    driver.now += LIMITS.takeover_wait_s
    assert driver.turn() == []
    driver.flow.on_partition_end(PARTITION, 2)
    driver.settle(driver.one())
    driver.turn()
    assert driver.state.get(EVENT + "e1") is not None
    assert driver.settled == {("delivered", ""): 1}


def test_a_member_below_the_first_offset_needs_no_end_of_partition() -> None:
    """After the offset was set by hand a backlog lies ahead: its end may never be reached."""
    driver = crashed(response()).after_crash(next_offset=50)
    driver.now += LIMITS.takeover_wait_s
    assert len(driver.turn()) == 1


def test_a_member_that_reading_has_passed_needs_no_end_of_partition() -> None:
    """A lane that waits for what is gone would stop the partition at its span."""
    driver = crashed(response())
    driver.feed(response("bob"), at=7)
    driver.now += LIMITS.takeover_wait_s
    assert len(driver.turn()) == 2


def test_reading_goes_on_as_long_as_an_intent_lacks_a_member() -> None:
    """What holds the watermark may be the very lane whose member lies further on."""
    driver = Driver(replace(LIMITS, offset_gap_max=3))
    driver.feed(identify(a=1))
    for _ in range(3):
        driver.feed(Skip("unsupported_type"))
    driver.feed(identify(b=2))
    driver.turn()
    again = driver.after_crash()
    again.feed(identify(a=1))
    for _ in range(3):
        again.feed(Skip("unsupported_type"))
    assert not again.part.offset_gap_exceeded


def test_an_operation_that_is_rebuilt_otherwise_than_it_was_sent_is_parked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As after a change of the transform's settings: what to look for is not known."""
    monkeypatch.setattr("stream.engine.lanes.OPERATION_BYTES_MAX", 10)
    driver = crashed(identify(a=1), identify(b=2))
    driver.feed(identify(a=1))
    driver.feed(identify(b=3))
    driver.now += LIMITS.takeover_wait_s
    driver.turn()
    driver.turn()
    assert driver.settled == {("parked", "operation_changed"): 2}
    assert driver.state.intents() == {}


def test_an_operation_that_was_too_large_for_the_ledger_is_made_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stream.engine.lanes.OPERATION_BYTES_MAX", 10)
    driver = crashed(identify(a=1, b=1), page(), identify(b=2))
    driver.feed(identify(a=1, b=1))
    driver.feed(page())
    driver.feed(identify(b=2))
    driver.now += LIMITS.takeover_wait_s
    assert driver.one().operation == identify(a=1, b=2)


def test_an_operation_that_nobody_can_make_anew_is_parked(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in doubt, nothing is left to look by, and it must not stop the worker."""
    monkeypatch.setattr("stream.engine.lanes.OPERATION_BYTES_MAX", 10)
    driver = crashed(response())
    driver.flow.on_partition_end(PARTITION, 1)
    driver.now += LIMITS.takeover_wait_s
    assert driver.turn() == []
    driver.turn()
    assert driver.parked == ["None"]
    assert driver.state.intents() == {}


def test_a_parked_takeover_leaves_its_user_unknown() -> None:
    first = Driver()
    first.feed(identify(a=1))
    first.through()
    first.feed(identify(a=2))
    first.turn()
    driver = first.after_crash()
    driver.feed(identify(a=2))
    driver.now += LIMITS.takeover_wait_s
    work = driver.one()
    driver.settle(work, Parked(reason="two_candidates", detail=""))
    driver.feed(identify(a=1))
    assert len(driver.turn()) == 1


def test_a_user_entry_that_cannot_be_read_costs_a_lookup() -> None:
    state = InMemoryStateStore()
    state.put("user/ann", b"written by a newer version")
    driver = Driver(state=state)
    driver.feed(identify(a=1))
    assert driver.one().known is None


@pytest.mark.parametrize(
    "value",
    [
        b"no entry",
        encode(UserEntry(end_user=EndUser(id=1), sent_at_ms=0)),
        encode(
            IntentEntry(
                request_id="r",
                effect=EffectClass.OBSERVABLE,
                members=(),
                operation='{"type": "of_a_newer_version"}',
                operation_hash="",
                first_attempt_at_ms=0,
                instance="",
            )
        ),
    ],
)
def test_an_intent_that_cannot_be_read_is_one_kind_of_error(value: bytes) -> None:
    """The partition cannot be opened: what may have been sent is not known."""
    state = InMemoryStateStore()
    state.put("intent/ann", value)
    with pytest.raises(DecodeError):
        Driver(state=state)
