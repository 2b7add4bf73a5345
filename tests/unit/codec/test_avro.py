"""Schemas, their fingerprints, and single objects."""

from typing import Any

import orjson
import pytest

from stream.codec.avro import FOLDER, Schema, all_packaged, encode_single_object, packaged, read
from stream.codec.decode import Decoder
from stream.errors import DecodeError, UnknownSchemaError

FILES = sorted(FOLDER.glob("*.avsc"))
EMPTY = 0xC15D213AA4D7A795
JAVA_VALUE = (
    "c30115336413f84593720000020c6a6176612d3100000002baa6be86a059000000020e7b2261223a317d00000000"
)


def rabin(data: bytes) -> int:
    """CRC-64-AVRO bit by bit, as the specification's table is made."""
    result = EMPTY
    for byte in data:
        result ^= byte
        for _ in range(8):
            result = (result >> 1) ^ (EMPTY if result & 1 else 0)
    return result


def documented(part: Any) -> list[str]:
    """Return every record, enum and field below a schema that has no doc."""
    if isinstance(part, list):
        return [name for branch in part for name in documented(branch)]
    if not isinstance(part, dict):
        return []
    missing = [] if part.get("doc") or "name" not in part else [part["name"]]
    inner = [*part.get("fields", ()), part.get("type"), part.get("items")]
    return missing + [name for child in inner for name in documented(child)]


@pytest.mark.parametrize(
    ("definition", "fingerprint"),
    [
        ("null", 0x63DD24E7CC258F8A),
        ("int", 0x7275D51A3F395C8F),
        ("long", 0xD054E14493F41DB7),
        ("string", 0x8F014872634503C7),
        ("bytes", 0x4FC016DAC3201965),
    ],
)
def test_header_holds_avros_own_fingerprint_in_little_endian(definition, fingerprint):
    """The values of Avro's interoperability tests (share/test/data/schema-tests.txt)."""
    assert Schema.of(definition).header == b"\xc3\x01" + fingerprint.to_bytes(8, "little")


def test_fingerprint_is_of_the_canonical_form():
    """Doc, default, order of keys and logical type do not count; names are full ones."""
    schema = Schema.of(
        {
            "fields": [
                {
                    "default": 5,
                    "doc": "not counted",
                    "type": {"logicalType": "timestamp-millis", "type": "long"},
                    "name": "a",
                }
            ],
            "type": "record",
            "namespace": "x.y",
            "name": "R",
        }
    )
    canonical = b'{"name":"x.y.R","type":"record","fields":[{"name":"a","type":"long"}]}'
    assert schema.header == b"\xc3\x01" + rabin(canonical).to_bytes(8, "little")


@pytest.mark.parametrize(
    ("name", "fingerprint"),
    [
        ("dead_letter", "f51ec97cf958d20c"),
        ("ledger_entry", "48d049a340685728"),
        ("segment_event", "15336413f8459372"),
    ],
)
def test_packaged_schemas_have_the_fingerprints_that_java_gives_them(name, fingerprint):
    """From Apache Avro 1.12.0 for Java; another value means that the former file must be kept."""
    assert packaged(name).header.hex() == "c301" + fingerprint


def test_a_value_that_java_wrote_is_read():
    """Made by BinaryMessageEncoder of Apache Avro 1.12.0."""
    value = bytes.fromhex(JAVA_VALUE)
    event = Decoder(all_packaged()).decode(value)
    assert (event.user_id, event.timestamp_ms, event.traits) == ("java-1", 1533310126493, {"a": 1})


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_everything_in_a_packaged_schema_is_documented(path):
    assert documented(orjson.loads(path.read_bytes())) == []


def test_packaged_schemas_are_found_by_the_header_of_their_values():
    """All three, each its own."""
    schemas = all_packaged()
    headers = {packaged(path.stem).header for path in FILES}
    assert len(headers) == len(FILES) == 3
    for path in FILES:
        assert schemas.writer_of(packaged(path.stem).header) is packaged(path.stem)


