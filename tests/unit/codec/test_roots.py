"""Schemas whose root is a union or a name: each record decides whether it is an event."""

import io
from functools import partial
from typing import Any

import orjson
import pytest
from fastavro import parse_schema, schemaless_writer
from fastavro.schema import fingerprint, to_parsing_canonical_form

from stream.codec.avro import FOLDER, Schema, Schemas, all_packaged, confluent_header
from stream.codec.decode import Decoder, check_readable
from stream.codec.event import SEGMENT_EVENT, Event
from stream.engine.prepare import prepare
from stream.errors import DecodeError
from stream.record import Partition, Record
from stream.transform import Rules, Skip, transform

OURS = orjson.loads((FOLDER / "segment_event.avsc").read_bytes())
THEIRS: dict[str, Any] = {
    "type": "record",
    "name": "SegmentEvent",
    "namespace": "com.acme",
    "fields": [
        {"name": "userId", "type": "string"},
        {"name": "timestamp", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    ],
}
ORDER = {
    "type": "record",
    "name": "Order",
    "namespace": "com.acme",
    "fields": [{"name": "total", "type": "long"}],
}
TREE = {
    "type": "record",
    "name": "Tree",
    "fields": [{"name": "next", "type": ["null", "Tree"]}],
}
BROKEN = {"type": "record", "name": "Broken", "fields": [{"name": "a", "type": "Unheard"}]}
USER = {"userId": "ada", "timestamp": 5}
EVENT = Event(user_id="ada", timestamp_ms=5)
PARTITION = Partition("segment.events", 0)


def encoded(definition: Any, datum: Any) -> bytes:
    output = io.BytesIO(confluent_header(7))
    output.seek(0, io.SEEK_END)
    schemaless_writer(output, parse_schema(definition), datum)
    return output.getvalue()


def decoder(definition: Any, *referenced: Any) -> Decoder:
    return Decoder(Schemas(), {7: Schema.of(definition, referenced)}.get)


def refusal(decoder: Decoder, value: bytes) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        decoder.decode(value)
    return caught.value


ROOTS: list[list[Any]] = [
    [THEIRS],
    ["null", THEIRS],
    [THEIRS, "null"],
    [ORDER, THEIRS],
    ["null", ORDER, THEIRS],
    ["string", THEIRS],
    [{"type": "array", "items": "string"}, THEIRS],
]


@pytest.mark.parametrize("root", ROOTS)
def test_an_event_under_a_union_is_read(root):
    check_readable(Schema.of(root))
    value = encoded(root, ("com.acme.SegmentEvent", USER))
    assert decoder(root).decode(value) == EVENT


@pytest.mark.parametrize("root", [root for root in ROOTS if ORDER in root])
def test_a_record_of_another_kind_is_refused_by_its_name(root):
    found = refusal(decoder(root), encoded(root, ("com.acme.Order", {"total": 1})))
    assert (found.reason, found.detail) == (
        "unresolvable",
        "the record is com.acme.Order, not SegmentEvent",
    )


@pytest.mark.parametrize(
    ("part", "datum"), [("string", "{}"), ({"type": "array", "items": "string"}, ["a"])]
)
def test_what_is_no_record_is_refused_by_its_type(part, datum):
    found = refusal(decoder([part, THEIRS]), encoded([part, THEIRS], datum))
    kind = part if isinstance(part, str) else part["type"]
    assert (found.reason, found.detail) == (
        "unresolvable",
        f"the schema is of type {kind}, not a record SegmentEvent",
    )


@pytest.mark.parametrize("root", [root for root in ROOTS if "null" in root])
def test_a_null_is_a_tombstone(root):
    value = encoded(root, None)
    record = Record(PARTITION, 1, 1_000, b"ada", value)
    assert decoder(root).decode(value).is_null
    assert prepare(record, decoder(root), partial(transform, rules=Rules())).result == Skip(
        "tombstone"
    )
    assert refusal(decoder(root), value + b"\0").reason == "trailing_bytes"


@pytest.mark.parametrize("root", [[TREE, THEIRS], [BROKEN, THEIRS], [THEIRS, BROKEN, TREE]])
def test_a_branch_that_cannot_be_used_does_not_matter_until_it_is(root):
    """One that contains itself would end the process, and is refused with its value unread."""
    check_readable(Schema.of(root))
    found = decoder(root)
    number = root.index(THEIRS)
    value = confluent_header(7) + bytes([2 * number]) + encoded(THEIRS, USER)[5:]
    assert found.decode(value) == EVENT
    for other in range(len(root)):
        if other != number:
            refused = refusal(found, confluent_header(7) + bytes([2 * other, 0]))
            assert refused.reason == "unresolvable"


@pytest.mark.parametrize("number", [b"", b"\x80", b"\x04", b"\x01", b"\xff" * 12])
def test_a_branch_that_does_not_exist_is_undecodable(number):
    found = refusal(decoder([ORDER, THEIRS]), confluent_header(7) + number)
    assert found.reason == "undecodable"


@pytest.mark.parametrize(
    "root",
    [[], ["null"], ["null", "string"], ["null", ORDER], [TREE, BROKEN], "null", [["null", THEIRS]]],
)
def test_a_union_without_an_event_is_noticed_at_the_start(root):
    with pytest.raises(DecodeError) as caught:
        check_readable(Schema.of(root))
    assert caught.value.reason == "unresolvable"
    assert caught.value.detail


def test_a_deep_nest_of_unions_is_refused():
    nest: Any = "null"
    for _ in range(5_000):
        nest = [nest]
    with pytest.raises(DecodeError):
        Schema.of(nest)


# Types that other documents define


PLACE = {
    "type": "record",
    "name": "Place",
    "namespace": "com.acme.geo",
    "fields": [{"name": "city", "type": "string"}],
}
VISIT = {
    "type": "record",
    "name": "Visit",
    "namespace": "com.acme",
    "fields": [{"name": "where", "type": "com.acme.geo.Place"}],
}
WITH_VISITS = {
    **THEIRS,
    "fields": [
        {"name": "home", "type": "com.acme.geo.Place"},
        *THEIRS["fields"],
        {"name": "visits", "type": {"type": "array", "items": "Visit"}},
    ],
}
VISITS = {**USER, "home": {"city": "Ulm"}, "visits": [{"where": {"city": "Bern"}}]}


def with_references(root: Any, datum: Any, *referenced: Any) -> bytes:
    named: dict[str, Any] = {}
    for other in referenced:
        parse_schema(other, named)
    output = io.BytesIO()
    schemaless_writer(output, parse_schema(root, named), datum)
    return confluent_header(7) + output.getvalue()


@pytest.mark.parametrize(
    ("root", "prefix"),
    [
        (WITH_VISITS, b""),
        ("com.acme.SegmentEvent", b""),
        (["null", "com.acme.SegmentEvent"], b"\x02"),
        (["com.acme.Order", "com.acme.SegmentEvent"], b"\x02"),
    ],
)
def test_types_of_other_documents_are_known(root, prefix):
    value = with_references(WITH_VISITS, VISITS, PLACE, VISIT)[5:]
    by_name = root is not WITH_VISITS
    referenced = (PLACE, VISIT, ORDER, *((WITH_VISITS,) if by_name else ()))
    check_readable(Schema.of(root, referenced))
    found = decoder(root, *referenced).decode(confluent_header(7) + prefix + value)
    assert found == EVENT


def test_units_count_in_a_document_that_is_referenced():
    fields = [{"name": "timestamp", "type": {"type": "long", "logicalType": "timestamp-micros"}}]
    micros = {**THEIRS, "fields": fields}
    with pytest.raises(DecodeError, match="timestamp-micros"):
        check_readable(Schema.of("com.acme.SegmentEvent", (micros,)))


def test_a_type_that_no_document_defines_is_named():
    with pytest.raises(DecodeError, match=r"the type com\.acme\.geo\.Place, which is not defined"):
        Schema.of(WITH_VISITS, (VISIT,))


def test_a_reference_that_contains_itself_is_refused():
    uses = {**THEIRS, "fields": [{"name": "tree", "type": "Tree"}], "namespace": ""}
    with pytest.raises(DecodeError, match="contains itself"):
        Schema.of(uses, (TREE,))


def test_a_reference_that_is_broken_and_not_needed_does_not_matter():
    check_readable(Schema.of(THEIRS, (BROKEN, {"type": "record"})))


def test_the_header_is_that_of_the_whole_schema():
    """A type that is used twice is defined once, in the order of its uses."""
    other = {**ORDER, "name": "Refund", "fields": [{"name": "of", "type": "com.acme.Order"}]}
    whole = {**ORDER, "name": "Refund", "fields": [{"name": "of", "type": ORDER}]}
    assert Schema.of(other, (ORDER,)).header == Schema.of(whole).header
    union = to_parsing_canonical_form(parse_schema([ORDER, other]))
    assert Schema.of([ORDER, other]).header[2:].hex() == fingerprint(union, "CRC-64-AVRO")
    assert Schema.of(OURS).header == SEGMENT_EVENT.header


# Units


MICROS = {"type": "long", "logicalType": "timestamp-micros"}


def with_time(kind: Any, name: str = "timestamp", **more: Any) -> dict[str, Any]:
    return {**THEIRS, "fields": [{"name": name, "type": kind, **more}]}


UNITS = [
    with_time(MICROS),
    with_time(["null", MICROS]),
    with_time(["null", "string", MICROS], "sentAt"),
    with_time("long", "receivedAt", logicalType="timestamp-micros"),
    with_time({"type": "long", "logicalType": "timestamp-nanos"}, "originalTimestamp"),
    with_time({"type": "int", "logicalType": "date"}),
    with_time({"type": "long", "logicalType": "local-timestamp-millis"}),
]


@pytest.mark.parametrize("definition", UNITS)
@pytest.mark.parametrize(
    ("root", "prefix"),
    [
        (lambda one: one, b""),
        (lambda one: [one], b"\x00"),
        (lambda one: ["null", one], b"\x02"),
        (lambda one: [ORDER, "null", one], b"\x04"),
    ],
)
def test_a_time_in_another_unit_is_refused_wherever_it_is_declared(definition, root, prefix):
    field = definition["fields"][0]
    found = refusal(decoder(root(definition)), confluent_header(7) + prefix + b"\x00\x00\x00")
    assert found.reason == "unresolvable"
    assert found.detail.startswith(f"field {field['name']} of record com.acme.SegmentEvent is in ")
    assert found.detail.endswith(", not timestamp-millis")
    with pytest.raises(DecodeError):
        check_readable(Schema.of(root(definition)))


def test_a_list_of_events_is_no_event():
    """Neither with our unit nor with another."""
    for kind in ("long", MICROS):
        found = refusal(
            decoder({"type": "array", "items": with_time(kind)}), confluent_header(7) + b"\x00"
        )
        assert found.detail == "the schema is of type array, not a record SegmentEvent"


@pytest.mark.parametrize("kind", ["long", {"type": "long", "logicalType": "timestamp-millis"}])
def test_milliseconds_need_not_be_declared(kind):
    definition = with_time(["null", kind])
    assert decoder(definition).decode(encoded(definition, {"timestamp": 5})).timestamp_ms == 5


def test_the_unit_of_another_field_does_not_matter():
    definition = {**THEIRS, "fields": [*THEIRS["fields"], {"name": "seenAt", "type": MICROS}]}
    assert decoder(definition).decode(encoded(definition, {**USER, "seenAt": 9})) == EVENT


def test_a_unit_does_not_change_the_fingerprint():
    """So Java's microseconds have our header, and only their values tell."""
    micros = orjson.loads(orjson.dumps(OURS).replace(b'"long"', orjson.dumps(MICROS)))
    assert micros != OURS
    assert Schema.of(micros).header == SEGMENT_EVENT.header
    assert all_packaged().writer_of(Schema.of(micros).header) is SEGMENT_EVENT
