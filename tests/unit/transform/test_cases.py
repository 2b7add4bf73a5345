"""The mapping, case by case: the tables in tests/cases decide."""

import json
from pathlib import Path
from typing import Any

import pytest

from stream.codec.event import event_from_json
from stream.transform import Deliver, Rules, transform
from stream.transform.explain import preview

CASES = Path(__file__).parents[2] / "cases"
ABSENT = {"reason": None, "operation": None, "request": None}


def load(name: str) -> list[Any]:
    return json.loads((CASES / name).read_text(encoding="utf-8"))


def line_of(case: dict[str, Any]) -> dict[str, Any]:
    return preview(
        event_from_json(case["event"]),
        event_id=case["event"].get("messageId", "an-event"),
        rules=Rules(**case.get("rules", {})),
        account_token="NPS-4aeb53c1",
        pixel_url="https://pixel.example/pixel.gif",
    )


@pytest.mark.parametrize("case", load("transform.json"), ids=lambda case: case["name"])
def test_an_event_becomes_what_the_case_says(case):
    expected = dict(case["expected"])
    notes, lane = expected.pop("notes", None), expected.pop("lane", None)

    assert line_of(case) == {"message_id": case["event"].get("messageId")} | ABSENT | expected

    if notes is not None or lane is not None:
        outcome = transform(
            event_from_json(case["event"]), event_id="m-1", rules=Rules(**case.get("rules", {}))
        )
        assert lane is None or (isinstance(outcome, Deliver) and outcome.lane == lane)
        assert notes is None or list(outcome.notes) == notes


@pytest.mark.parametrize("case", load("segment_samples.json"), ids=lambda case: case["file"])
def test_a_sample_of_segments_documentation_has_its_outcome(case):
    line = line_of(case)
    del line["message_id"]
    assert line == ABSENT | case["expected"]


PERSON = {"type": "identify", "messageId": "m-1", "userId": "u-1"}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (lambda text: {"userId": text}, "invalid_user_id"),
        (lambda text: {"traits": {"email": text}}, "invalid_email"),
        (lambda text: {"traits": {"phone": text}}, "invalid_phone"),
    ],
)
def test_what_names_a_person_has_an_end(fields, reason):
    """The ledger holds it, and what that did not take would hold up everything."""
    for text, expected in (("x" * 1_000, None), ("x" * 1_001, reason)):
        assert line_of({"event": PERSON | fields(text)})["reason"] == expected


@pytest.mark.parametrize(
    "traits",
    [
        {"k" * 16_000: [{}, *range(7_000)]},
        {"a": {"k" * 10_000: {"b": [{}, *range(5_000)]}}},
        {"numbers": [1e308] * 5_000},
        {f"trait{number}": "x" * 1_000 for number in range(300)},
    ],
    ids=["a long name", "a long name within", "long numbers", "many"],
)
def test_properties_do_not_grow_beyond_all_bounds(traits):
    """Of 32 KB, which is what Segment lets an event have, 120 MB were made."""
    line = line_of({"event": PERSON | {"traits": traits}})
    assert (line["outcome"], line["reason"]) == ("reject", "properties_too_large")
