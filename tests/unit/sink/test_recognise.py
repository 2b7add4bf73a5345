"""Which listed survey an operation would have made."""

import pytest

from sink.wootric.matching import candidates, is_effect_of, shows_all
from sink.wootric.operations import CreateDecline, CreateResponse

RESPONSE = CreateResponse(score=9, text="ok", created_at=1514963021, origin_url="http://x")
ITEM = {
    "id": 5,
    "created_at": "2018-01-02 23:03:41 -0800",
    "score": 9,
    "text": "ok",
    "origin_url": "http://x",
}


def test_the_effect_is_recognised() -> None:
    assert is_effect_of(ITEM, RESPONSE)
    assert is_effect_of({**ITEM, "created_at": 1514963021, "score": "9"}, RESPONSE)


@pytest.mark.parametrize(
    "other",
    [
        {"created_at": "2018-01-02 23:03:42 -0800"},
        {"created_at": "garbage"},
        {"score": 8},
        {"score": None},
        {"text": "no"},
        {"text": None},
        {"origin_url": "http://y"},
    ],
)
def test_one_field_that_differs_is_enough(other: dict) -> None:
    assert not is_effect_of({**ITEM, **other}, RESPONSE)


def test_an_empty_text_is_no_text() -> None:
    without = CreateResponse(score=9, created_at=1514963021, origin_url="http://x")
    assert is_effect_of({**ITEM, "text": None}, without)
    assert is_effect_of({**ITEM, "text": ""}, without)


def test_a_field_that_is_not_shown_does_not_count() -> None:
    decline = CreateDecline(created_at=1514963021, origin_url="http://x")
    listed = {"id": 5, "created_at": "2018-01-02 23:03:41 -0800"}
    assert is_effect_of(listed, decline)
    assert not shows_all(listed, decline)
    assert shows_all(ITEM, RESPONSE)


def test_what_another_receipt_names_is_left_out() -> None:
    listed = [ITEM, {**ITEM, "id": 6}]
    found = candidates(listed, RESPONSE, claimed=frozenset({5}))
    assert [item["id"] for item in found] == [6]
