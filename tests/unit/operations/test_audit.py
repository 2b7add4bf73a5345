"""What an audit finds wrong with the events of a partition."""

from typing import Any

import pytest

from sink.delivery import EffectClass
from sink.wootric.operations import PageView
from stream.codec.dead_letter import DeadLetter
from stream.engine.prepare import PreparedRecord
from stream.operations.analysis.audit import Audit, AuditResult, DiscrepancyKind, OffsetRange
from stream.operations.analysis.dead_letters import LetterStatus as LetterKind
from stream.operations.analysis.dead_letters import ListedDeadLetter, RecordPosition
from stream.record import Partition, Record
from stream.state.ledger import EVENT, INTENT, EventEntry, EventOutcome, IntentEntry, Member, encode
from stream.transform import Deliver, Skip

SOURCE = Partition("segment.events", 0)
LEDGER = Partition("segment.events.wootric.ledger", 0)
PAGE = Deliver(operation=PageView(url="https://example.com/", random="0.1"), lane="ann")


def event(offset: int, name: str, verdict: Any = PAGE, at_ms: int = 5_000) -> PreparedRecord:
    record = Record(SOURCE, offset, at_ms, b"ann", b"value")
    return PreparedRecord(record=record, event_id=name, message_id=name, result=verdict)


def receipt(
    name: str,
    offset: int,
    outcome: str = "DELIVERED",
    reason: str | None = None,
    at_ms: int = 5_000,
) -> Record:
    entry = EventEntry(outcome=EventOutcome(outcome), offset=offset, at_ms=at_ms, reason=reason)
    return Record(LEDGER, 0, at_ms, (EVENT + name).encode(), encode(entry))


def intent(name: str, offset: int, lane: str = "ann") -> Record:
    entry = IntentEntry(
        request_id="r1",
        effect=EffectClass.OBSERVABLE,
        members=(Member(name, offset),),
        operation="{}",
        operation_hash="",
        first_attempt_at_ms=0,
        instance="w1",
    )
    return Record(LEDGER, 0, 0, (INTENT + lane).encode(), encode(entry))


def letter(offset: int, place: int = 0, at_ms: int = 5_000) -> ListedDeadLetter:
    dead = DeadLetter(
        key=None,
        value=None,
        reason="invalid_score",
        detail="",
        origin=SOURCE,
        offset=offset,
        message_id=f"m{offset}",
        failed_at_ms=at_ms,
        app_version="1",
    )
    return ListedDeadLetter(
        kind=LetterKind.DEAD,
        place=RecordPosition(0, place),
        letter=dead,
        written_ms=at_ms,
        size=None,
    )


def audited(
    ledger: list[Record],
    events: list[PreparedRecord],
    *,
    dead: list[ListedDeadLetter] | None = None,
    parked: list[ListedDeadLetter] | None = None,
    **bounds: Any,
) -> AuditResult:
    """Audit a partition whose offsets are committed up to 10."""
    by_offset: dict[EventOutcome, dict[int, list[ListedDeadLetter]]] = {
        EventOutcome.REJECTED: {},
        EventOutcome.PARKED: {},
    }
    for outcome, letters in (("REJECTED", dead), ("PARKED", parked)):
        for one in letters or ():
            by_offset[EventOutcome(outcome)].setdefault(one.letter.offset, []).append(one)
    findings = AuditResult()
    span = OffsetRange(partition=0, begin=bounds.pop("begin", 0), committed=10, **bounds)
    audit = Audit(span, by_offset, findings)
    for record in ledger:
        audit.entry(record)
    for one in events:
        audit.event(one)
    audit.close()
    return findings


def kinds(findings: AuditResult) -> list[tuple[DiscrepancyKind, int]]:
    return [(flaw.kind, flaw.offset) for flaw in findings.flaws]


def test_every_kind_of_end_agrees() -> None:
    """Delivered, skipped with and without a receipt, rejected, parked, duplicate."""
    ledger = [
        receipt("a", 0),
        receipt("b", 1, "SKIPPED", "unchanged"),
        receipt("c", 2, "REJECTED", "invalid_score"),
        receipt("d", 3, "PARKED", "ambiguous"),
    ]
    events = [event(0, "a"), event(1, "b"), event(2, "c"), event(3, "d"), event(4, "a")]
    events.append(event(5, "e", Skip("no_url")))
    found = audited(ledger, events, dead=[letter(2)], parked=[letter(3)])
    assert kinds(found) == []
    assert found.events == 6
    assert found.settled == {
        ("delivered", ""): 1,
        ("skipped", "unchanged"): 1,
        ("rejected", "invalid_score"): 1,
        ("parked", "ambiguous"): 1,
        ("duplicate", ""): 1,
        ("skipped", "no_url"): 1,
    }


def test_an_event_without_a_receipt_is_missing() -> None:
    found = audited([], [event(3, "a")])
    assert kinds(found) == [(DiscrepancyKind.MISSING, 3)]
    assert found.flaws[0].message_id == "a"


