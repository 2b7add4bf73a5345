"""Where an event is and why, in words."""

from typing import Any

import pytest

from sink.delivery import EffectClass
from sink.wootric.operations import PageView
from stream.engine.prepare import PreparedRecord
from stream.operations.analysis.explanations import TraceFacts, explain_event, explain_outcome
from stream.operations.analysis.open_intents import OpenIntent, next_action
from stream.record import Partition, Record
from stream.state.ledger import EventEntry, EventOutcome, IntentEntry, Member
from stream.transform import Deliver, Skip

SOURCE = Partition("segment.events", 0)
PAGE = Deliver(operation=PageView(url="https://example.com/", random="0.1"), lane="ann")


def event(
    offset: int, name: str = "m1", verdict: Any = PAGE, *, replayed: bool = False
) -> PreparedRecord:
    record = Record(SOURCE, offset, 0, b"ann", b"value")
    return PreparedRecord(record=record, event_id=name, result=verdict, replayed=replayed)


def facts(*events: PreparedRecord, committed: int = 10, **more: Any) -> TraceFacts:
    return TraceFacts(now_ms=60_000, committed={0: committed}, events=list(events), **more)


def told(given: TraceFacts) -> str:
    return "\n".join(explain_event(given))


def receipt(outcome: str, offset: int = 3, **more: Any) -> EventEntry:
    return EventEntry(outcome=EventOutcome(outcome), offset=offset, at_ms=0, **more)


def intent(lane: str = "ann") -> OpenIntent:
    return OpenIntent(
        0,
        lane,
        IntentEntry(
            request_id="r1",
            effect=EffectClass.OBSERVABLE,
            members=(Member("m1", 12),),
            operation="{}",
            operation_hash="",
            first_attempt_at_ms=0,
            instance="w1",
        ),
    )


@pytest.mark.parametrize(
    ("entry", "state", "words"),
    [
        (
            receipt("DELIVERED", request_id="r1", status=201, remote_id=7, attempts=2),
            "delivered",
            "in request r1, status 201, Wootric id 7, after 2 attempts",
        ),
        (receipt("SKIPPED", reason="stale"), "skipped", "stale: a replayed identify"),
        (receipt("REJECTED", reason="locked", status=423), "rejected", "status 423: locked"),
        (receipt("PARKED", reason="ambiguous"), "parked", "its effect is unknown"),
        (receipt("DELIVERED", offset=1), "duplicate", "a duplicate of 0-1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_receipt_says_how_an_event_ended(entry: EventEntry, state: str, words: str) -> None:
    given = facts(event(3), receipts={(0, "m1"): entry})
    assert explain_outcome(given.events[0], given) == state
    assert words in told(given)


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        ([17], "status 201, Wootric id 17, found by its fields"),
        ([], "0 surveys at Wootric match its fields"),
        ([17, 18], "2 surveys at Wootric match its fields, with the ids 17, 18"),
    ],
)
def test_a_search_by_fields_says_how_many_match(ids: list[int], words: str) -> None:
    receipts = {(0, "m1"): receipt("DELIVERED", status=201)}
    assert "match" not in told(facts(event(3), receipts=receipts))
    assert words in told(facts(event(3), receipts=receipts, matches={(0, "m1"): ids}))


def test_a_search_that_fails_is_a_line_of_its_own() -> None:
    lines = told(facts(event(3), search_failure="no reply within 5 s")).splitlines()
    assert lines[-1] == "the search for the survey at Wootric failed: no reply within 5 s"


def test_an_event_that_the_offset_has_passed_without_a_receipt_is_missing() -> None:
    given = facts(event(3))
    assert explain_outcome(given.events[0], given) == "MISSING"
    assert "wootric-stream verify" in told(given)


def test_an_event_behind_the_offset_waits_for_its_turn() -> None:
    given = facts(event(12), event(13, "m2", Skip("no_url"), replayed=True))
    assert explain_outcome(given.events[0], given) == "not settled"
    assert "2 records after the committed offset" in told(given)
    assert "as a replay: will be skipped, no_url" in told(given)


def test_an_event_whose_request_is_open_is_in_doubt_and_what_is_behind_it_waits() -> None:
    given = facts(event(12), event(13, "m2"))
    given.take_intents([intent()])
    assert [explain_outcome(one, given) for one in given.events] == ["in doubt", "not settled"]
    assert "request r1 is in flight or in doubt, released 60.0 s ago by w1" in told(given)
    assert "it waits for request r1 of the same end user" in told(given)


def test_a_request_of_a_newer_version_is_told_of_as_such() -> None:
    given = facts(event(12))
    given.take_intents([OpenIntent(0, "ann", None)])
    assert "written by a newer version" in told(given)


def test_a_receipt_is_told_of_though_its_record_is_gone() -> None:
    given = facts(receipts={(0, "m1"): receipt("DELIVERED", offset=1)})
    assert told(given).startswith("the ledger has m1, which was at 0-1: delivered")


@pytest.mark.parametrize("effect", EffectClass)
def test_each_class_has_its_way_out_of_doubt(effect: EffectClass) -> None:
    assert next_action(effect).startswith("a worker ")
