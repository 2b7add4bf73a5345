"""Bytes to events: framing, errors, and that nothing else ever comes out."""

from contextlib import suppress

import pytest
from codec_strategies import documents
from hypothesis import given
from hypothesis import strategies as st

from stream.codec.avro import HEADER_LENGTH, Schema, Schemas, all_packaged, encode_single_object
from stream.codec.decode import Decoder
from stream.codec.event import NOTHING, SEGMENT_EVENT, Event, encode_event, event_from_json
from stream.errors import DecodeError, UnknownSchemaError

DECODER = Decoder(all_packaged())
HEAD = ("messageId", "type", "userId", "anonymousId", "event", "name")
TIMES = ("timestamp", "originalTimestamp", "sentAt", "receivedAt")
JSON = ("traits", "properties", "context", "integrations", "extra")
IDENTIFY = event_from_json(
    {
        "type": "identify",
        "messageId": "m-1",
        "userId": "u-1",
        "timestamp": "2018-08-03T15:28:46.493Z",
        "traits": {"email": "a@example.com", "plan": {"name": "pro", "seats": [1, 2.5, None]}},
        "context": {"ip": "8.8.8.8"},
        "version": 2,
    }
)


def single(**fields):
    """Return a value of our own schema, its fields null unless given."""
    return encode_single_object(SEGMENT_EVENT, dict.fromkeys((*HEAD, *TIMES, *JSON)) | fields)


def confluent(value: bytes, schema_id: int) -> bytes:
    return b"\x00" + schema_id.to_bytes(4, "big") + value[HEADER_LENGTH:]


def reason_of(value: bytes, decoder: Decoder = DECODER) -> str:
    with pytest.raises(DecodeError) as caught:
        decoder.decode(value)
    return caught.value.reason


def event_or_error(value: bytes) -> None:
    with suppress(DecodeError):
        assert isinstance(DECODER.decode(value), Event)


def test_a_single_object_is_the_event_that_was_encoded():
    event = DECODER.decode(encode_event(IDENTIFY))
    assert event == IDENTIFY
    assert event.timestamp_ms == 1533310126493
    assert event.traits["plan"] == {"name": "pro", "seats": [1, 2.5, None]}
    assert event.extra == {"version": 2}


def test_a_confluent_value_is_read_with_the_registrys_schema():
    asked = []

    def by_id(schema_id):
        asked.append(schema_id)
        return SEGMENT_EVENT

    decoder = Decoder(Schemas(), by_id)
    assert decoder.decode(confluent(encode_event(IDENTIFY), 0x01020304)) == IDENTIFY
    assert asked == [0x01020304]


def test_both_framings_mix_in_one_topic():
    decoder = Decoder(all_packaged(), {7: SEGMENT_EVENT}.get)
    value = encode_event(IDENTIFY)
    assert decoder.decode(confluent(value, 7)) == decoder.decode(value) == IDENTIFY


def test_without_a_registry_its_framing_has_a_reason_of_its_own():
    assert reason_of(confluent(encode_event(IDENTIFY), 7)) == "no_registry"


def test_an_id_that_the_registry_does_not_have_is_an_unknown_schema():
    with pytest.raises(UnknownSchemaError) as caught:
        Decoder(Schemas(), lambda _: None).decode(confluent(encode_event(IDENTIFY), 7))
    assert caught.value.reason == "unknown_schema"


def test_a_fingerprint_that_nobody_added_is_an_unknown_schema():
    with pytest.raises(UnknownSchemaError):
        Decoder(Schemas()).decode(encode_event(IDENTIFY))


@pytest.mark.parametrize("value", [b"", b"{}", b"\xc3", b"\xc3\x01", b"\xc3\x02" + bytes(30)])
def test_other_bytes_are_undecodable(value):
    assert reason_of(value) == "undecodable"


