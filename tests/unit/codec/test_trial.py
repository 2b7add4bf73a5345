"""Whether a writer's schema can be read is found out before its values come."""

import copy
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from stream.codec.avro import FOLDER, Schema, Schemas, encode_single_object, schema_from_text
from stream.codec.decode import Decoder, check_readable
from stream.codec.event import SEGMENT_EVENT
from stream.errors import DecodeError

OURS = orjson.loads((FOLDER / "segment_event.avsc").read_bytes())


ADDRESS = {"type": "record", "name": "Address", "fields": [{"name": "city", "type": "string"}]}
KINDS = [
    ("null", None),
    ("boolean", True),
    ("int", 5),
    ("long", 5),
    ("float", 5.0),
    ("double", 5.0),
    ("bytes", b"{}"),
    ("string", "{}"),
    ({"type": "string"}, "{}"),
    ({"type": "enum", "name": "E", "symbols": ["X"]}, "X"),
    ({"type": "fixed", "name": "F", "size": 2}, b"{}"),
    ({"type": "array", "items": "string"}, ["a"]),
    ({"type": "map", "values": "string"}, {"a": "b"}),
    (ADDRESS, {"city": "Ulm"}),
    (["null", "bytes"], b"{}"),
    (["null", "int"], 5),
]


def changed(change: Callable[[dict[str, Any]], object]) -> Schema:
    definition = copy.deepcopy(OURS)
    change(definition)
    return Schema.of(definition)


def add(kind: Any) -> Callable[[dict[str, Any]], object]:
    return lambda d: d["fields"].append({"name": "more", "type": kind})


def put(number: int, **field: Any) -> Callable[[dict[str, Any]], object]:
    return lambda d: d["fields"].__setitem__(number, field)


@pytest.mark.parametrize(
    "change",
    [
        lambda _: None,
        lambda d: d["fields"].pop(),
        lambda d: d["fields"].reverse(),
        add(["null", "string"]),
        add({"type": "array", "items": ["null", {"type": "map", "values": "double"}]}),
        add({"type": "record", "name": "R", "fields": [
            {"name": "a", "type": {"type": "enum", "name": "E", "symbols": ["X"]}},
            {"name": "b", "type": ["E", {"type": "fixed", "name": "F", "size": 3}, "boolean"]},
        ]}),
        put(0, name="messageId", type="string"),
        put(0, name="messageId", type=["null", "string", "long"]),
        put(0, name="messageId", type="null"),
        put(6, name="timestamp", type=["null", "int"]),
        put(6, name="timestamp", type=["string", "long"]),
        lambda d: d["fields"].extend([
            {"name": "billing", "type": ["null", {"type": "record", "name": "Address", "fields": [
                {"name": "city", "type": "string"},
            ]}]},
            {"name": "shipping", "type": "Address"},
        ]),
    ],
)  # fmt: skip
def test_what_resolves_to_our_schema_can_be_read(change):
    """A type of a field that could not be read is no reason to refuse those that can."""
    check_readable(changed(change))


@pytest.mark.parametrize(
    "change",
    [
        put(0, name="messageId", type=["null", "long"]),
        put(6, name="timestamp", type={"type": "long", "logicalType": "timestamp-micros"}),
        put(6, name="timestamp", type="string"),
        put(10, name="traits", type={"type": "map", "values": "string"}),
        lambda d: d.update(name="Another"),
    ],
)  # fmt: skip
def test_what_never_does_cannot_be_read(change):
    """Even if null could be read: a field whose values are all refused is a fault."""
    with pytest.raises(DecodeError):
        check_readable(changed(change))


@pytest.mark.parametrize("text", ['"string"', "string", '["null", "string"]', "{", "null", "3"])
def test_what_is_no_record_or_no_schema_cannot_be_read(text):
    with pytest.raises(DecodeError):
        check_readable(schema_from_text(text))


def test_our_own_schema_can_be_read():
    check_readable(SEGMENT_EVENT)


@pytest.mark.parametrize(("kind", "value"), KINDS)
@pytest.mark.parametrize("number", [0, 6, 10])
def test_what_is_called_readable_is_what_is_read(number, kind, value):
    """The verdict of the start, and that of each record."""
    name = OURS["fields"][number]["name"]
    writer = changed(put(number, name=name, type=kind))
    datum = dict.fromkeys(field["name"] for field in OURS["fields"]) | {name: value}
    assert refusal_by(lambda: check_readable(writer)) == refusal_by(
        lambda: Decoder(Schemas([writer])).decode(encode_single_object(writer, datum))
    )


def refusal_by(step: Callable[[], object]) -> str | None:
    """Return the detail of the error that a step raises; None if it raises none."""
    try:
        step()
    except DecodeError as error:
        return error.detail
    return None


@pytest.mark.parametrize(
    ("kind", "value", "named"),
    [
        ("long", 5, "long"),
        (["null", "string", "double"], 5.0, "null or string or double"),
        ({"type": "enum", "name": "E", "symbols": ["X"]}, "X", "enum"),
        (ADDRESS, {"city": "Ulm"}, "record"),
        (["null", ADDRESS], {"city": "Ulm"}, "null or record"),
        ({"type": "array", "items": "string"}, ["a"], "array"),
    ],
)
def test_a_refusal_names_field_types_and_record(kind, value, named):
    definition = {**copy.deepcopy(OURS), "namespace": "com.acme"}
    definition["fields"][2] = {"name": "userId", "type": kind}
    writer = Schema.of(definition)
    datum = dict.fromkeys(field["name"] for field in OURS["fields"]) | {"userId": value}
    with pytest.raises(DecodeError) as caught:
        Decoder(Schemas([writer])).decode(encode_single_object(writer, datum))
    assert caught.value.detail == (
        f"field userId of record com.acme.SegmentEvent is {named}, "
        "and not null or string as in the service's schema"
    )


def test_several_differing_fields_are_all_named():
    definition = copy.deepcopy(OURS)
    definition["fields"][0]["type"] = definition["fields"][6]["type"] = "double"
    for field in definition["fields"]:
        field.pop("default")
    with pytest.raises(DecodeError, match=r"field messageId of .*; field timestamp of .* or long"):
        check_readable(Schema.of(definition))


def test_what_is_hardly_a_schema_is_no_schema():
    with pytest.raises(DecodeError):
        check_readable(Schema.of({"type": "string", "fields": None}))
