"""Wootric's answers, read without surprise."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sink.delivery import EndUser
from sink.wootric import replies
from stream.state.ledger import EventEntry, EventOutcome, encode


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("2018-01-02 23:03:41 -0800", 1514963021),
        ("2018-01-03T07:03:41Z", 1514963021),
        ("2018-01-03 07:03:41 UTC", 1514963021),
        ("2018-01-03T07:03:41.999+00:00", 1514963021),
        ("2018-01-03 07:03:41", 1514963021),
        ("1514963021", 1514963021),
        (1514963021, 1514963021),
        ("1969-12-31 23:59:59 +0000", -1),
        ("2018-13-45 00:00:00 +0000", None),
        ("yesterday", None),
        (None, None),
        (True, None),
        ([], None),
    ],
)
def test_times_are_read_as_they_are_written(value: object, seconds: int | None) -> None:
    assert replies.seconds(value) == seconds


def test_an_end_user_is_read_whole() -> None:
    value = {
        "id": 7,
        "email": "a@b.co",
        "external_id": 42,
        "phone_number": "+1415",
        "external_created_at": 1533310126,
        "properties": {"plan": "pro", "seats_amount": 3, "paid": True, "old": None, "deep": {}},
    }
    assert replies.end_user(value) == EndUser(
        id=7,
        email="a@b.co",
        external_id="42",
        phone_number="+1415",
        external_created_at=1533310126,
        properties={"plan": "pro", "seats_amount": 3, "paid": "true"},
    )


@pytest.mark.parametrize("value", [None, [], {}, "x", {"id": None}, {"id": True}, {"id": "x"}])
def test_without_an_id_there_is_no_end_user(value: object) -> None:
    assert replies.end_user(value) is None


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**30, "9" * 19, "9" * 20, "1" * 5000])
def test_a_number_that_the_ledger_can_not_hold_is_none(number: int | str) -> None:
    """The outcome could not be written down: its lane would stand still, and nobody would know."""
    assert replies.identifier({"id": number}) is None
    assert replies.seconds(number) is None


def test_the_largest_number_that_the_ledger_can_hold_is_one() -> None:
    for number in (2**63 - 1, -(2**63)):
        assert replies.whole(number) == replies.whole(str(number)) == number
        encode(EventEntry(outcome=EventOutcome.DELIVERED, offset=0, at_ms=0, remote_id=number))


def test_an_identity_without_end_is_none() -> None:
    """The ledger would have to hold it."""
    for name in ("email", "external_id", "phone_number"):
        for length, found in ((1_000, "x" * 1_000), (1_001, None)):
            user = replies.end_user({"id": 1, name: "x" * length})
            assert getattr(user, name) == found


@pytest.mark.parametrize("body", [None, b"", b"{", b"<html>", b"\xff"])
def test_a_body_that_is_no_json_reads_as_nothing(body: bytes | None) -> None:
    assert replies.document(body) is None


@given(st.binary(max_size=200))
def test_no_body_is_too_strange(body: bytes) -> None:
    replies.end_user(replies.document(body))
