"""From a body to records: each event or a dead letter of it, and nothing of them lost."""

import json
from typing import Any

import pytest
from codec_strategies import documents
from hypothesis import given

from stream.bridge.payload import (
    EVENT_BYTES_MAX,
    EVENTS_MAX,
    WEBHOOK,
    RequestRejectedError,
    Target,
    arrival,
    arrivals,
    forward,
    read_events,
)
from stream.codec.avro import all_packaged, confluent_header
from stream.codec.dead_letter import DeadLetter
from stream.codec.decode import Decoder
from stream.codec.event import SEGMENT_EVENT, event_from_json
from stream.codec.json_text import canonical
from stream.record import Partition, Record

HEADER = SEGMENT_EVENT.header
DECODER = Decoder(all_packaged())
EVENT = {"type": "track", "userId": "u", "messageId": "m"}
TARGET = Target(topic="segment.events", header=HEADER, bytes_max=1_000_000)
NARROW = Target(topic="segment.events", header=HEADER, bytes_max=1_000)


def take(body: Any, target: Target = TARGET) -> list[Any]:
    text = json.dumps(body).encode()
    return list(arrivals(read_events(text), target, 5, text_bytes=len(text)))


def refusal(body: Any) -> RequestRejectedError:
    with pytest.raises(RequestRejectedError) as raised:
        take(body)
    return raised.value


def test_one_event_and_an_array_of_them_are_taken_in_order():
    assert [r.key for r in take(EVENT)] == [b"u"]
    assert [r.key for r in take([EVENT, {**EVENT, "userId": "v"}, EVENT])] == [b"u", b"v", b"u"]


@given(documents)
def test_an_event_is_what_it_was_and_has_a_message_id(document):
    """Whatever it has beside Segment's fields is kept."""
    event = DECODER.decode(arrival(canonical(document), HEADER).value)
    expected = event_from_json(document)
    assert event.message_id
    if expected.message_id:
        assert event == expected
    else:
        assert event == event_from_json({**canonical(document), "messageId": event.message_id})


def test_without_a_message_id_the_same_content_is_the_same_event():
    one, again, other = (
        DECODER.decode(arrival(document, HEADER).value).message_id
        for document in ({"userId": "u"}, {"userId": "u", "messageId": ""}, {"userId": "v"})
    )
    assert one != again != other
    assert one == DECODER.decode(arrival({"userId": "u"}, HEADER).value).message_id


@pytest.mark.parametrize(
    ("event", "key"),
    [
        ({"userId": "u", "anonymousId": "a", "messageId": "m"}, b"u"),
        ({"anonymousId": "a", "messageId": "m", "traits": {"email": "e@example.com"}}, b"a"),
        ({"userId": 17, "messageId": "m"}, b"17"),
        ({"type": "alias", "previousId": "p", "messageId": "m"}, b"m"),
        ({"type": "alias", "Previous ID": "p", "User ID": "u", "messageId": "m"}, b"m"),
    ],
)
def test_the_key_is_the_users(event, key):
    assert take(event)[0].key == key


@pytest.mark.parametrize(
    ("event", "says"),
    [
        ({**EVENT, "messageId": "m" * 101}, "messageId is longer than 100 characters"),
        ({**EVENT, "messageId": ["m"]}, "messageId is not text"),
        ({**EVENT, "messageId": 1.5}, "messageId is not text"),
        ({"type": "track", "messageId": "m"}, "neither userId nor anonymousId"),
        ({"type": "track", "messageId": "m", "userId": ""}, "neither userId nor anonymousId"),
        ({"type": "track", "messageId": "m", "userId": {"a": 1}}, "neither userId nor anonymousId"),
        ({"type": "track", "messageId": "m", "previousId": "p"}, "neither userId nor anonymousId"),
        (17, "is not a JSON object"),
        (None, "is not a JSON object"),
        ([EVENT], "is not a JSON object"),
    ],
)
def test_an_event_that_breaks_a_rule_is_a_dead_letter_and_the_others_pass(event, says):
    """Segment would never send the others again. Its text is kept, and nothing is quoted."""
    first, letter, last = take([EVENT, event, EVENT])
    assert (first.key, last.key) == (b"u", b"u")
    assert (letter.reason, letter.origin, letter.offset) == ("invalid_event", WEBHOOK, 1)
    assert says in letter.detail
    assert json.loads(letter.value) == event
    assert (letter.input_topic, letter.failed_at_ms) == ("segment.events", 5)
    (alone,) = take(event) if isinstance(event, dict) else take([event])
    assert alone.reason == "invalid_event"


