"""Dead letters: headers there and back, and the schema that documents them."""

from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.codec.avro import FOLDER, Schema, encode_single_object, packaged, read
from stream.codec.dead_letter import DETAIL_LENGTH_MAX, DeadLetter, trace_headers
from stream.errors import DecodeError
from stream.kafka.topic_policies import HEADROOM_BYTES
from stream.record import Partition

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
counts = st.integers(0, 2**31 - 1)
letters = st.builds(
    DeadLetter,
    key=st.none() | st.binary(max_size=10),
    value=st.none() | st.binary(max_size=10),
    reason=texts,
    detail=texts,
    origin=st.builds(Partition, texts, counts),
    offset=counts,
    message_id=st.none() | texts,
    http_status=st.none() | counts,
    attempts=counts,
    failed_at_ms=counts,
    app_version=texts,
    replay=st.none() | texts,
    input_topic=st.none() | texts,
)
FULL = DeadLetter(
    key=b"k",
    value=b"\x00raw",
    reason="score_out_of_range",
    detail="score is above 10",
    origin=Partition("segment.events", 3),
    offset=42,
    message_id="m-1",
    http_status=422,
    attempts=2,
    failed_at_ms=1764000000000,
    app_version="1.0",
    replay="3-7",
)

OPTIONAL = {"x-message-id", "x-http-status", "x-replay"}


def without(name: str) -> list[tuple[str, bytes]]:
    return [header for header in FULL.headers() if header[0] != name]


@given(letters)
def test_a_letter_comes_back_from_its_headers(letter):
    assert DeadLetter.from_headers(letter.key, letter.value, letter.headers()) == letter


@given(letters)
def test_a_letter_in_kafka_has_a_key_also_where_its_record_had_none(letter):
    """A compacted topic refuses what has none, and with it the whole transaction."""
    assert letter.record_key == (letter.key if letter.key is not None else letter.record_key)
    assert letter.record_key is not None
    read = DeadLetter.from_headers(letter.record_key, letter.value, letter.headers())
    assert read == letter


def test_the_key_of_a_letter_without_one_is_its_own():
    """Of letters with one key compaction would keep only the last."""
    keyless = replace(FULL, key=None)
    keys = {
        one.record_key
        for one in (
            keyless,
            replace(keyless, offset=43),
            replace(keyless, origin=Partition("segment.events", 4)),
            replace(keyless, failed_at_ms=1),
        )
    }
    assert len(keys) == 4
    assert FULL.record_key == b"k"


def test_a_letter_of_the_bridge_is_meant_for_an_input_that_it_is_not_in():
    bridged = replace(FULL, origin=Partition("segment.json", 1), input_topic="segment.events")
    assert dict(bridged.headers())["x-input-topic"] == b"segment.events"
    assert (bridged.destination, FULL.destination) == ("segment.events", "segment.events")


def test_headers_stay_within_what_the_topic_allows_beside_the_record():
    """Else one record would make every transaction fail, and the worker stand still for ever."""
    letter = replace(FULL, message_id="\N{EURO SIGN}" * 500_000, detail="\N{EURO SIGN}" * 500_000)
    size = sum(len(name) + len(value) for name, value in letter.headers())
    assert size < HEADROOM_BYTES


def test_headers_are_the_schemas_fields():
    definition = orjson.loads((FOLDER / "dead_letter.avsc").read_bytes())
    fields = [field["name"] for field in definition["fields"]]
    names = [name.removeprefix("x-").replace("-", "_") for name, _ in FULL.headers()]
    assert ["key", "value", *names] == fields


def test_header_names_are_those_that_others_rely_on():
    assert [name for name, _ in FULL.headers()] == [
        "x-reason",
        "x-detail",
        "x-origin-topic",
        "x-origin-partition",
        "x-origin-offset",
        "x-message-id",
        "x-http-status",
        "x-attempts",
        "x-failed-at",
        "x-app-version",
        "x-replay",
    ]


def test_headers_fit_the_schemas_types():
    """A letter read as the Avro record that documents it."""
    schema: Schema = packaged("dead_letter")
    datum = {
        name.removeprefix("x-").replace("-", "_"): text.decode() for name, text in FULL.headers()
    }
    for name in ("origin_partition", "origin_offset", "http_status", "attempts", "failed_at"):
        datum[name] = int(datum[name])
    datum |= {"key": FULL.key, "value": FULL.value}
    assert read(encode_single_object(schema, datum), 10, schema, schema) == datum


def test_what_is_none_has_no_header():
    letter = DeadLetter(
        key=None,
        value=None,
        reason="undecodable",
        detail="",
        origin=Partition("t", 0),
        offset=0,
        failed_at_ms=0,
        app_version="1",
    )
    names = dict(letter.headers())
    assert not OPTIONAL & set(names)
    assert names["x-attempts"] == b"0"


def test_detail_is_cut_to_characters_not_bytes():
    detail = "ü" * (DETAIL_LENGTH_MAX + 1)
    letter = DeadLetter(
        key=None,
        value=None,
        reason="r",
        detail=detail,
        origin=Partition("t", 0),
        offset=0,
        failed_at_ms=0,
        app_version="1",
    )
    assert dict(letter.headers())["x-detail"].decode() == "ü" * 2_000


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, _ in FULL.headers()
        if name not in ("x-message-id", "x-http-status", "x-replay")
    ],
)
def test_a_missing_header_is_named(name):
    with pytest.raises(DecodeError) as caught:
        DeadLetter.from_headers(None, None, without(name))
    assert name in caught.value.detail


@pytest.mark.parametrize("name", ["x-attempts", "x-origin-offset", "x-http-status", "x-failed-at"])
def test_a_number_that_is_none_is_a_decode_error(name):
    with pytest.raises(DecodeError) as caught:
        DeadLetter.from_headers(None, None, [*without(name), (name, b"many")])
    assert caught.value.reason == "undecodable"


def test_strange_headers_are_ignored_and_the_last_of_two_counts():
    headers = [("x-reason", b"first"), ("traceparent", None), *FULL.headers()]
    assert DeadLetter.from_headers(b"k", b"\x00raw", headers) == FULL


def test_a_letter_keeps_the_trace_of_its_record():
    """Who replays it, or looks for it in a trace, finds where it came from."""
    headers = [("traceparent", b"00-4bf9-00f0-01"), ("other", b"1"), ("tracestate", b"a=1")]
    traced = replace(FULL, trace=trace_headers(headers))
    assert traced.headers()[-2:] == [headers[0], headers[2]]
    assert DeadLetter.from_headers(FULL.key, FULL.value, traced.headers()) == traced


def test_a_trace_that_is_too_long_is_left_out():
    """A letter has room for so much beside its record: it has to fit into its topic."""
    headers = [("traceparent", b"00-4bf9-00f0-01"), ("tracestate", b"a" * 8_200)]
    assert trace_headers(headers) == ()
