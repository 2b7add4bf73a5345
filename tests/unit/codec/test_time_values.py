"""Times that are not in milliseconds, where only the value tells."""

from functools import partial

import orjson
import pytest

from stream.codec.avro import all_packaged, encode_single_object
from stream.codec.decode import Decoder
from stream.codec.event import SEGMENT_EVENT, TIMES, Event, encode_event, event_from_json
from stream.engine.prepare import prepare
from stream.record import Partition, Record
from stream.transform import Deliver, Rules, transform
from stream.transform.explain import preview

DECODER = Decoder(all_packaged())
MS = 1_533_310_126_493
MICROS, NANOS = MS * 1_000, MS * 1_000_000
LAST_MS = 253_402_300_799_999
RECORD_MS = 1_600_000_000_000
FIELDS = [field["name"] for field in SEGMENT_EVENT.plain["fields"]]


def survey(**times: int) -> bytes:
    fields = {
        "messageId": "m-1",
        "type": "track",
        "userId": "ada",
        "properties": '{"score":9}',
        "integrations": '{"Wootric":{"eventType":"create response"}}',
    }
    return encode_single_object(SEGMENT_EVENT, dict.fromkeys(FIELDS) | fields | times)


def outcome(value: bytes, record_ms: int = RECORD_MS) -> Deliver:
    record = Record(Partition("segment.events", 0), 1, record_ms, b"ada", value)
    result = prepare(record, DECODER, partial(transform, rules=Rules())).result
    assert isinstance(result, Deliver)
    return result


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize("time", [LAST_MS + 1, MICROS, NANOS, 2**63 - 1, -(2**63), -MICROS * 100])
def test_a_time_beyond_the_calendar_is_left_out_and_kept_for_people(name, time):
    event = DECODER.decode(survey(**{name: time}))
    assert getattr(event, TIMES[name]) is None
    assert event.extra == {name: time}
    assert DECODER.decode(encode_event(event)) == event


@pytest.mark.parametrize("time", [0, MS, LAST_MS, -62_135_596_800_000])
def test_a_time_of_the_calendar_is_taken(time):
    event = DECODER.decode(survey(timestamp=time))
    assert (event.timestamp_ms, event.extra) == (time, {})


def test_it_is_counted_and_never_sent():
    """The next time of the event is taken, and at last the record's."""
    result = outcome(survey(timestamp=MICROS, sentAt=MS))
    assert (result.operation.created_at, result.notes) == (MS // 1000, ("invalid_timestamp",))
    result = outcome(survey(timestamp=MICROS, sentAt=NANOS))
    assert (result.operation.created_at, result.notes) == (
        RECORD_MS // 1000,
        ("invalid_timestamp",),
    )
    assert outcome(survey(timestamp=MS)).notes == ()


def test_a_record_whose_producer_counts_microseconds_gives_no_time():
    result = outcome(survey(), MICROS)
    assert (result.operation.created_at, result.notes) == (None, ("invalid_timestamp",))


def test_it_does_not_make_an_identify_newer_than_all_others():
    fields = {"type": "identify", "userId": "ada", "timestamp": MICROS}
    value = encode_single_object(SEGMENT_EVENT, dict.fromkeys(FIELDS) | fields)
    record = Record(Partition("segment.events", 0), 1, RECORD_MS, b"ada", value)
    prepared = prepare(record, DECODER, partial(transform, rules=Rules()))
    assert prepared.time_ms == RECORD_MS
    assert isinstance(prepared.result, Deliver)
    assert prepared.result.notes == ("invalid_timestamp",)


@pytest.mark.parametrize("time", [MICROS, NANOS, "+275760-09-13T00:00:00Z", "garbage", {}, []])
def test_json_is_judged_alike(time):
    event = event_from_json({"type": "identify", "userId": "ada", "timestamp": time})
    assert (event.timestamp_ms, event.extra) == (None, {"timestamp": time})
    result = transform(event, event_id="m", rules=Rules())
    assert isinstance(result, Deliver)
    assert result.notes == ("invalid_timestamp",)


def test_a_notice_of_the_user_is_kept_beside_it():
    event = event_from_json(
        {"type": "identify", "userId": "a", "sentAt": MICROS, "traits": {"createdAt": "garbage"}}
    )
    result = transform(event, event_id="m", rules=Rules())
    assert isinstance(result, Deliver)
    assert result.notes == ("invalid_created_at", "invalid_timestamp")


def test_the_explanation_names_it():
    line = preview(
        event_from_json({"type": "identify", "userId": "ada", "sentAt": MICROS}),
        event_id="m",
        rules=Rules(),
        account_token=None,
        pixel_url="https://example.com/",
        explained=True,
    )
    assert "the years 1 to 9999" in line["explain"]["left_out"]["sentAt"]
    assert orjson.dumps(line)


def test_without_such_times_nothing_is_noted():
    event = Event(type="identify", user_id="ada", extra={"version": 2})
    result = transform(event, event_id="m", rules=Rules())
    assert isinstance(result, Deliver)
    assert result.notes == ()
