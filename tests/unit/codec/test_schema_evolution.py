"""Old and new writers, one reader."""

from typing import Any

import orjson
import pytest

from stream.codec.avro import FOLDER, Schema, Schemas, all_packaged, encode_single_object, packaged
from stream.codec.avro import read as avro_read
from stream.codec.decode import Decoder
from stream.codec.event import NOTHING, SEGMENT_EVENT
from stream.errors import DecodeError

MILLIS = {"type": "long", "logicalType": "timestamp-millis"}


def segment_event() -> dict[str, Any]:
    """Return our definition, to be changed."""
    return orjson.loads((FOLDER / "segment_event.avsc").read_bytes())


def with_type(name: str, kind: Any) -> Schema:
    """Return our schema with one field of another type."""
    definition = segment_event()
    field = next(field for field in definition["fields"] if field["name"] == name)
    field["type"] = kind
    field.pop("default")
    return Schema.of(definition)


def datum(**fields: Any) -> dict[str, Any]:
    return dict.fromkeys(field["name"] for field in segment_event()["fields"]) | fields


def decoder(writer: Schema) -> Decoder:
    schemas = all_packaged()
    schemas.add(writer)
    return Decoder(schemas)


def test_an_old_writer_without_extra_is_read():
    definition = segment_event()
    definition["fields"] = [f for f in definition["fields"] if f["name"] != "extra"]
    old = Schema.of(definition)
    value = encode_single_object(old, datum(userId="u-1", timestamp=5, traits='{"a":1}'))
    event = decoder(old).decode(value)
    assert (event.user_id, event.timestamp_ms, event.traits) == ("u-1", 5, {"a": 1})
    assert event.extra is NOTHING


def test_a_newer_writer_with_one_more_field_is_read():
    definition = segment_event()
    definition["fields"].insert(3, {"name": "groupId", "type": ["null", "string"], "default": None})
    new = Schema.of(definition)
    value = encode_single_object(new, datum(userId="u-1", groupId="g-1", name="n"))
    event = decoder(new).decode(value)
    assert (event.user_id, event.anonymous_id, event.name) == ("u-1", None, "n")


def test_a_newer_reader_reads_what_we_write():
    """The other direction: the next version of this service, and a value of this one."""
    definition = segment_event()
    definition["fields"].append({"name": "groupId", "type": ["null", "string"], "default": None})
    value = encode_single_object(SEGMENT_EVENT, datum(userId="u-1"))
    fields = avro_read(value, 10, SEGMENT_EVENT, Schema.of(definition))
    assert (fields["userId"], fields["groupId"]) == ("u-1", None)


def test_an_older_reader_reads_what_we_write():
    definition = segment_event()
    definition["fields"] = definition["fields"][:4]
    value = encode_single_object(SEGMENT_EVENT, datum(userId="u-1", extra='{"a":1}'))
    assert avro_read(value, 10, SEGMENT_EVENT, Schema.of(definition)) == {
        "messageId": None,
        "type": None,
        "userId": "u-1",
        "anonymousId": None,
    }


def test_a_writer_whose_fields_are_not_nullable_is_read():
    writer = with_type("userId", "string")
    event = decoder(writer).decode(encode_single_object(writer, datum(userId="u-1")))
    assert event.user_id == "u-1"


def test_a_time_of_32_bits_is_promoted():
    writer = with_type("sentAt", "int")
    event = decoder(writer).decode(encode_single_object(writer, datum(sentAt=7)))
    assert event.sent_at_ms == 7


@pytest.mark.parametrize(
    ("name", "kind", "value"),
    [
        ("userId", "long", 5),
        ("traits", {"type": "map", "values": "string"}, {"a": "b"}),
        ("timestamp", "string", "2018-08-03T15:28:46.493Z"),
        ("timestamp", {"type": "long", "logicalType": "timestamp-micros"}, 5),
        ("sentAt", ["null", {"type": "long", "logicalType": "local-timestamp-micros"}], 5),
    ],
)
def test_a_field_of_another_type_or_unit_is_unresolvable(name, kind, value):
    writer = with_type(name, kind)
    with pytest.raises(DecodeError) as caught:
        Decoder(Schemas(), lambda _: writer).decode(
            b"\x00\x00\x00\x00\x01" + encode_single_object(writer, datum(**{name: value}))[10:]
        )
    assert caught.value.reason == "unresolvable"


def test_a_field_that_the_reader_requires_and_the_writer_lacks_is_unresolvable():
    reader = Schema.of(
        {"type": "record", "name": "R", "fields": [{"name": "needed", "type": "string"}]}
    )
    writer = Schema.of({"type": "record", "name": "R", "fields": []})
    with pytest.raises(DecodeError) as caught:
        avro_read(b"", 0, writer, reader)
    assert caught.value.reason == "unresolvable"


def test_another_record_is_no_event():
    """All our fields have defaults: but for its name, an order would be an empty event."""
    order = Schema.of(
        {"type": "record", "name": "Order", "fields": [{"name": "total", "type": "long"}]}
    )
    with pytest.raises(DecodeError) as caught:
        decoder(order).decode(encode_single_object(order, {"total": 5}))
    assert caught.value.reason == "unresolvable"


@pytest.mark.parametrize("name", ["segment_event", "dead_letter"])
def test_every_field_has_a_default_so_that_it_may_be_absent(name):
    definition = orjson.loads((FOLDER / f"{name}.avsc").read_bytes())
    empty = Schema.of({**definition, "fields": []})
    fields = avro_read(b"", 0, empty, packaged(name))
    assert list(fields) == [field["name"] for field in definition["fields"]]
