"""Values in other framings are named, and nothing waits for them."""

import uuid
import zlib

import orjson
import pytest

from stream.codec.avro import (
    HEADER_LENGTH,
    Schema,
    Schemas,
    all_packaged,
    confluent_header,
    confluent_id,
)
from stream.codec.decode import Decoder, other_framing
from stream.codec.event import Event, encode_event
from stream.errors import DecodeError, UnknownSchemaError

EVENT = Event(type="identify", message_id="m-1", user_id="ada", timestamp_ms=5, traits={"a": 1})
BARE = encode_event(EVENT)[HEADER_LENGTH:]
NAMELESS = encode_event(Event(type="identify", user_id="ada"))[HEADER_LENGTH:]
JSON = orjson.dumps({"type": "identify", "userId": "ada", "email": "secret@example.com"})
GLUE_ID = uuid.UUID("b7b4a7f0-9c96-4e4a-a687-fb5de9ef0c63").bytes
APICURIO = "02066d2d3102106964656e746966790206616461000000000000000000000000"
"""What Apicurio's AvroKafkaSerializer 2.6.13 wrote for our schema, without its id."""
VALUES = {
    "JSON": [JSON, b"\xef\xbb\xbf" + JSON, b" \r\n\t" + JSON, b"[" + JSON + b"]", b"{", b"[1, 2"],
    "an Avro container file": [b"Obj\x01" + JSON],
    "AWS Glue": [b"\x03\x00" + GLUE_ID + BARE, b"\x03\x05" + GLUE_ID + zlib.compress(BARE)],
    "Apicurio": [
        b"\x00" + number.to_bytes(8, "big") + rest for number in (1, 2**31) for rest in (BARE, b"")
    ],
    "JSON behind a schema id": [confluent_header(7) + JSON, confluent_header(7) + b"[]"],
    "Avro without a framing": [BARE, NAMELESS],
}
VALUES["Apicurio"].append(bytes.fromhex("000000000000000001" + APICURIO))  # headers.enabled=false
VALUES["Avro without a framing"].append(bytes.fromhex(APICURIO))  # by default, beside its headers
CASES = [(name, value) for name, values in VALUES.items() for value in values]


@pytest.mark.parametrize(("name", "value"), CASES)
@pytest.mark.parametrize("by_id", [None, lambda _: None], ids=["no registry", "a registry"])
def test_another_framing_is_named_at_once(name, value, by_id):
    with pytest.raises(DecodeError) as caught:
        Decoder(all_packaged(), by_id).decode(value)
    assert caught.value.reason == "undecodable"
    assert f"this is {name}" in caught.value.detail.replace("the framing of ", "").replace(
        "Apicurio's framing", "Apicurio"
    )
    assert not isinstance(caught.value, UnknownSchemaError)
    assert "secret" not in caught.value.detail


def test_json_is_answered_with_the_command_that_reads_it():
    assert other_framing(JSON) == "this is JSON: use `bridge --from-topic`"


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\x00",
        b"\x00" * 30,
        confluent_header(7),
        confluent_header(0),
        confluent_header(7) + BARE,
        confluent_header(7) + b"{not json",
        b"\x03\x00short",
        b"\x03\x07" + GLUE_ID + BARE,
        b"ordinary text",
        b"\xff" * 40,
        encode_event(EVENT),
    ],
)
def test_nothing_else_is_taken_for_one(value):
    assert other_framing(value) is None


@pytest.mark.parametrize("schema_id", [1, 7, 2**16, 2**24, 2**31 - 1])
def test_an_id_of_the_registry_is_an_id(schema_id):
    """A value that is waited for is never taken for one in another framing."""
    for event in (EVENT, Event(), Event(type="page"), Event(user_id="ada")):
        value = confluent_header(schema_id) + encode_event(event)[HEADER_LENGTH:]
        assert confluent_id(value) == schema_id
        assert other_framing(value) is None


def test_what_the_registry_knows_is_never_guessed():
    """A schema of an id decides, whatever the bytes look like."""
    schema = Schema.of(
        {"type": "record", "name": "SegmentEvent", "fields": [{"name": "userId", "type": "bytes"}]}
    )
    value = confluent_header(0) + b"\x08\x00\x00\x00\x00"
    decoded = Decoder(Schemas(), {0: schema}.get).decode(value)
    assert decoded.user_id == "\0\0\0\0"
