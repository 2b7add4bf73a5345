"""Letters: where they lie, which are meant, and how they go back."""

from functools import partial

import pytest

from stream.codec.avro import all_packaged
from stream.codec.dead_letter import DeadLetter
from stream.codec.decode import Decoder
from stream.codec.event import encode_event, event_from_json
from stream.engine.prepare import prepare
from stream.errors import DecodeError
from stream.operations.analysis.dead_letters import (
    LetterFilter,
    LetterStatus,
    ListedDeadLetter,
    RecordPosition,
    Resolution,
    ResolutionRecord,
    counted,
    outcome,
    read_letter,
    read_note,
)
from stream.record import Partition, Record
from stream.state.ledger import EventEntry, EventOutcome
from stream.transform import Rules, transform

VALUE = encode_event(event_from_json({"type": "identify", "messageId": "m1", "userId": "u1"}))


def letter(
    kind: LetterStatus = LetterStatus.DEAD, *, reason: str = "locked", at_ms: int = 1_000
) -> ListedDeadLetter:
    dead = DeadLetter(
        key=b"u1",
        value=VALUE,
        reason=reason,
        detail="",
        origin=Partition("segment.events", 4),
        offset=9,
        message_id="m1",
        failed_at_ms=at_ms,
        app_version="1",
    )
    record = Record(Partition("letters", 3), 17, at_ms, b"u1", VALUE, tuple(dead.headers()))
    found = read_letter(record, kind)
    assert found is not None
    return found


def test_a_place_is_read_as_it_is_written() -> None:
    assert RecordPosition.of("3-17") == RecordPosition(3, 17)
    assert str(RecordPosition(3, 17)) == "3-17"


@pytest.mark.parametrize("text", ["", "3", "3-", "-17", "a-1", "3-1-7", "3-+1", "³-1"])
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="PARTITION-OFFSET"):
        RecordPosition.of(text)


def test_a_replay_goes_to_the_partition_that_it_came_from_with_its_own_bytes() -> None:
    """Whatever the key says: only there does the ledger know of an earlier replay."""
    record = letter().replay()
    assert record.partition == Partition("segment.events", 4)
    assert (record.key, record.value) == (b"u1", VALUE)
    assert record.headers == (("x-replay", b"3-17"),)


def test_a_dead_letter_and_a_parked_event_at_one_place_are_two_events() -> None:
    judged = {
        prepare(
            letter(kind).replay(), Decoder(all_packaged()), partial(transform, rules=Rules())
        ).event_id
        for kind in LetterStatus
    }
    assert judged == {"m1#3-17", "m1#parked-3-17"}


def bridged(value: bytes, offset: int = 0) -> ListedDeadLetter:
    """A letter of the bridge: its value is JSON, and it was never in the input."""
    dead = DeadLetter(
        key=None,
        value=value,
        reason="invalid_event",
        detail="",
        origin=Partition("webhook:/v1/events", 0),
        offset=0,
        failed_at_ms=1_000,
        app_version="1",
        input_topic="segment.events",
    )
    headers = tuple(dead.headers())
    found = read_letter(
        Record(Partition("letters", 3), offset, 1_000, dead.record_key, value, headers),
        LetterStatus.DEAD,
    )
    assert found is not None
    return found


def test_a_letter_of_the_bridge_goes_back_as_the_bridge_would_have_written_it() -> None:
    """In Avro, with its user's key, which decides the partition."""
    text = b'{"type":"identify","messageId":"m1","userId":"u1"}'
    record = bridged(text).replay()
    assert record.partition == Partition("segment.events", -1)
    assert (record.key, record.value) == (b"u1", VALUE)
    judged = {
        prepare(
            bridged(text, offset).replay(),
            Decoder(all_packaged()),
            partial(transform, rules=Rules()),
        ).event_id
        for offset in (5, 6)
    }
    assert judged == {"m1#bridge"}, "Segment may have sent it twice: it has one effect"
    forced = prepare(
        bridged(text).replay(force=True), Decoder(all_packaged()), partial(transform, rules=Rules())
    )
    assert (forced.event_id, forced.forced) == ("m1#bridge#force", True)


@pytest.mark.parametrize("value", [b"\xff", b"[1]", b"17", b"{"])
def test_a_letter_of_the_bridge_that_is_no_event_says_why_it_stays(value: bytes) -> None:
    letter = bridged(value)
    assert letter.obstacle
    with pytest.raises(DecodeError):
        letter.replay()
    assert bridged(b'{"userId":"u"}').obstacle == ""


def test_force_is_said_in_a_header() -> None:
    assert letter().replay(force=True).headers[1] == ("x-replay-force", b"true")


def test_a_note_is_no_letter_and_names_nobody() -> None:
    """It lies beside the letter, and is read back."""
    note = letter(LetterStatus.PARKED).note(Resolution.DISMISSED, at_ms=5, text="looked it up")
    assert (note.key, note.value, note.partition.number) == (b"note/3-17/5", None, 3)
    assert read_note(note) == ResolutionRecord(RecordPosition(3, 17), Resolution.DISMISSED)
    assert read_letter(note, LetterStatus.PARKED) is None
    assert read_note(letter().replay()) is None


def test_a_note_that_somebody_else_wrote_is_none() -> None:
    for headers in ((("x-note-on", b"here"),), (("x-note-on", b"3-17"), ("x-note", b"eaten"))):
        assert read_note(Record(Partition("letters", 3), 18, 0, None, None, headers)) is None


@pytest.mark.parametrize(
    ("selection", "takes"),
    [
        (LetterFilter(), True),
        (LetterFilter(reasons=["locked", "gone"]), True),
        (LetterFilter(reasons=["gone"]), False),
        (LetterFilter(since_ms=1_000, until_ms=1_001), True),
        (LetterFilter(since_ms=1_001), False),
        (LetterFilter(until_ms=1_000), False),
        (LetterFilter(places={RecordPosition(3, 17)}), True),
        (LetterFilter(places={RecordPosition(3, 16)}), False),
    ],
)
def test_a_selection_takes_what_fits_all_of_it(selection: LetterFilter, takes: bool) -> None:
    assert selection.takes(letter()) is takes


def test_letters_are_counted_by_reason_the_most_first() -> None:
    letters = [letter(reason="a"), letter(reason="b", at_ms=3), letter(reason="b", at_ms=9)]
    assert list(counted(letters).items()) == [("b", (2, 3, 9)), ("a", (1, 1_000, 1_000))]


def test_the_last_replay_counts() -> None:
    def receipt(ended: str, at_ms: int) -> EventEntry:
        return EventEntry(outcome=EventOutcome(ended), offset=1, at_ms=at_ms, reason="stale")

    assert outcome([]) == ""
    assert outcome([receipt("SKIPPED", 1), receipt("DELIVERED", 2)]) == "delivered"
    assert outcome([receipt("SKIPPED", 1)]) == "skipped: stale"


def test_a_bare_letter_keeps_its_size_only() -> None:
    bare = letter().bare(("m1#3-17",))
    assert (bare.letter.key, bare.letter.value, bare.size) == (None, None, len(VALUE))
    assert bare.names == ("m1#3-17",)