def test_a_letter_names_its_event_where_that_has_a_name():
    (letter,) = take({"messageId": "m", "type": "track"})
    assert (letter.message_id, letter.key) == ("m", b"m")
    (letter,) = take({**EVENT, "messageId": "m" * 101})
    assert (letter.message_id, letter.key) == ("m" * 101, b"u")
    (letter,) = take({"messageId": ["m"]})
    assert (letter.message_id, letter.key) == (None, None)


@pytest.mark.parametrize("name", ["writeKey", "write_key", "WRITEKEY"])
def test_a_letter_has_no_write_key(name):
    """It is a secret of the source."""
    (letter,) = take({"messageId": "m", name: "hunter2"})
    assert json.loads(letter.value) == {"messageId": "m"}


@pytest.mark.parametrize("body", [17, None, "text", True])
def test_a_body_that_is_no_event_and_no_array_is_refused(body):
    found = refusal(body)
    assert (found.reason, found.status) == ("invalid_event", 400)


def test_limits_are_segments():
    assert len(take([EVENT] * EVENTS_MAX)) == EVENTS_MAX
    assert refusal([EVENT] * (EVENTS_MAX + 1)).status == 413
    room = EVENT_BYTES_MAX - len(json.dumps({**EVENT, "x": ""}, separators=(",", ":")))
    assert take([EVENT, {**EVENT, "x": "x" * room}])
    event, letter = take([EVENT, {**EVENT, "x": "x" * (room + 1)}])
    assert (event.key, letter.reason, letter.offset) == (b"u", "too_large", 1)
    assert len(letter.value) == EVENT_BYTES_MAX + 1
    (letter,) = take([{**EVENT, "x": "x" * (room + 1)}], NARROW)
    assert (letter.key, letter.value, letter.message_id) == (None, None, "m")


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"\xff", b"[1,]", b"NaN", b'{"a":1}x', b'{"a":' * 200 + b"1" + b"}" * 200],
)
def test_what_is_no_json_is_refused(text):
    with pytest.raises(RequestRejectedError) as raised:
        read_events(text)
    assert raised.value.status == 400


def test_an_empty_array_is_no_event():
    assert refusal([]).status == 400


def test_types_are_counted_by_segments_words():
    assert [r.type for r in take([EVENT, {**EVENT, "type": "other!"}])] == ["track", "other"]


# From a topic


def record(value: bytes | None) -> Record:
    return Record(Partition("segment.json", 2), 7, 1_000, b"key", value)


def test_a_record_is_encoded_anew_and_keyed_by_its_user():
    framed = Target(topic="segment.events", header=confluent_header(9), bytes_max=1_000)
    found = forward(record(json.dumps(EVENT).encode()), framed, 1)
    assert not isinstance(found, DeadLetter | None)
    assert found.key == b"u"
    decoder = Decoder(all_packaged(), {9: SEGMENT_EVENT}.get)
    assert decoder.decode(found.value) == event_from_json(EVENT)


MARK = b"\xef\xbb\xbf"


def test_a_byte_order_mark_before_an_event_is_skipped():
    """Of a webhook and of a topic."""
    text = json.dumps(EVENT).encode()
    assert read_events(MARK + text) == [EVENT]
    assert read_events(MARK + b"[" + text + b"]") == [EVENT]
    marked, plain = (forward(record(one), TARGET, 1) for one in (MARK + text, text))
    assert marked == plain
    assert not isinstance(plain, DeadLetter | None)


@pytest.mark.parametrize("value", [b"", b"\xff\x00", b"{", b"17", b"[]", b'"text"'])
def test_a_record_that_is_no_event_becomes_a_dead_letter_with_its_own_bytes(value):
    letter = forward(record(value), NARROW, 1)
    assert isinstance(letter, DeadLetter)
    assert (letter.reason, letter.key, letter.value) == ("invalid_json", b"key", value)
    assert letter.input_topic == "segment.events"
    assert (letter.origin, letter.offset) == (Partition("segment.json", 2), 7)


def test_a_record_without_a_value_is_nothing():
    assert forward(record(None), NARROW, 1) is None


@pytest.mark.parametrize("value", [json.dumps({**EVENT, "x": "x" * 1_000}).encode(), b"{" * 1_100])
def test_a_record_that_no_topic_has_to_take_leaves_a_letter_without_bytes(value):
    letter = forward(record(value), NARROW, 1)
    assert isinstance(letter, DeadLetter)
    assert (letter.key, letter.value) == (None, None)
    assert "bytes exceed the limit of a dead letter; " in letter.detail
    assert (letter.origin, letter.offset) == (Partition("segment.json", 2), 7)
