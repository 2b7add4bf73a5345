"""Whether a writer's schema can be read is found out before its values come."""

import copy
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from stream.codec.avro import FOLDER, Schema, schema_from_text
from stream.codec.decode import try_to_read
from stream.codec.event import SEGMENT_EVENT
from stream.errors import DecodeError

OURS = orjson.loads((FOLDER / "segment_event.avsc").read_bytes())


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
        put(6, name="timestamp", type=["null", "int"]),
        lambda d: d["fields"].extend([
            {"name": "billing", "type": ["null", {"type": "record", "name": "Address", "fields": [
                {"name": "city", "type": "string"},
            ]}]},
            {"name": "shipping", "type": "Address"},
        ]),
    ],
)  # fmt: skip
def test_what_resolves_to_our_schema_can_be_read(change):
    try_to_read(changed(change))


@pytest.mark.parametrize(
    "change",
    [
        put(0, name="messageId", type=["null", "string", "long"]),
        put(6, name="timestamp", type={"type": "long", "logicalType": "timestamp-micros"}),
        put(6, name="timestamp", type="string"),
        lambda d: d.update(name="Another"),
    ],
)  # fmt: skip
def test_what_does_not_cannot_be_read(change):
    """Even if it is only one branch of a union."""
    with pytest.raises(DecodeError):
        try_to_read(changed(change))


@pytest.mark.parametrize("text", ['"string"', "string", '["null", "string"]', "{", "null", "3"])
def test_what_is_no_record_or_no_schema_cannot_be_read(text):
    with pytest.raises(DecodeError):
        try_to_read(schema_from_text(text))


def test_our_own_schema_can_be_read():
    try_to_read(SEGMENT_EVENT)


@pytest.mark.parametrize("kind", [[], {"type": "enum", "name": "Nothing", "symbols": []}])
def test_a_schema_without_a_value_can_not_be_read(kind):
    with pytest.raises(DecodeError):
        try_to_read(changed(add(kind)))


def test_what_is_hardly_a_schema_is_no_schema():
    with pytest.raises(DecodeError):
        Schema.of({"type": "string", "fields": None})
