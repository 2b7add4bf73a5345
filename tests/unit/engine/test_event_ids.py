"""What an event is known by, replays included."""

from functools import partial
from typing import Any

from sink.wootric.operations import CreateResponse
from stream.codec.avro import all_packaged
from stream.codec.decode import Decoder
from stream.codec.event import encode_event, event_from_json
from stream.engine.prepare import REPLAY_HEADER, PreparedRecord, prepare
from stream.record import Partition, Record
from stream.transform import Deliver, Rules, transform

SOURCE = Partition("segment.events", 2)


def judged(
    document: dict[str, Any] | bytes, *, offset: int = 0, at_ms: int = 0, **headers: str
) -> PreparedRecord:
    """Judge a record with these headers; ``_`` stands for the hyphen in their names."""
    raw = isinstance(document, bytes)
    value = document if raw else encode_event(event_from_json(document))
    given = tuple((name.replace("_", "-"), text.encode()) for name, text in headers.items())
    record = Record(SOURCE, offset, at_ms, b"u1", value, given)
    return prepare(record, Decoder(all_packaged()), partial(transform, rules=Rules()))


def identify(**fields: Any) -> dict[str, Any]:
    return {"type": "identify", "userId": "u1", "traits": {"plan": "pro"}, **fields}


def test_without_a_message_id_two_records_of_equal_bytes_are_two_events() -> None:
    first, second = (judged(identify(), offset=offset) for offset in (3, 4))
    assert first.event_id != second.event_id


def test_a_letter_without_a_message_id_is_one_event_however_often_it_is_replayed() -> None:
    """Each replay lies elsewhere: its own offset must not tell them apart."""
    first, second = (judged(identify(), offset=offset, x_replay="0-7") for offset in (3, 4))
    other = judged(identify(), offset=3, x_replay="0-8")
    assert first.event_id == second.event_id != other.event_id


def test_a_letter_that_cannot_be_decoded_is_one_event_however_often_it_is_replayed() -> None:
    first, second = (judged(b"no Avro", offset=offset, x_replay="0-7") for offset in (3, 4))
    assert first.event_id == second.event_id


def test_a_replay_is_another_event_than_the_one_that_was_refused() -> None:
    document = identify(messageId="m1")
    assert judged(document).event_id == "m1"
    assert judged(document, x_replay="0-7").event_id == "m1#0-7"
    assert REPLAY_HEADER == "x-replay"


def test_what_is_no_place_of_a_letter_makes_no_replay() -> None:
    """The place goes into the headers of the next letter, which have to fit."""
    assert judged(identify(messageId="m1"), x_replay="7" * 101).event_id == "m1"


def test_a_replay_that_does_not_say_when_it_happened_is_older_than_all_that_is_known() -> None:
    """Its record's time is that of the replay, which would make it the newest."""
    assert judged(identify(), at_ms=9_000).time_ms == 9_000
    assert judged(identify(), at_ms=9_000, x_replay="0-7").time_ms == 0
    microseconds = 1_700_000_000_000_000
    assert judged(identify(), at_ms=microseconds).time_ms == 0, "nothing would ever be newer"
    dated = identify(timestamp="1970-01-01T00:00:05.000Z")
    assert judged(dated, at_ms=9_000, x_replay="0-7").time_ms == 5_000


def test_a_clock_that_is_years_ahead_makes_nothing_else_stale() -> None:
    """Nothing happens after it was written down; a replay that says so does not say when it did."""
    dated = identify(timestamp="2099-01-01T00:00:00.000Z")
    assert judged(dated, at_ms=9_000).time_ms == 9_000
    assert judged(dated, at_ms=9_000, x_replay="0-7").time_ms == 0
    assert judged(dated).time_ms > 9_000, "the record has no time"


def test_a_forced_identify_is_another_event_than_its_replay_that_was_stale() -> None:
    document = identify(messageId="m1")
    forced = judged(document, x_replay="0-7", x_replay_force="true")
    assert forced.forced
    assert forced.event_id == "m1#0-7#force"


def test_force_makes_no_second_event_of_what_cannot_be_stale() -> None:
    """A response that was replayed with and without force must not be there twice."""
    page = {"type": "page", "messageId": "m1", "userId": "u1"}
    forced = judged(page, x_replay="0-7", x_replay_force="true")
    assert forced.event_id == "m1#0-7"
    assert not forced.forced


def test_force_says_nothing_without_a_replay() -> None:
    assert judged(identify(messageId="m1"), x_replay_force="true").event_id == "m1"


def test_a_survey_without_a_time_takes_its_records() -> None:
    """Two that are otherwise equal could not be told apart in Wootric's lists."""
    survey = {
        "type": "track",
        "userId": "u1",
        "properties": {"score": 9},
        "integrations": {"Wootric": {"eventType": "create response"}},
    }
    for document, seconds in ((survey, 7), ({**survey, "timestamp": "1970-01-01T00:00:05Z"}, 5)):
        result = judged(document, at_ms=7_000).result
        assert isinstance(result, Deliver)
        assert isinstance(result.operation, CreateResponse)
        assert result.operation.created_at == seconds
