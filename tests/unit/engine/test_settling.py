"""How outcomes settle events."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from flow_driver import LIMITS, PARTITION, Driver, delete, identify, names, page, response

from sink.delivery import (
    Deferred,
    Delivered,
    EndUser,
    InDoubt,
    Outcome,
    Parked,
    Rejected,
    Skipped,
)
from stream.engine.end_user_cache import ENTRY_BYTES_MAX
from stream.engine.prepare import REPLAY_HEADER, Invalid, PreparedRecord
from stream.record import Record
from stream.state.ledger import EVENT, read_event
from stream.transform import Skip

REJECTED = Rejected(reason="invalid", detail="no", status=422)
PARKED = Parked(reason="two_candidates", detail="two")


@pytest.mark.parametrize(
    ("outcome", "settled", "letters", "parked"),
    [
        (Delivered(remote_id=7), ("delivered", ""), [], []),
        (Skipped(reason="no_email"), ("skipped", "no_email"), [], []),
        (REJECTED, ("rejected", "invalid"), ["e0"], []),
        (PARKED, ("parked", "two_candidates"), [], ["e0"]),
    ],
)
def test_a_final_outcome_settles_with_a_receipt_and_no_intent(
    outcome: Outcome, settled: tuple[str, str], letters: list[str], parked: list[str]
) -> None:
    driver = Driver()
    driver.feed(response())
    driver.settle(driver.one(), outcome)
    driver.turn()
    assert driver.settled == {settled: 1}
    assert (driver.letters, driver.parked, driver.offset) == (letters, parked, 1)
    assert driver.state.get(EVENT + "e0") is not None
    assert driver.state.intents() == {}


@pytest.mark.parametrize(
    ("verdict", "settled"),
    [
        (Skip("unsupported_type"), ("skipped", "unsupported_type")),
        (Invalid("undecodable", "no Avro"), ("rejected", "undecodable")),
    ],
)
def test_what_has_no_operation_settles_at_admission(
    verdict: Skip | Invalid, settled: tuple[str, str]
) -> None:
    driver = Driver()
    driver.feed(verdict)
    assert driver.turn() == []
    assert driver.settled == {settled: 1}
    assert driver.letters == (["e0"] if settled[0] == "rejected" else [])


def test_each_merged_event_has_its_own_receipt() -> None:
    driver = Driver()
    driver.feed(identify(a=1))
    driver.feed(identify(a=2))
    work = driver.one()
    driver.settle(work)
    driver.turn()
    entries = [read_event(driver.state.get(EVENT + name) or b"") for name in ("e0", "e1")]
    assert {entry.request_id for entry in entries} == {work.request_id}
    assert [entry.offset for entry in entries] == [0, 1]


def test_a_refused_merge_is_split_and_each_event_has_its_own_verdict() -> None:
    driver = Driver()
    driver.feed(identify(a=1))
    driver.feed(identify(bad=1))
    driver.feed(identify(c=1))
    driver.settle(driver.one(), REJECTED)
    sent = []
    for outcome in (None, REJECTED, None):
        work = driver.one()
        sent.append(names(work))
        driver.settle(work, outcome)
    driver.turn()
    assert sent == [["e0"], ["e1"], ["e2"]]
    assert driver.letters == ["e1"]
    assert driver.settled["delivered", ""] == 2


def test_what_was_forbidden_together_was_forbidden_to_each() -> None:
    """Else each of them would open the circuit for all others, and be asked of by a probe."""
    driver = Driver()
    driver.feed(identify(a=1))
    driver.feed(identify(a=2))
    driver.settle(driver.one(), Deferred(reason="forbidden", retry_at=driver.now, refused=True))
    driver.settle(driver.one(), REJECTED)
    assert driver.delivery(driver.one()).refused == 1


def test_split_works_do_not_merge_again_with_what_came_meanwhile() -> None:
    driver = Driver()
    driver.feed(identify(a=1))
    driver.feed(identify(bad=1))
    work = driver.one()
    driver.feed(identify(d=1))
    driver.settle(work, REJECTED)
    assert driver.through() == [["e0"], ["e1"], ["e2"]]


def test_a_merge_that_was_in_doubt_and_is_refused_is_split_as_well() -> None:
    """Nothing of it was executed: a valid event does not follow its neighbour to the letters."""
    driver = Driver()
    driver.feed(identify(a=1))
    driver.feed(identify(bad=1))
    work = driver.one()
    driver.settle(work, InDoubt(detail="timeout", sent_at=driver.now))
    driver.now += 61
    driver.settle(driver.one(), REJECTED)
    work = driver.one()
    assert names(work) == ["e0"]
    driver.settle(work)
    driver.settle(driver.one(), REJECTED)
    driver.turn()
    assert driver.letters == ["e1"]


def test_what_is_deferred_keeps_how_often_it_was_refused() -> None:
    driver = Driver()
    driver.feed(response())
    driver.settle(driver.one(), Deferred(reason="forbidden", retry_at=driver.now, refused=True))
    assert driver.delivery(driver.one()).refused == 1


def test_the_same_user_again_is_known_as_it_was_left() -> None:
    driver = Driver()
    driver.feed(identify(a=1))
    driver.through()
    driver.feed(identify(b=2))
    known = driver.one().known
    assert known is not None
    assert known.properties == {"a": 1}


@pytest.mark.parametrize("outcome", [REJECTED, PARKED, Delivered(end_user=None)])
def test_after_an_unclear_write_the_user_is_looked_up(outcome: Outcome) -> None:
    driver = Driver()
    driver.feed(identify(a=1))
    driver.through()
    driver.feed(identify(b=2))
    driver.settle(driver.one(), outcome)
    driver.feed(identify(a=1))
    assert driver.one().known is None


def test_after_a_delete_the_user_is_looked_up() -> None:
    driver = Driver()
    driver.feed(identify(a=1))
    driver.feed(delete())
    driver.through()
    driver.feed(identify(a=1))
    assert driver.one().known is None


def test_an_unchanged_profile_needs_no_request_at_admission() -> None:
    driver = Driver()
    driver.feed(identify(a=1))
    driver.through()
    driver.feed(identify(a=1))
    assert driver.turn() == []
    assert driver.settled["skipped", "unchanged"] == 1
    assert driver.state.get(EVENT + "e1") is not None


def test_unchanged_is_decided_against_the_state_after_the_predecessor() -> None:
    driver = Driver()
    driver.feed(identify(a=1))
    driver.through()
    driver.feed(identify(a=2))
    work = driver.one()
    driver.feed(identify(a=1))
    driver.settle(work)
    assert driver.through() == [["e2"]]


def test_what_waits_and_turns_out_unchanged_settles_at_release() -> None:
    driver = Driver()
    driver.feed(identify(a=1))
    work = driver.one()
    driver.feed(identify(a=1))
    driver.settle(work)
    assert driver.through() == []
    assert driver.settled == {("delivered", ""): 1, ("skipped", "unchanged"): 1}


def test_an_unchanged_profile_is_really_sent_again_after_a_day() -> None:
    """The sink skips what its known user has already, so it has to be told to look."""
    driver = Driver()
    driver.feed(identify(a=1))
    driver.through()
    driver.now += LIMITS.unchanged_resend_after_s
    driver.feed(identify(a=1))
    assert driver.one().known is None


def test_an_absence_is_remembered_for_a_day() -> None:
    """Page views of nobody cost one look-up; one that another client creates is found at last."""
    driver = Driver()
    absent = EndUser(id=None, external_id="ann")
    for known in (None, absent):
        driver.feed(page())
        work = driver.one()
        assert work.known == known
        driver.settle(work, Skipped(reason="no_email", end_user=absent))
    driver.now += LIMITS.unchanged_resend_after_s
    driver.feed(page())
    assert driver.one().known is None


def test_a_run_of_dead_letters_brakes_and_deliveries_end_it() -> None:
    driver = Driver(replace(LIMITS, dead_letter_limit=2))
    driver.feed(Invalid("undecodable", "x"))
    assert not driver.part.dead_letter_limit.exceeded
    driver.feed(Invalid("undecodable", "x"))
    assert driver.part.dead_letter_limit.exceeded
    for _ in range(3):
        driver.feed(response())
        driver.settle(driver.one())
    assert not driver.part.dead_letter_limit.exceeded


def test_an_outcome_of_a_partition_that_was_lost_is_ignored() -> None:
    driver = Driver()
    driver.feed(response())
    work = driver.one()
    driver.flow.close(PARTITION)
    driver.settle(work, Delivered())
    assert driver.flow.unsettled == 0


def test_a_page_view_keeps_what_is_known_of_its_user() -> None:
    driver = Driver()
    driver.feed(identify(a=1))
    driver.feed(page())
    driver.through()
    driver.feed(identify(b=1))
    assert driver.one().known == EndUser(
        id=1, email="ann@example.com", external_id="ann", properties={"a": 1}
    )


def test_the_letter_of_a_replay_says_whose_replay_it_was() -> None:
    driver = Driver()
    record = Record(PARTITION, 0, 0, None, b"", ((REPLAY_HEADER, b"3-14"),))
    refused = Invalid("undecodable", "no Avro")
    event = PreparedRecord(record=record, event_id="m#3-14", result=refused, replayed=True)
    driver.flow.admit([event], driver.now_ms)
    (letter,) = driver.checkpoint().partitions[PARTITION].dead_letters
    assert letter.replay == "3-14"


def test_the_letter_of_a_record_that_is_too_large_names_its_place_only() -> None:
    driver = Driver()
    record = Record(PARTITION, 0, 0, b"key", b"v" * LIMITS.letter_bytes_max)
    refused = Invalid("undecodable", "no Avro")
    driver.flow.admit([PreparedRecord(record=record, event_id="m", result=refused)], driver.now_ms)
    (letter,) = driver.checkpoint().partitions[PARTITION].dead_letters
    assert (letter.key, letter.value, letter.offset) == (None, None, 0)
    assert "1,003 bytes" in letter.detail


def test_what_a_clock_far_ahead_wrote_is_not_believed_for_ever() -> None:
    """Nobody there, it says, and no page view would be sent until that year has come."""
    driver = Driver(now=100.0 + 10 * LIMITS.unchanged_resend_after_s)
    absent = EndUser(id=None, external_id="ann")
    driver.feed(page())
    driver.settle(driver.one(), Skipped(reason="no_email", end_user=absent))
    driver.turn()
    driver.now = 100.0
    driver.feed(page())
    assert driver.one().known is None


def test_a_profile_too_large_for_the_ledger_is_looked_up_instead() -> None:
    """Refused by the topic, it would make every transaction fail, and the worker stand still."""
    driver = Driver()
    for number in range(40):
        driver.feed(identify(**{f"text{number}": "x" * 250_000}))
        driver.through()
    assert len(driver.state.get("user/ann") or b"") < ENTRY_BYTES_MAX
    driver.feed(identify(a=1))
    known = driver.one().known
    assert known is not None
    assert (known.id, known.properties) == (1, None)


@contextmanager
def uncollected() -> Iterator[None]:
    """Leave cycles as they are: memory is given back by counting references only."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "outcome",
    [
        Delivered(),
        Skipped(reason="no_email"),
        REJECTED,
        PARKED,
        Deferred(reason="busy", retry_at=0),
        InDoubt(sent_at=0, detail="", attempts=1),
    ],
)
def test_what_is_settled_leaves_nothing_for_the_collector(outcome: Outcome) -> None:
    """Kilobytes an event would wait for it, and so would all that was alive beside them."""
    driver = Driver()

    def settle_all() -> None:
        for user in ("ann", "bob"):
            for operation in (identify(user, plan="pro"), page(user), response(user)):
                driver.feed(operation)
        for work in driver.turn():
            driver.settle(work, outcome)
        driver.now = LIMITS.takeover_wait_s
        driver.through()

    with uncollected():
        settle_all()
        assert driver.flow.unsettled == 0
        assert gc.collect() == 0