def test_unknown_fingerprint_is_named_as_tools_print_it():
    with pytest.raises(UnknownSchemaError) as caught:
        all_packaged().writer_of(Schema.of("int").header + b"\x02")
    assert caught.value.reason == "unknown_schema"
    assert "7275d51a3f395c8f" in caught.value.detail


@pytest.mark.parametrize("value", [b"", b"\xc3\x01\x00", b"{}", b"\xc3\x02" + bytes(8)])
def test_what_is_no_single_object_is_undecodable(value):
    with pytest.raises(DecodeError) as caught:
        all_packaged().writer_of(value)
    assert caught.value.reason == "undecodable"
    assert not isinstance(caught.value, UnknownSchemaError)


def test_times_stay_whole_milliseconds():
    """Not datetime, which is slow to make and ends in the year 9999."""
    schema = Schema.of({"type": "long", "logicalType": "timestamp-millis"})
    value = encode_single_object(schema, 8_640_000_000_000_000)
    assert read(value, len(schema.header), schema, schema) == 8_640_000_000_000_000


def test_a_default_that_looks_like_a_logical_type_is_left_alone():
    definition = {
        "type": "record",
        "name": "R",
        "fields": [
            {
                "name": "m",
                "type": {"type": "map", "values": "string"},
                "default": {"logicalType": "kept"},
            }
        ],
    }
    writer = Schema.of({"type": "record", "name": "R", "fields": []})
    assert read(b"", 0, writer, Schema.of(definition)) == {"m": {"logicalType": "kept"}}


SELF = {"type": "record", "name": "T", "fields": [{"name": "next", "type": ["null", "T"]}]}
PAIR = {
    "type": "record",
    "name": "A",
    "fields": [
        {
            "name": "b",
            "type": {
                "type": "record",
                "name": "B",
                "fields": [{"name": "a", "type": {"type": "map", "values": "A"}}],
            },
        }
    ],
}
HOLLOW = {"type": "record", "name": "H", "fields": [{"name": "n", "type": "null"}]}


@pytest.mark.parametrize(
    "definition",
    [
        SELF,
        PAIR,
        {"type": "array", "items": "null"},
        {"type": "array", "items": HOLLOW},
        {"type": "array", "items": {"type": "fixed", "name": "F", "size": 0}},
        {"type": "record", "name": "R", "fields": [{"name": "a", "type": "unheard-of"}]},
        {"type": "record"},
        {},
    ],
)
def test_schemas_that_a_reader_must_not_trust_are_refused(definition):
    with pytest.raises(DecodeError) as caught:
        Schema.of(definition)
    assert caught.value.reason == "unresolvable"


def test_a_type_used_twice_is_no_recursion():
    """The same name again, beside and not within its definition."""
    twice = {
        "type": "record",
        "name": "R",
        "fields": [{"name": "a", "type": {**HOLLOW, "name": "P"}}, {"name": "b", "type": "P"}],
    }
    assert Schema.of(twice).header.startswith(b"\xc3\x01")


@pytest.mark.parametrize(
    ("claim", "what"),
    [
        (b"\x80\x80\x80\x80\x80\x80\x01", "a string of 2 TiB"),
        (b"\x01", "a string of -1 bytes"),
        (b"\x80" * 100, "a length without end"),
        (b"\x04\xff\xff", "bytes that are not UTF-8"),
        (b"", "nothing"),
    ],
)
def test_a_lying_length_is_undecodable_and_allocates_nothing(claim, what):
    schema = Schema.of("string")
    with pytest.raises(DecodeError) as caught:
        read(claim, 0, schema, schema)
    assert caught.value.reason == "undecodable", what


def test_bytes_after_the_end_are_counted():
    schema = Schema.of("int")
    with pytest.raises(DecodeError) as caught:
        read(b"\x02abc", 0, schema, schema)
    assert caught.value.reason == "trailing_bytes"
    assert caught.value.detail.startswith("3 bytes")
