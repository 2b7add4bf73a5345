"""Wootric's answers, read without surprise."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sink.delivery import EndUser
from sink.wootric import answers

TAKEN = b'{"error":"Validation failed: Email has already been taken"}'
NOT_FOUND = (
    b'{"type":"error_list","errors":[{"status":"record_not_found",'
    b'"message":"The record could not be found","field":null}]}'
)


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
    assert answers.seconds(value) == seconds


def test_an_end_user_is_read_whole() -> None:
    value = {
        "id": 7,
        "email": "a@b.co",
        "external_id": 42,
        "phone_number": "+1415",
        "external_created_at": 1533310126,
        "properties": {"plan": "pro", "seats_amount": 3, "paid": True, "old": None, "deep": {}},
    }
    assert answers.end_user(value) == EndUser(
        id=7,
        email="a@b.co",
        external_id="42",
        phone_number="+1415",
        external_created_at=1533310126,
        properties={"plan": "pro", "seats_amount": 3, "paid": "true"},
    )


@pytest.mark.parametrize("value", [None, [], {}, "x", {"id": None}, {"id": True}, {"id": "x"}])
def test_without_an_id_there_is_no_end_user(value: object) -> None:
    assert answers.end_user(value) is None


@pytest.mark.parametrize("body", [None, b"", b"{", b"<html>", b"\xff"])
def test_a_body_that_is_no_json_reads_as_nothing(body: bytes | None) -> None:
    assert answers.document(body) is None


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (400, TAKEN, "email_taken"),
        (422, TAKEN, "email_taken"),
        (422, TAKEN.replace(b"Email", b"Phone number"), "phone_number_taken"),
        (409, TAKEN.replace(b"Email", b"External id"), "already_taken"),
        (400, b'{"error":"Validation failed: Score is wrong"}', "validation"),
        (404, NOT_FOUND, "record_not_found"),
        (400, b"", "bad_request"),
        (404, None, "record_not_found"),
        (405, b"", "method_not_allowed"),
        (406, b"", "not_acceptable"),
        (409, b"", "conflict"),
        (410, b"", "gone"),
        (413, b"<html>", "too_large"),
        (414, b"", "too_large"),
        (415, b"", "unsupported_media_type"),
        (422, b"", "validation"),
        (423, b"", "locked"),
        (418, b"\xff\xfe", "status_418"),
    ],
)
def test_a_refusal_has_one_word(status: int, body: bytes | None, reason: str) -> None:
    assert answers.reason(status, body) == reason


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (TAKEN, "Validation failed: Email has already been taken"),
        (NOT_FOUND, "The record could not be found"),
        (b'{"errors":["one","two"]}', "one; two"),
        (b"plain words", "plain words"),
        (None, ""),
        (b'{"error":"ada@example.com is bad"}', "<e-mail> is bad"),
        (b"<p>ada.l+x@example.co.uk</p>", "<p><e-mail></p>"),
    ],
)
def test_a_refusal_speaks_without_naming_a_person(body: bytes | None, detail: str) -> None:
    assert answers.detail(body) == detail


@given(st.text(min_size=1, max_size=9000))
def test_a_detail_is_short(text: str) -> None:
    assert len(answers.detail(text.encode("utf-8", "replace")).encode()) <= 2048


@given(st.binary(max_size=200))
def test_no_body_is_too_strange(body: bytes) -> None:
    answers.end_user(answers.document(body))
    answers.detail(body)
    answers.is_error(body)
    assert answers.reason(400, body)


def test_a_taken_value_is_told_by_its_words() -> None:
    assert answers.taken(TAKEN)
    assert not answers.taken(NOT_FOUND)
    assert not answers.taken(None)
