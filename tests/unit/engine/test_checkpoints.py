"""Transactions: what a checkpoint holds, aborts, offsets and conservation."""

from random import Random

import pytest
from flow_driver import PARTITION, ROOM, Driver, decline, delete, identify, page, response

from sink.delivery import Deferred, Delivered, InDoubt, Outcome, Parked, Rejected, Skipped
from stream.engine.checkpoint import OffsetTracker
from stream.engine.lanes import PendingRequest
from stream.engine.limits import ReleaseBudget
from stream.engine.prepare import Invalid
from stream.engine.scheduler import Timers
from stream.record import Partition
from stream.transform import Skip


def test_an_abort_is_no_rewind() -> None:
    """The next checkpoint says all that the last one said, and what came since."""
    driver = Driver()
    driver.feed(response("ann"))
    driver.settle(driver.one(), Rejected(reason="invalid", detail=""))
    driver.feed(response("bob"))
    lost = driver.checkpoint().partitions[PARTITION]
    driver.feed(Invalid("undecodable", ""))
    driver.feed(response("cid"))
    again = driver.checkpoint().partitions[PARTITION]
    assert {record.key for record in lost.ledger} < {record.key for record in again.ledger}
    assert again.dead_letters[: len(lost.dead_letters)] == lost.dead_letters
    assert again.releases[: len(lost.releases)] == lost.releases
    assert [len(share.releases) for share in (lost, again)] == [1, 2]
    assert [sum(share.settled.values()) for share in (lost, again)] == [1, 2]


def test_nothing_may_be_sent_before_its_intent_is_committed() -> None:
    driver = Driver()
    driver.feed(response())
    checkpoint = driver.checkpoint()
    (work,) = checkpoint.partitions[PARTITION].releases
    assert not driver.flow.may_send(work, driver.now)
    assert driver.state.intents() == {}
    assert driver.committed(checkpoint) == [work]
    assert driver.flow.may_send(work, driver.now)
    assert list(driver.state.intents()) == ["ann"]


def test_what_comes_during_a_commit_is_in_the_next_one() -> None:
    driver = Driver()
    driver.feed(response("ann"))
    (work,) = driver.turn()
    under_way = driver.checkpoint()
    driver.settle(work, Rejected(reason="invalid", detail=""))
    driver.committed(under_way)
    assert driver.letters == []
    driver.turn()
    assert driver.letters == ["e0"]


def test_every_partition_has_a_share_if_only_its_offset() -> None:
    driver = Driver()
    other = Partition("segment.events", 1)
    driver.flow.open(other, driver.after_crash().state, 17, driver.now, assignment_epoch=1)
    shares = driver.checkpoint().partitions
    assert {partition: share.offset for partition, share in shares.items()} == {
        PARTITION: 0,
        other: 17,
    }


def test_news_ends_with_the_commit() -> None:
    driver = Driver()
    assert driver.flow.has_changes(ROOM)
    driver.turn()
    assert not driver.flow.has_changes(ROOM)
    driver.feed(Skip("unsupported_type"))
    assert driver.flow.has_changes(ROOM)
    driver.turn()
    assert not driver.flow.has_changes(ROOM)


def test_the_offset_is_that_of_the_lowest_unsettled_event() -> None:
    driver = Driver(next_offset=10)
    for user in ("ann", "bob", "cid"):
        driver.feed(response(user))
    ann, bob, cid = driver.turn()
    watermarks = []
    for work in (bob, ann, cid):
        driver.settle(work)
        driver.turn()
        watermarks.append(driver.offset)
    assert watermarks == [10, 12, 13]


def test_control_records_at_the_end_count_as_read() -> None:
    driver = Driver()
    driver.feed(Skip("unsupported_type"))
    driver.flow.on_partition_end(PARTITION, 3)
    driver.turn()
    assert driver.offset == 3


