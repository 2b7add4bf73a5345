"""Every row of the table: what an HTTP exchange proves."""

import pytest

from sink.classify import classify
from sink.models import HttpResponse, LeaseExpired, NoResponse, NotSent

WRITES = [
    (200, {}, "executed"),
    (201, {}, "executed"),
    (202, {}, "executed"),
    (204, {}, "executed"),
    (301, {}, "forbidden"),
    (302, {}, "forbidden"),
    (304, {}, "forbidden"),
    (307, {}, "forbidden"),
    (400, {}, "refused"),
    (401, {}, "unauthorized"),
    (402, {}, "forbidden"),
    (403, {}, "forbidden"),
    (404, {}, "refused"),
    (405, {}, "refused"),
    (406, {}, "refused"),
    (407, {}, "forbidden"),
    (408, {}, "ambiguous"),
    (409, {}, "refused"),
    (410, {}, "refused"),
    (413, {}, "refused"),
    (414, {}, "refused"),
    (415, {}, "refused"),
    (418, {}, "refused"),
    (422, {}, "refused"),
    (423, {}, "refused"),
    (425, {}, "not_executed"),
    (429, {}, "throttled"),
    (429, {"Retry-After": "1"}, "throttled"),
    (431, {}, "refused"),
    (499, {}, "ambiguous"),
    (500, {}, "ambiguous"),
    (501, {}, "ambiguous"),
    (502, {}, "ambiguous"),
    (503, {}, "ambiguous"),
    (503, {"Retry-After": "1"}, "throttled"),
    (504, {}, "ambiguous"),
    (505, {}, "ambiguous"),
    (520, {}, "ambiguous"),
    (599, {}, "ambiguous"),
    (101, {}, "ambiguous"),
    (600, {}, "ambiguous"),
]


@pytest.mark.parametrize(("status", "headers", "word"), WRITES)
def test_a_write_with_a_reply(status: int, headers: dict[str, str], word: str) -> None:
    assert classify(HttpResponse(status, headers, b""), writes=True).label == word


@pytest.mark.parametrize(("status", "headers", "word"), WRITES)
def test_a_look_up_is_never_in_doubt(status: int, headers: dict[str, str], word: str) -> None:
    expected = "not_executed" if word == "ambiguous" else word
    assert classify(HttpResponse(status, headers, b""), writes=False).label == expected


@pytest.mark.parametrize(("status", "headers", "word"), WRITES)
def test_a_body_that_broke_off_changes_nothing_for_a_write(
    status: int, headers: dict[str, str], word: str
) -> None:
    assert classify(HttpResponse(status, headers, None), writes=True).label == word


def test_a_look_up_whose_answer_broke_off_is_asked_again() -> None:
    assert classify(HttpResponse(200, {}, None), writes=False).label == "not_executed"


def test_without_bytes_nothing_happened() -> None:
    assert classify(NotSent("ConnectionRefusedError"), writes=True).label == "not_executed"
    assert classify(LeaseExpired(), writes=True).label == "withheld"


def test_with_bytes_and_no_answer_a_write_is_in_doubt() -> None:
    assert classify(NoResponse("TimeoutError"), writes=True).label == "ambiguous"
    assert classify(NoResponse("TimeoutError"), writes=False).label == "not_executed"


@pytest.mark.parametrize("status", [401, 402, 403, 404])
def test_a_host_may_count_more_as_configuration(status: int) -> None:
    forbidden = frozenset({401, 402, 403, 404})
    assert (
        classify(HttpResponse(status, {}, b""), writes=True, forbidden=forbidden).label
        == "forbidden"
    )


@pytest.mark.parametrize("status", [302, 407])
def test_what_stands_before_the_api_is_not_held_against_the_operation(status: int) -> None:
    verdict = classify(HttpResponse(status, {}, b""), writes=True)
    assert not verdict.personal
