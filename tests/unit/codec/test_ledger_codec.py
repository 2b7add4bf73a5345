"""The ledger's entries: there and back, and across versions."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sink.delivery import EffectClass, EndUser
from stream.codec.avro import FOLDER, Schema, Schemas, encode_single_object, packaged
from stream.errors import DecodeError, UnknownSchemaError
from stream.state import ledger
from stream.state.ledger import (
    EventEntry,
    EventOutcome,
    IntentEntry,
    Member,
    UserEntry,
    decode,
    encode,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
longs = st.integers(-(2**63), 2**63 - 1)
ints = st.integers(-(2**31), 2**31 - 1)
scalars = texts | longs | st.floats(allow_nan=False, allow_infinity=False)
entries = st.one_of(
    st.builds(
        EventEntry,
        outcome=st.sampled_from(EventOutcome),
        offset=longs,
        at_ms=longs,
        reason=st.none() | texts,
        request_id=st.none() | texts,
        remote_id=st.none() | longs,
        status=st.none() | ints,
        attempts=ints,
    ),
    st.builds(
        IntentEntry,
        request_id=texts,
        effect=st.sampled_from(EffectClass),
        members=st.lists(st.builds(Member, texts, longs), max_size=5).map(tuple),
        operation=st.none() | texts,
        operation_hash=texts,
        first_attempt_at_ms=longs,
        instance=texts,
    ),
    st.builds(
        UserEntry,
        end_user=st.builds(
            EndUser,
            id=st.none() | longs,
            email=st.none() | texts,
            external_id=st.none() | texts,
            phone_number=st.none() | texts,
            external_created_at=st.none() | longs,
            properties=st.none() | st.dictionaries(texts, scalars, max_size=5),
        ),
        sent_at_ms=longs,
        newest_event_at_ms=st.none() | longs,
    ),
)
RECEIPT = EventEntry(outcome=EventOutcome.REJECTED, offset=5, at_ms=7, reason="forbidden")


def ledger_entry() -> dict[str, Any]:
    """Return our definition, to be changed."""
    return orjson.loads((FOLDER / "ledger_entry.avsc").read_bytes())


@given(entries)
def test_an_entry_comes_back_as_it_was(entry):
    again = decode(encode(entry))
    assert again == entry
    assert type(again) is type(entry)


@given(entries)
def test_an_entry_is_written_as_the_whole_schema_writes_it(entry):
    """Its own bytes behind a fixed head are those of the record with a union."""
    fields = {
        EventEntry: ledger._event_fields,
        IntentEntry: ledger._intent_fields,
        UserEntry: ledger._user_fields,
    }
    named = (f"wootric.stream.{type(entry).__name__}", fields[type(entry)](entry))
    whole = {"version": ledger.VERSION, "entry": named}
    assert encode(entry) == encode_single_object(packaged("ledger_entry"), whole)


def test_enums_and_members_come_back_as_such():
    """Not merely as text and lists that compare equal."""
    intent = IntentEntry(
        request_id="r",
        effect=EffectClass.UNOBSERVABLE,
        members=(Member("m", 1),),
        operation=None,
        operation_hash="",
        first_attempt_at_ms=0,
        instance="i",
    )
    again = decode(encode(intent))
    assert isinstance(again, IntentEntry)
    assert again.effect is EffectClass.UNOBSERVABLE
    assert again.members[0].event_id == "m"
    receipt = decode(encode(RECEIPT))
    assert isinstance(receipt, EventEntry)
    assert receipt.outcome is EventOutcome.REJECTED


def test_unknown_properties_are_not_empty_ones():
    """Empty means a profile without properties; None means look it up."""
    for properties in (None, {}):
        entry = decode(
            encode(UserEntry(end_user=EndUser(id=1, properties=properties), sent_at_ms=0))
        )
        assert isinstance(entry, UserEntry)
        assert entry.end_user.properties == properties
        assert (entry.end_user.properties is None) == (properties is None)


def test_numbers_in_properties_keep_their_type():
    entry = decode(
        encode(UserEntry(end_user=EndUser(id=1, properties={"a": 1, "b": 1.0}), sent_at_ms=0))
    )
    assert isinstance(entry, UserEntry)
    assert {name: type(value) for name, value in (entry.end_user.properties or {}).items()} == {
        "a": int,
        "b": float,
    }


def test_a_value_names_its_schema_and_is_small():
    """Receipts are kept by the million: most of one is its request id."""
    value = encode(RECEIPT)
    assert value.startswith(packaged("ledger_entry").header)
    assert len(value) < 40


def test_what_an_older_version_wrote_is_read(monkeypatch):
    """It had no attempts and no status in its receipts."""
    definition = ledger_entry()
    receipt = definition["fields"][1]["type"][0]
    receipt["fields"] = receipt["fields"][:-2]
    old = Schema.of(definition)
    monkeypatch.setattr(ledger, "_WRITERS", Schemas([old]))
    fields = {
        "outcome": "DELIVERED",
        "reason": None,
        "offset": 3,
        "at": 4,
        "requestId": "r",
        "remoteId": None,
    }
    value = encode_single_object(
        old, {"version": 1, "entry": ("wootric.stream.EventEntry", fields)}
    )
    assert decode(value) == EventEntry(
        outcome=EventOutcome.DELIVERED, offset=3, at_ms=4, request_id="r"
    )


def test_a_newer_reader_reads_what_we_write():
    definition = ledger_entry()
    definition["fields"][1]["type"][0]["fields"].append(
        {"name": "region", "type": "string", "default": "us"}
    )
    ours = packaged("ledger_entry")
    value = ledger.read(encode(RECEIPT), 10, ours, Schema.of(definition))
    assert value["entry"]["region"] == "us"
    assert value["entry"]["reason"] == "forbidden"


def test_a_newer_writer_is_an_unknown_schema_until_it_is_added(monkeypatch):
    definition = ledger_entry()
    definition["fields"].append({"name": "note", "type": "string", "default": ""})
    new = Schema.of(definition)
    fields = {"id": 5, "sentAt": 6} | dict.fromkeys(
        ["email", "externalId", "phoneNumber", "createdAt", "properties", "newestEventAt"]
    )
    value = encode_single_object(
        new, {"version": 1, "entry": ("wootric.stream.UserEntry", fields), "note": "n"}
    )
    with pytest.raises(UnknownSchemaError):
        decode(value)
    monkeypatch.setattr(ledger, "_WRITERS", Schemas([new]))
    assert decode(value) == UserEntry(end_user=EndUser(id=5), sent_at_ms=6)


def test_a_version_that_means_something_else_is_refused(monkeypatch):
    monkeypatch.setattr(ledger, "VERSION", 2)
    value = encode(RECEIPT)
    monkeypatch.undo()
    with pytest.raises(DecodeError) as caught:
        decode(value)
    assert caught.value.reason == "unknown_version"


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_user_whose_properties_are_no_object_is_a_decode_error(text):
    fields = dict.fromkeys(
        ["id", "email", "externalId", "phoneNumber", "createdAt", "newestEventAt"]
    ) | {"sentAt": 0, "properties": text}
    value = encode_single_object(
        packaged("ledger_entry"), {"version": 1, "entry": ("wootric.stream.UserEntry", fields)}
    )
    with pytest.raises(DecodeError):
        decode(value)


@given(st.binary(max_size=80))
def test_any_bytes_are_an_entry_or_a_decode_error(data):
    for value in (data, packaged("ledger_entry").header + data):
        try:
            assert isinstance(decode(value), EventEntry | IntentEntry | UserEntry)
        except DecodeError:
            continue