def test_the_end_does_not_pass_what_is_unsettled() -> None:
    driver = Driver()
    driver.feed(response())
    driver.flow.on_partition_end(PARTITION, 3)
    driver.turn()
    assert driver.offset == 0


def test_a_span_too_wide_stops_the_reading() -> None:
    driver = Driver()
    driver.feed(response(), at=0)
    driver.feed(Skip("unsupported_type"), at=99)
    assert not driver.part.offset_gap_exceeded
    driver.feed(Skip("unsupported_type"), at=100)
    assert driver.part.offset_gap_exceeded


def test_what_no_transaction_settled_is_relinquished() -> None:
    driver = Driver()
    driver.feed(response("ann"))
    driver.feed(response("bob"))
    ann, _ = driver.turn()
    driver.settle(ann)
    driver.feed(Skip("unsupported_type"))
    assert driver.flow.close(PARTITION) == 3
    assert driver.flow.close(PARTITION) == 0


def outcome_of(dice: Random, driver: Driver, work: PendingRequest) -> Outcome:
    now = driver.now
    return dice.choice(
        [
            driver.done(work),
            Delivered(remote_id=dice.randrange(1000)),
            Skipped(reason="no_email"),
            Rejected(reason="invalid", detail=""),
            Parked(reason="two_candidates", detail=""),
            InDoubt(detail="timeout", sent_at=now),
            Deferred(reason="throttled", retry_at=now + dice.random() * 9),
        ]
    )


@pytest.mark.parametrize("seed", range(40))
def test_consumed_is_settled_and_unsettled_at_every_step(seed: int) -> None:
    """Whatever happens in whatever order, and at the end nothing is left."""
    dice = Random(seed)
    driver = Driver()
    flying: list[PendingRequest] = []
    makers = [identify, identify, page, response, decline, delete]
    for _ in range(200):
        driver.now += dice.random() * 10
        match dice.randrange(4):
            case 0 if driver.part.offsets.next_offset < 90:
                operation = dice.choice(makers)(dice.choice("abc"))
                verdict = dice.choice([operation] * 6 + [Skip("x"), Invalid("y", "")])
                driver.feed(verdict, name=f"m{dice.randrange(60)}")
            case 1:
                flying += driver.turn(
                    ReleaseBudget(limited=dice.randrange(3), unlimited=dice.randrange(2))
                )
            case 2:
                driver.checkpoint()
            case 3 if flying:
                work = flying.pop(dice.randrange(len(flying)))
                driver.settle(work, outcome_of(dice, driver, work))
        assert driver.conserved()
        assert driver.flow.under_way >= len(flying)
        assert len(set(flying)) == len(flying)
    for _ in range(100):
        driver.now += 100
        for work in flying:
            driver.settle(work)
        flying = driver.turn()
        assert driver.conserved()
    assert (driver.flow.unsettled, driver.flow.under_way, driver.flow.in_doubt) == (0, 0, 0)
    assert driver.offset == driver.part.offsets.next_offset
    assert driver.state.intents() == {}


def test_offsets_hold_the_oldest_time_and_ignore_strangers() -> None:
    offsets = OffsetTracker(5)
    offsets.add(5, 100)
    offsets.add(8, 50)
    assert (offsets.oldest_ms, offsets.span, len(offsets)) == (100, 4, 2)
    assert not offsets.settle(6)
    assert offsets.settle(5)
    assert (offsets.commit_offset, offsets.oldest_ms) == (8, 50)
    assert not offsets.settle(5)
    assert offsets.settle(8)
    assert (offsets.commit_offset, offsets.oldest_ms, offsets.span) == (9, None, 0)


def test_timers_yield_in_order_and_only_what_is_due() -> None:
    timers: Timers[str] = Timers()
    for when, name in ((3, "c"), (1, "a"), (1, "b"), (9, "d")):
        timers.add(when, name)
    assert list(timers.pop(3)) == ["a", "b", "c"]
    assert timers.next() == 9
    assert list(timers.pop(9)) == ["d"]
    assert timers.next() is None