def test_an_event_whose_receipt_was_taken_back_is_missing() -> None:
    erased = Record(LEDGER, 1, 0, (EVENT + "a").encode(), None)
    assert kinds(audited([receipt("a", 3), erased], [event(3, "a")])) == [
        (DiscrepancyKind.MISSING, 3)
    ]


def test_an_event_is_known_by_its_offset_whatever_it_was_called_then() -> None:
    """A schema that is known by now gives another id than the bytes had."""
    found = audited([receipt("segment.events/0/3/abc", 3)], [event(3, "m3")])
    assert kinds(found) == []


def test_two_receipts_of_one_event_are_one_too_many() -> None:
    found = audited([receipt("a", 3), receipt("a", 3)], [event(3, "a")])
    assert kinds(found) == [(DiscrepancyKind.DUPLICATE, 3)]


def test_two_letters_of_one_event_are_one_too_many() -> None:
    ledger = [receipt("a", 3, "REJECTED", "invalid_score")]
    found = audited(ledger, [event(3, "a")], dead=[letter(3, 7), letter(3, 9)])
    assert kinds(found) == [(DiscrepancyKind.DUPLICATE, 3)]
    assert "0-7 and 0-9" in found.flaws[0].text


@pytest.mark.parametrize("outcome", ["REJECTED", "PARKED"])
def test_a_receipt_without_its_letter_is_torn(outcome: str) -> None:
    found = audited([receipt("a", 3, outcome)], [event(3, "a")])
    assert kinds(found) == [(DiscrepancyKind.TORN, 3)]


def test_a_letter_without_a_receipt_is_torn_and_its_event_is_missing() -> None:
    found = audited([], [event(3, "a")], dead=[letter(3)])
    assert sorted(kinds(found)) == [(DiscrepancyKind.MISSING, 3), (DiscrepancyKind.TORN, 3)]


def test_a_delivered_event_with_a_letter_is_torn() -> None:
    found = audited([receipt("a", 3)], [event(3, "a")], dead=[letter(3)])
    assert kinds(found) == [(DiscrepancyKind.TORN, 3)]


def test_an_open_request_behind_the_offset_is_no_flaw() -> None:
    found = audited([intent("a", 10)], [])
    assert kinds(found) == []
    assert found.in_doubt == 1


def test_an_open_request_that_the_offset_has_passed_is_unsettled_and_not_missing() -> None:
    found = audited([intent("a", 3)], [event(3, "a")])
    assert kinds(found) == [(DiscrepancyKind.UNSETTLED, 3)]


def test_a_settled_event_whose_request_is_still_open_is_torn() -> None:
    found = audited([intent("a", 3), receipt("a", 3)], [event(3, "a")])
    assert kinds(found) == [(DiscrepancyKind.TORN, 3)]


def test_a_request_that_was_closed_is_none() -> None:
    closed = Record(LEDGER, 1, 0, (INTENT + "ann").encode(), None)
    found = audited([intent("a", 3), closed, receipt("a", 3)], [event(3, "a")])
    assert kinds(found) == []
    assert found.in_doubt == 0


def test_what_the_ledger_does_not_reach_back_to_is_not_missing() -> None:
    """Retention removed the ledger's beginning: only younger events must have a receipt."""
    events = [event(2, "old", at_ms=900), event(3, "young", at_ms=1_000)]
    found = audited([], events, ledger_from_ms=1_000)
    assert kinds(found) == [(DiscrepancyKind.MISSING, 3)]
    assert found.expired == 1


def test_what_the_letters_do_not_reach_back_to_is_not_torn() -> None:
    ledger = [receipt("a", 2, "REJECTED", at_ms=900), receipt("b", 3, "REJECTED", at_ms=1_000)]
    found = audited(
        ledger,
        [event(2, "a"), event(3, "b")],
        letters_from_ms={EventOutcome.REJECTED: 1_000},
    )
    assert kinds(found) == [(DiscrepancyKind.TORN, 3)]


def test_what_lies_outside_of_the_span_is_not_judged() -> None:
    """Before: retention removed it from the input. Behind: it is not committed yet."""
    ledger = [receipt("a", 1, "REJECTED"), receipt("b", 12, "REJECTED")]
    found = audited(ledger, [event(5, "c", Skip("x"))], dead=[letter(2), letter(11)], begin=5)
    assert kinds(found) == []


def test_entries_of_a_newer_version_are_counted() -> None:
    unknown = Record(LEDGER, 0, 0, (EVENT + "a").encode(), b"\xc3\x01" + b"\x11" * 8 + b"x")
    found = audited([unknown], [event(3, "a")])
    assert found.unreadable == 1
    assert kinds(found) == []


def test_more_reasons_than_a_byte_holds_are_told_together() -> None:
    ledger = [receipt(f"e{n}", n, "SKIPPED", f"reason {n}") for n in range(10)]
    many = [receipt(f"x{n}", n % 10, "SKIPPED", f"more {n}") for n in range(400)]
    found = audited([*many, *ledger], [event(n, f"e{n}") for n in range(10)])
    assert found.settled.total() == 10