def test_a_confluent_value_that_ends_in_its_header_is_undecodable():
    assert reason_of(b"\x00\x00\x00\x01", Decoder(Schemas(), lambda _: SEGMENT_EVENT)) == (
        "undecodable"
    )


def test_every_truncation_is_undecodable():
    value = encode_event(IDENTIFY)
    for length in range(len(value)):
        assert reason_of(value[:length]) == "undecodable"


def test_one_byte_too_many_is_an_error():
    assert reason_of(encode_event(IDENTIFY) + b"\x00") == "trailing_bytes"


@pytest.mark.parametrize("text", ["", "{", "{'a':1}", "NaN", "[" * 100_000, '{"a":' * 100_000])
@pytest.mark.parametrize("name", JSON)
def test_a_field_that_is_not_json_is_named(name, text):
    with pytest.raises(DecodeError) as caught:
        DECODER.decode(single(**{name: text}))
    assert caught.value.reason == "invalid_json"
    assert caught.value.detail.startswith(f"{name} is not JSON")


def test_depth_that_a_recursive_reader_would_not_survive_is_refused():
    """And just below the bound it is not."""
    assert reason_of(single(traits="[" * 101 + "]" * 101)) == "invalid_json"
    assert DECODER.decode(single(traits="[" * 100 + "]" * 100)).traits
    wide = "[" + ",".join(["[]"] * 500) + "]"
    assert len(DECODER.decode(single(traits=wide)).traits) == 500


def test_an_empty_extra_may_be_a_list():
    """As PHP writes an empty object."""
    assert DECODER.decode(single(extra="[]")) == Event()


@pytest.mark.parametrize("text", [None, "null"])
def test_a_json_field_without_a_value_is_empty(text):
    event = DECODER.decode(single(**dict.fromkeys(JSON, text)))
    assert event == Event()
    assert event.traits is NOTHING
    assert event.extra is NOTHING


@pytest.mark.parametrize(("text", "value"), [("[]", []), ("0", 0), ('""', ""), ("false", False)])
def test_json_that_is_no_object_is_kept_for_the_transform_to_judge(text, value):
    assert DECODER.decode(single(traits=text)).traits == value


@pytest.mark.parametrize("text", ["[1]", "1", '"a"'])
def test_extra_must_be_an_object(text):
    assert reason_of(single(extra=text)) == "invalid_json"


def test_half_a_surrogate_pair_costs_a_character_and_not_the_event():
    event = DECODER.decode(single(traits='{"name":"cut \\ud83d","age":1}'))
    assert event.traits == {"name": "cut \ufffd", "age": 1}


def test_an_error_never_quotes_the_value():
    for value in (single(traits='{"email": secret@example.com'), b"secret@example.com"):
        with pytest.raises(DecodeError) as caught:
            DECODER.decode(value)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(("writer", "datum"), [("string", "a"), (["null", "long"], 5)])
def test_a_writer_that_is_no_record_is_unresolvable(writer, datum):
    value = encode_single_object(Schema.of(writer), datum)
    decoder = Decoder(Schemas([Schema.of(writer)]))
    assert reason_of(value, decoder) == "unresolvable"


@given(st.binary(max_size=200))
def test_any_bytes_are_an_event_or_a_decode_error(data):
    event_or_error(data)


@given(st.binary(max_size=200))
def test_any_bytes_after_a_valid_header_are_an_event_or_a_decode_error(data):
    event_or_error(SEGMENT_EVENT.header + data)


@given(documents, st.data())
def test_a_damaged_value_is_an_event_or_a_decode_error(document, data):
    """Bytes changed, cut out and put in, anywhere in a valid value."""
    value = bytearray(encode_event(event_from_json(document)))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(value)))
        end = data.draw(st.integers(start, min(start + 8, len(value))))
        value[start:end] = data.draw(st.binary(max_size=8))
    event_or_error(bytes(value))


@given(st.text())
def test_any_text_in_a_json_field_is_an_event_or_a_decode_error(text):
    event_or_error(single(traits=text, extra=text))
