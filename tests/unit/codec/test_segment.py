"""Segment's JSON to events, and events to Avro."""

import pytest
from codec_strategies import documents
from hypothesis import given

from stream.codec.avro import all_packaged
from stream.codec.decode import Decoder
from stream.codec.event import (
    DOCUMENTS,
    NOTHING,
    TEXTS,
    TIMES,
    Event,
    encode_event,
    event_from_json,
    event_key,
)
from stream.codec.json_text import canonical
from stream.errors import DecodeError

DECODER = Decoder(all_packaged())
ATTRIBUTES = {**TEXTS, **TIMES}


@given(documents)
def test_decoding_what_was_encoded_gives_the_same_event(document):
    event = event_from_json(document)
    assert DECODER.decode(encode_event(event)) == event


@given(documents)
def test_every_field_that_is_not_null_or_secret_is_in_one_place(document):
    """In its attribute or in extra; elsewhere there is nothing."""
    event = event_from_json(document)
    given_fields = {
        name: value
        for name, value in canonical(document).items()
        if value is not None and name.replace("_", "").casefold() != "writekey"
    }
    held = {name for name, attribute in ATTRIBUTES.items() if getattr(event, attribute) is not None}
    held |= {name for name in DOCUMENTS if getattr(event, name) is not NOTHING}
    assert held.isdisjoint(event.extra)
    assert held | set(event.extra) == set(given_fields)
    assert all(event.extra[name] == given_fields[name] for name in event.extra)


def test_head_times_and_documents_have_attributes():
    event = event_from_json(
        {
            "messageId": "m",
            "type": "track",
            "userId": "u",
            "anonymousId": "a",
            "event": "Signed Up",
            "name": "n",
            "timestamp": "2018-08-03T15:28:46.493Z",
            "originalTimestamp": "2018-08-03T15:28:46Z",
            "sentAt": 1533310126493,
            "receivedAt": "1970-01-01T00:00:00.000Z",
            "traits": {"a": 1},
            "properties": {"b": 2},
            "context": {"c": 3},
            "integrations": {"All": True},
        }
    )
    assert event == Event(
        message_id="m",
        type="track",
        user_id="u",
        anonymous_id="a",
        event="Signed Up",
        name="n",
        timestamp_ms=1533310126493,
        original_timestamp_ms=1533310126000,
        sent_at_ms=1533310126493,
        received_at_ms=0,
        traits={"a": 1},
        properties={"b": 2},
        context={"c": 3},
        integrations={"All": True},
    )
    assert event.extra is NOTHING


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", ""),
        ("u", "u"),
        (0, "0"),
        (5, "5"),
        (-5, "-5"),
        (5.0, "5"),
        (2**64 - 1, "18446744073709551615"),
    ],
)
def test_a_scalar_id_becomes_text(value, text):
    event = event_from_json({"userId": value})
    assert event.user_id == text
    assert event.extra == {}


@pytest.mark.parametrize("value", [True, False, 5.5, [], ["u"], {}, {"id": "u"}, 1e20])
def test_an_id_that_is_none_stays_in_extra(value):
    event = event_from_json({"userId": value})
    assert event.user_id is None
    assert event.extra == {"userId": value}


def test_two_ids_beyond_64_bits_do_not_become_one_user():
    """As doubles both read alike, so neither is taken for an id."""
    first, second = 10**20 + 1, 10**20 + 2
    assert event_from_json({"userId": first}).user_id is None
    assert event_from_json({"userId": second}).user_id is None


@pytest.mark.parametrize("value", ["garbage", "", True, [], {}, ["2018-08-03"]])
def test_an_unreadable_time_stays_in_extra(value):
    event = event_from_json({"timestamp": value})
    assert event.timestamp_ms is None
    assert event.extra == {"timestamp": value}


@pytest.mark.parametrize("name", ["writeKey", "write_key", "WriteKey", "writekey"])
def test_the_write_key_is_nowhere(name):
    event = event_from_json({name: "s3cr3t", "userId": "u"})
    assert "s3cr3t" not in repr(event)
    assert b"s3cr3t" not in encode_event(event)


def test_other_fields_and_a_field_named_extra_are_kept():
    fields = {"version": 1, "groupId": "g", "previousId": "p", "category": "c", "extra": {"a": 1}}
    event = event_from_json(fields)
    assert event.extra == fields
    assert DECODER.decode(encode_event(event)).extra == fields


def test_null_is_absent():
    assert event_from_json({"userId": None, "traits": None, "timestamp": None, "x": None}) == (
        Event()
    )


@pytest.mark.parametrize("value", [[], 0, "", False, "text", [1, {"a": None}]])
def test_traits_that_are_no_object_survive(value):
    event = event_from_json({"traits": value})
    assert DECODER.decode(encode_event(event)).traits == value


def test_half_a_surrogate_pair_is_replaced_everywhere():
    event = event_from_json({"userId": "u\ud800", "traits": {"k\udfff": "\ud83d\ude00 \ud83d"}})
    assert event.user_id == "u\ufffd"
    assert event.traits == {"k\ufffd": "\U0001f600 \ufffd"}


def test_numbers_are_read_as_javascript_reads_them():
    """A double beyond 64 bits; null where no double is near."""
    values = {"big": 10**30, "most": 2**64 - 1, "huge": 10**400, "nan": float("nan")}
    assert event_from_json({"traits": values}).traits == {
        "big": 1e30,
        "most": 2**64 - 1,
        "huge": None,
        "nan": None,
    }


def test_the_callers_document_is_copied():
    document = {"traits": {"a": [1]}}
    event = event_from_json(document)
    document["traits"]["a"].append(2)
    assert event.traits == {"a": [1]}


@pytest.mark.parametrize("depth", [101, 300, 5_000])
def test_depth_is_refused_and_never_a_recursion_error(depth):
    value: list = []
    for _ in range(depth):
        value = [value]
    with pytest.raises(DecodeError) as caught:
        event_from_json({"traits": value})
    assert caught.value.reason == "invalid_json"


def test_what_json_can_not_say_is_refused():
    with pytest.raises(DecodeError) as caught:
        event_from_json({"traits": {"a": {1, 2}}})
    assert caught.value.reason == "invalid_json"


@pytest.mark.parametrize(
    ("document", "key"),
    [
        ({"userId": "ü", "anonymousId": "a", "messageId": "m"}, "ü".encode()),
        ({"anonymousId": "a", "messageId": "m"}, b"a"),
        ({"messageId": "m"}, b"m"),
        ({"userId": "", "anonymousId": "a"}, b"a"),
        ({"userId": 7}, b"7"),
        ({"userId": [7], "messageId": "m"}, b"m"),
        ({}, None),
    ],
)
def test_the_key_is_the_users(document, key):
    assert event_key(event_from_json(document)) == key
