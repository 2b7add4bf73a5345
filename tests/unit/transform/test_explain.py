"""What `transform --explain` says, compared with what the mapping does."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import example, given
from msgspec.structs import replace
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
    attribute = ATTRIBUTES.get(head, head)
    if not rest and not hasattr(event, attribute):
        return replace(event, extra={**event.extra, head: None}), event.extra.get(head)
    if not rest:
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
        assert fallback is None or str(fallback[1]).strip() == str(poorer[1]).strip()


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
        "email": "no email in traits or context.traits, and no userId that looks like an e-mail",
        "phone_number": "no phone in traits or context.traits",
        "external_created_at": "traits.createdAt cannot be read as a time",
        "traits.phone": "e-mail, phone, creation and ids are not properties",
        "traits.createdAt": "e-mail, phone, creation and ids are not properties",
        "traits.gone": "null",
        "traits.tags": "an empty list",
        "traits.when": "overwritten by traits.when_date",
        "traits.o": "an empty object",
    }


SURVEY = {"type": "track", "integrations": {"Wootric": {"eventType": "create response"}}}


@pytest.mark.parametrize(
    ("event", "name", "origin"),
    [
        (
            {"type": "identify", "userId": "u", "context": {"traits": {"email": "a@b.co"}}},
            "email",
            ("context.traits.email", "as it is"),
        ),
        (
            {"type": "identify", "userId": "u", "context": {"traits": {"plan": "pro"}}},
            "properties.plan",
            ("context.traits.plan", "as it is"),
        ),
        (
            {**SURVEY, "anonymousId": "a", "properties": {"email": "x@y.zz", "score": 9}},
            "email",
            ("properties.email", "as it is"),
        ),
        (
            {"type": "page", "userId": "u", "properties": {"url": "https://a.b/"}, "context": []},
            "url",
            ("properties.url", "as it is"),
        ),
        (
            {"type": "delete", "userId": "5678", "email": "peter@example.com"},
            "email",
            ("email", "as it is"),
        ),
        (
            {**SURVEY, "userId": "u", "properties": {"平均score": 3, "score": 9}},
            "score",
            ("properties.score", "as it is"),
        ),
        (
            {"type": "identify", "userId": "u", "traits": {"社員id": "e-7", "id": "u"}},
            "properties.社員id",
            ("traits.社員id", "as it is"),
        ),
        (
            {"type": "identify", "userId": "u", "traits": {"email": " a@b.co\n"}},
            "email",
            ("traits.email", "blanks around it removed"),
        ),
        (
            {"type": "identify", "userId": "u", "traits": {"phone": " +1 "}},
            "phone_number",
            ("traits.phone", "blanks around it removed"),
        ),
        (
            {"type": "identify", "userId": " a@b.co "},
            "email",
            ("userId", "looks like an e-mail, blanks around it removed"),
        ),
        (
            {
                **SURVEY,
                "userId": "u",
                "properties": {"score": 9},
                "context": {"request_ip": "8.8.8.8"},
            },
            "ip_address",
            ("context.request_ip", "as it is"),
        ),
    ],
)
def test_where_a_field_was_found_is_told(
    event: dict[str, Any], name: str, origin: tuple[str, str]
) -> None:
    rules = Rules(delete_users=True)
    (shown,) = preview_lines([json.dumps(event).encode()], explained=True)
    operation = operation_of(event_from_json(event), rules)
    assert operation is not None
    found = explain(event_from_json(event), operation, rules)
    assert tuple(found.fields[name].values()) == origin
    if event["type"] != "delete":
        assert json.loads(shown)["explain"]["fields"][name] == found.fields[name]


IGNORED = "ignored, as by Segment: only the key Wootric, in this spelling, is read"


@pytest.mark.parametrize(
    ("event", "path", "why"),
    [
        (
            {"traits": {"userId": "u", "anonymous_id": "a"}},
            "traits.anonymous_id",
            "e-mail, phone, creation and ids are not properties",
        ),
        (
            {"traits": {"plan": "pro"}, "context": {"traits": {"plan": "free"}}},
            "context.traits.plan",
            "traits.plan counts instead",
        ),
        (
            {"traits": {"email": "a@b.co"}, "context": {"traits": {"email": "c@d.ee"}}},
            "context.traits.email",
            "traits.email counts instead",
        ),
        (
            {"traits": {"email": "a@b.co", "Email": "c@d.ee"}},
            "traits.Email",
            "e-mail, phone, creation and ids are not properties",
        ),
        ({"integrations": {"WOOTRIC": False}}, "integrations.WOOTRIC", IGNORED),
    ],
)
def test_what_does_not_count_is_told(event: dict[str, Any], path: str, why: str) -> None:
    document = {"type": "identify", "userId": "u", **event}
    (shown,) = preview_lines([json.dumps(document).encode()], explained=True)
    assert json.loads(shown)["explain"]["left_out"][path] == why


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (
            {"type": "identify", "integrations": {"All": False, "wootric": True}},
            "integrations.All is false; integrations.wootric: " + IGNORED,
        ),
        (
            {"type": "track", "integrations": {"WOOTRIC": {"eventType": "create response"}}},
            "integrations.Wootric.eventType requests neither a response nor a decline; "
            "integrations.WOOTRIC: " + IGNORED,
        ),
        (
            {"type": "page", "properties": [], "context": []},
            "it has neither properties.url nor context.page.url",
        ),
    ],
)
def test_why_an_event_is_skipped_is_told(event: dict[str, Any], why: str) -> None:
    (shown,) = preview_lines([json.dumps({"userId": "u", **event}).encode()], explained=True)
    assert json.loads(shown)["explain"] == {"skip": why}


def test_the_lines_of_the_command_carry_the_explanation() -> None:
    line = b'{"type":"identify","userId":"u","integrations":{"ALL":false}}'
    (shown,) = preview_lines([line], explained=True)
    assert json.loads(shown)["explain"] == {"skip": "integrations.ALL is false"}
