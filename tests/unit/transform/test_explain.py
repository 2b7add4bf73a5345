"""What `transform --explain` says, compared with what the mapping does."""

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import example, given
from test_cases import load
from test_laws import EVENTS, RULES

from sink.delivery import Operation
from sink.wootric.operations import fields_of, to_fields
from stream.codec.event import TEXTS, TIMES, Event, event_from_json
from stream.codec.segment_time import how_read
from stream.errors import TransformError
from stream.operations.dry_run import preview_lines
from stream.transform import Deliver, Rules, transform
from stream.transform.explain import explain, preview

CASES = [*load("transform.json"), *load("segment_samples.json")]
ATTRIBUTES = {**TEXTS, **TIMES}


def operation_of(event: Event, rules: Rules) -> Operation | None:
    try:
        outcome = transform(event, event_id="m-1", rules=rules)
    except TransformError:
        return None
    return outcome.operation if isinstance(outcome, Deliver) else None


def flat(operation: Operation) -> dict[str, Any]:
    """The operation's fields, each property as a field."""
    document = to_fields(operation)
    del document["type"]
    properties = document.pop("properties", {})
    return document | {f"properties.{name}": value for name, value in properties.items()}


def places(value: Any, path: str) -> Iterator[list[str | int]]:
    """The ways in which a path can be walked: keys may hold dots themselves."""
    if not path:
        yield []
    keys = value if isinstance(value, dict) else range(len(value) if isinstance(value, list) else 0)
    for key in keys:
        for end in (f"{key}.", f"{key}"):
            if path.startswith(end) and (end.endswith(".") or path == end):
                yield from ([key, *rest] for rest in places(value[key], path.removeprefix(end)))


def without(event: Event, path: str) -> tuple[Event, Any] | None:
    """The event without what a path names, and what that was; None where it is not clear."""
    head, _, rest = path.partition(".")
    if not rest:
        attribute = ATTRIBUTES.get(head, head)
        return replace(event, **{attribute: None}), getattr(event, attribute)
    document = json.loads(json.dumps(getattr(event, head)))
    ways = list(places(document, rest))
    assert ways, path
    if len(ways) > 1:
        return None
    *steps, last = ways[0]
    *_, holder = accumulate(steps, lambda value, step: value[step], initial=document)
    gone, holder[last] = holder[last], None
    return replace(event, **{head: document}), gone


def check(event: Event, rules: Rules) -> None:
    """Every field has an origin, and changes or falls back when that is taken away."""
    operation = operation_of(event, rules)
    if operation is None:
        return
    found, values = explain(event, operation, rules), flat(operation)
    assert found.fields.keys() == values.keys()
    assert set(fields_of(operation)) - {"properties"} <= values.keys() | found.left_out.keys()
    assert not found.left_out.keys() & values.keys()
    for name, origin in found.fields.items():
        if origin["from"] == "the record's place or bytes":
            continue
        poorer = without(event, origin["from"])
        if poorer is None or name == "random":
            continue
        other = operation_of(poorer[0], rules)
        if other is None or flat(other).get(name) != values[name]:
            continue
        second = explain(poorer[0], other, rules).fields[name]["from"]
        assert second != origin["from"]
        fallback = without(poorer[0], second)
        assert fallback is None or str(fallback[1]) == str(poorer[1])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.get("name") or case["file"])
def test_every_field_of_every_case_has_the_origin_that_is_explained(case: dict[str, Any]) -> None:
    check(event_from_json(case["event"]), Rules(**case.get("rules", {})))


@given(EVENTS, RULES)
@example(Event(type="page", user_id="a@b.co", properties={"URL": "u", "url": "v"}), Rules())
@example(
    Event(type="identify", user_id="a@b.co", traits={"Email": "", "email": "x", "x": {"y": 1}}),
    Rules(amount_suffix=True),
)
def test_every_field_of_any_event_has_the_origin_that_is_explained(
    event: Event, rules: Rules
) -> None:
    check(event, rules)


@given(EVENTS, RULES)
def test_an_explained_preview_is_the_preview_and_one_key_more(event: Event, rules: Rules) -> None:
    arguments = {"event_id": "m", "rules": rules, "account_token": None, "pixel_url": "https://p"}
    line = preview(event, **arguments, explained=True)
    told = line.pop("explain")
    assert line == preview(event, **arguments)
    outcome = line["outcome"]
    assert set(told) == ({"fields", "left_out"} if outcome == "deliver" else {outcome})
    json.dumps(told, allow_nan=False)


@pytest.mark.parametrize(
    ("created_at", "words"),
    [
        ("1420099200500", "text with 13 digits, read as milliseconds"),
        ("1420099200.9", "text with 10 digits, read as seconds"),
        ("2018-08-03T15:28:46.493Z", "ISO date or time"),
        ("Wed, 09 Aug 1995", "text, read as a browser reads it, in UTC"),
        (1420099200, "number, read as seconds"),
        (1420099200500, "number, read as milliseconds"),
        (True, "true, read as one millisecond"),
        (["2018-08-03"], "list, read as its text"),
    ],
)
def test_it_is_told_how_a_time_was_read(created_at: object, words: str) -> None:
    assert how_read(created_at) == words


def test_what_is_left_out_is_told_with_its_reason() -> None:
    traits = {"phone": "", "gone": None, "tags": [], "when": "2018-08-03", "when_date": 7, "o": {}}
    event = Event(type="identify", user_id="u", traits=traits | {"createdAt": "garbage"})
    operation = operation_of(event, Rules())
    assert operation is not None
    found = asdict(explain(event, operation, Rules()))
    assert found["left_out"] == {
        "email": "no traits.email, and no userId that looks like an e-mail",
        "phone_number": "no traits.phone",
        "external_created_at": "traits.createdAt cannot be read as a time",
        "traits.phone": "e-mail, phone, creation and id are not properties",
        "traits.createdAt": "e-mail, phone, creation and id are not properties",
        "traits.gone": "null",
        "traits.tags": "an empty list",
        "traits.when": "overwritten by traits.when_date",
        "traits.o": "an empty object",
    }


def test_the_lines_of_the_command_carry_the_explanation() -> None:
    line = b'{"type":"identify","userId":"u","integrations":{"ALL":false}}'
    (shown,) = preview_lines([line], explained=True)
    assert json.loads(shown)["explain"] == {"skip": "integrations.ALL is false"}
