"""Why Wootric refused something, in a word and in its own words."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sink.wootric import replies
from sink.wootric.matching import IDENTITIES, conflicting_fields

TAKEN = b'{"error":"Validation failed: Email has already been taken"}'
NOT_FOUND = (
    b'{"type":"error_list","errors":[{"status":"record_not_found",'
    b'"message":"The record could not be found","field":null}]}'
)
DEPTH = 100_000
"""Deeper than any Python reads."""
NOT_VALID = b'{"errors":[{"message":"page does not have a valid value"}]}'


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (400, TAKEN, "email_taken"),
        (422, TAKEN, "email_taken"),
        (422, TAKEN.replace(b"Email", b"Phone number"), "phone_number_taken"),
        (409, TAKEN.replace(b"Email", b"External id"), "already_taken"),
        (422, b'{"errors":{"email":["has already been taken"]}}', "email_taken"),
        (
            400,
            b'{"errors":[{"message":"has already been taken","field":"email"}]}',
            "email_taken",
        ),
        (400, b'{"error":"Validation failed: Score is wrong"}', "validation"),
        (400, NOT_VALID, "invalid_value"),
        (400, b'{"error":"score is invalid"}', "invalid_value"),
        (400, b'{"errors":[{"message":"email is missing"}]}', "missing_value"),
        (422, b'{"errors":{"score":["can\'t be blank"]}}', "missing_value"),
        (400, b'{"errors":["score is empty"]}', "missing_value"),
        (404, NOT_FOUND, "record_not_found"),
        (400, b"", "bad_request"),
        (404, None, "record_not_found"),
        (404, b"<p>The page is missing</p>", "record_not_found"),
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
    assert replies.reason(status, body) == reason


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (TAKEN, "Validation failed: Email has already been taken"),
        (NOT_FOUND, "The record could not be found"),
        (NOT_VALID, "page does not have a valid value"),
        (b'{"errors":["one","two"]}', "one; two"),
        (
            b'{"errors":{"email":["is ugly","is long"],"score":"is wrong"}}',
            "email is ugly; email is long; score is wrong",
        ),
        (b'{"error":{"message":"no"}}', "no"),
        (b'{"message":"no"}', "no"),
        (
            b'{"error":"invalid_token","error_description":"It was revoked"}',
            "invalid_token: It was revoked",
        ),
        (b"plain words", "plain words"),
        (b'{"strange":1}', '{"strange":1}'),
        (None, ""),
        (b'{"error":"ada@example.com is bad"}', "<e-mail> is bad"),
        (b"<p>ada.l+x@example.co.uk</p>", "<p><e-mail></p>"),
        (
            b"GET /v1/end_users?email=ada%40example.com&page=1",
            "GET /v1/end_users?email=<e-mail>&page=1",
        ),
        (b"+1 (415) 555-0100 is bad", "<phone> is bad"),
        (b"phone_number/+14155550100", "phone_number/<phone>"),
        (b"4155550100 and %2B14155550100", "<phone> and <phone>"),
        (
            b"end user 64377 at 2018-01-02 23:03:41 -0800",
            "end user 64377 at 2018-01-02 23:03:41 -0800",
        ),
        (b"score 11 of 10", "score 11 of 10"),
    ],
)
def test_a_refusal_speaks_without_naming_a_person(body: bytes | None, detail: str) -> None:
    assert replies.detail(body) == detail


@given(st.text(min_size=1, max_size=9000))
def test_a_detail_is_short(text: str) -> None:
    assert len(replies.detail(text.encode("utf-8", "replace")).encode()) <= 2048


@given(st.binary(max_size=200))
def test_no_body_is_too_strange(body: bytes) -> None:
    replies.detail(body)
    replies.is_error(body)
    assert replies.reason(400, body)
    assert replies.oauth_error(400, body) == "status_400"


def test_a_taken_value_is_told_by_its_words() -> None:
    assert replies.taken(TAKEN)
    assert not replies.taken(NOT_FOUND)
    assert not replies.taken(None)


@pytest.mark.parametrize(
    ("body", "is_error"),
    [
        (TAKEN, True),
        (NOT_FOUND, True),
        (b"Email has already been taken", True),
        (b'{"errors":[],"id":7}', False),
        (b'{"id":7,"properties":{"error":"x"}}', False),
        (b'{"id":7,"text":"my name has already been taken"}', False),
        (b'[{"id":7,"text":"my name has already been taken"}]', False),
        (b'["Email has already been taken"]', True),
        (b'{"message":"done"}', False),
        (b"[]", False),
        (b"", False),
        (None, False),
    ],
)
def test_an_error_is_told_by_what_the_answer_is(body: bytes | None, *, is_error: bool) -> None:
    assert replies.is_error(body) == is_error


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b'{"error":"invalid_client","error_description":"Client is not known"}', "invalid_client"),
        (b'{"error":"invalid_grant"}', "invalid_grant"),
        (b'{"error":"ada@example.com"}', "status_401"),
        (b'{"error":["invalid_grant"]}', "status_401"),
        (b"<html>", "status_401"),
        (None, "status_401"),
    ],
)
def test_a_token_is_refused_for_one_of_the_standards_reasons(body: bytes | None, word: str) -> None:
    assert replies.oauth_error(401, body) == word


def test_an_error_that_is_nested_too_deeply_keeps_its_bytes() -> None:
    """It was answered all the same: the request is refused, and not in doubt."""
    body = b'{"errors":[' + b"[" * DEPTH + b"]" * DEPTH + b"]}"
    assert replies.message(body) is None
    assert replies.reason(422, body) == "validation"
    assert replies.detail(body).startswith('{"errors":[[')


@pytest.mark.parametrize("word", ["phone ", "email", "e", "1-", "a@", "+1 ", "%40"])
def test_a_long_refusal_is_read_in_linear_time(word: str) -> None:
    """It may quote what somebody has sent, and the loop waits meanwhile: else for hours."""
    body = json.dumps({"error": word * (5_000_000 // len(word))}).encode()
    assert conflicting_fields(409, body) == frozenset(IDENTITIES)
    assert replies.reason(422, body) == "validation"
    assert replies.detail(body)
