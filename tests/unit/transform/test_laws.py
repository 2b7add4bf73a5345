"""What holds of the mapping for every event that JSON can describe."""

import json
from urllib.parse import parse_qsl, quote, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sink.wootric.operations import PageView, from_fields, to_fields
from sink.wootric.requests import pixel_request_url
from stream.codec.event import Event, event_from_json
from stream.errors import TransformError
from stream.transform import Deliver, Rules, Skip, transform
from stream.transform.explain import preview

NAMES = "email Email createdAt created phone id a.b $c d\0 e[0] x_date url page traits score 社員id"
KEYS = st.text(max_size=8) | st.sampled_from(
    [*NAMES.split(" "), "feedbackScore", "text", "ip", "Wootric", "All", "eventType", ""]
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["2018-08-03", "a@b.co", " a@b.co\n", " ", "https://example.com/"])
    | st.sampled_from(["create response", 7, 2**70])
)
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5)
)
OBJECTS = st.dictionaries(KEYS, JSON, max_size=6)
RULES = st.builds(Rules, amount_suffix=st.booleans(), delete_users=st.booleans())


def often(*usual: st.SearchStrategy) -> st.SearchStrategy:
    """Mostly what is expected, sometimes anything, so that the depths are reached."""
    return st.one_of(*usual, JSON)


SURVEY = st.sampled_from(["create response", "Create Decline", "other"]).map(
    lambda event_type: {"Wootric": {"eventType": event_type}}
)
CONTEXT = st.fixed_dictionaries(
    {}, optional={"traits": OBJECTS, "page": OBJECTS, "ip": JSON, "request_ip": JSON}
)
EXTRA = st.dictionaries(st.sampled_from(["userId", "email", "E-Mail", "request_ip"]), JSON)
EVENTS = st.builds(
    Event,
    type=st.sampled_from(["identify", "page", "track", "delete"]) | st.none() | st.text(max_size=4),
    user_id=st.none() | st.sampled_from(["u-1", "a@b.co", ""]) | st.text(max_size=8),
    anonymous_id=st.none() | st.text(max_size=8),
    timestamp_ms=st.none() | st.integers(-(10**13), 10**13),
    traits=often(OBJECTS),
    properties=often(OBJECTS, st.just({"url": "https://example.com/", "score": 7})),
    context=often(CONTEXT),
    integrations=often(SURVEY, st.just({})),
    extra=st.just({}) | EXTRA,
)


@given(EVENTS, RULES)
def test_every_event_has_an_outcome_and_always_the_same(event, rules):
    def outcome() -> Deliver | Skip | str:
        try:
            return transform(event, event_id="m-1", rules=rules)
        except TransformError as error:
            return str(error)

    assert outcome() == outcome()


@given(EVENTS, RULES)
def test_every_delivery_can_be_written_down_and_has_a_lane(event, rules):
    try:
        outcome = transform(event, event_id="m-1", rules=rules)
    except TransformError:
        return
    if isinstance(outcome, Deliver):
        document = json.loads(json.dumps(to_fields(outcome.operation), allow_nan=False))
        assert from_fields(document) == outcome.operation
        assert outcome.lane


@given(OBJECTS, RULES)
def test_properties_are_flat_and_their_names_are_allowed(traits, rules):
    event = Event(type="identify", user_id="u-1", traits=traits)
    try:
        outcome = transform(event, event_id="m-1", rules=rules)
    except TransformError:
        return
    assert isinstance(outcome, Deliver)
    for name, value in to_fields(outcome.operation).get("properties", {}).items():
        assert name
        assert not set(name) & set("$.\0[]")
        assert type(value) in {str, int, float}


@pytest.mark.parametrize(
    ("number", "property_"),
    [
        (2**63 - 1, 2**63 - 1),
        (2**63, "9223372036854775808"),
        (2.0**53, 2.0**53),
        (2.0**53 - 1, 2**53 - 1),
        (1e300, 1e300),
        (-0.0, 0),
    ],
)
def test_a_number_is_an_integer_where_it_is_exact(number, property_):
    event = Event(type="identify", user_id="u-1", traits={"n": number})
    outcome = transform(event, event_id="m-1", rules=Rules())
    assert isinstance(outcome, Deliver)
    written = to_fields(outcome.operation)["properties"]["n"]
    assert (written, type(written)) == (property_, type(property_))


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 10**400])
def test_a_number_that_json_cannot_hold_is_left_out(number):
    event = Event(type="identify", user_id="u-1", traits={"n": number, "list": [1, number]})
    outcome = transform(event, event_id="m-1", rules=Rules())
    assert isinstance(outcome, Deliver)
    assert to_fields(outcome.operation)["properties"] == {"list": "1"}


def test_a_survey_has_the_first_of_the_events_times_that_is_known():
    names = ("timestamp_ms", "original_timestamp_ms", "received_at_ms", "sent_at_ms")
    times_ms = {name: (1 + number) * 1000 for number, name in enumerate(names)}
    for name in names:
        event = Event(
            type="track",
            user_id="u-1",
            integrations={"Wootric": {"eventType": "create decline"}},
            **times_ms,
        )
        outcome = transform(event, event_id="m-1", rules=Rules())
        assert isinstance(outcome, Deliver)
        assert to_fields(outcome.operation)["created_at"] * 1000 == times_ms.pop(name)


@given(EVENTS)
@example(Event(type="page", user_id="\ud800", properties={"url": "\udfff", "a": "\ud800"}))
@example(Event(type="page", user_id="\ud800@b.co", properties={"url": "x"}))
def test_a_preview_has_the_five_keys_and_is_json(event):
    line = preview(
        event,
        event_id="m-1",
        rules=Rules(),
        account_token=None,
        pixel_url="https://pixel.example/pixel.gif",
    )
    assert list(line) == ["message_id", "outcome", "reason", "operation", "request"]
    assert line["outcome"] in {"deliver", "skip", "reject"}
    assert (line["outcome"] == "deliver") == (line["reason"] is None)
    json.dumps(line, allow_nan=False)


@given(st.integers(1, 31), st.booleans())
def test_traits_may_be_nested_31_levels_deep(depth, lists):
    value: object = [{}, "leaf"] if lists else "leaf"
    for _ in range(depth - 1 - lists):
        value = {"k": value}
    event = Event(type="identify", user_id="u-1", traits={"deep": value})
    assert isinstance(transform(event, event_id="m-1", rules=Rules()), Deliver)


@pytest.mark.parametrize("wrap", [lambda value: {"k": value}, lambda value: [value]])
def test_nesting_without_end_is_refused_not_a_crash(wrap):
    value: object = {}
    for _ in range(5000):
        value = wrap(value)
    event = Event(type="identify", user_id="u-1", traits={"deep": value})
    with pytest.raises(TransformError, match="too_deep"):
        transform(event, event_id="m-1", rules=Rules())


def test_the_error_does_not_quote_the_person():
    event = Event(type="identify", user_id="u-1", traits={"email": ["nina@example.com"]})
    with pytest.raises(TransformError) as caught:
        transform(event, event_id="m-1", rules=Rules())
    assert "nina" not in str(caught.value)


@pytest.mark.parametrize(
    ("user_id", "is_address"),
    [
        ("a@b.c", True),
        ("@a@b.c", True),
        ("a@@.c", True),
        ("a\n@b.c", False),
        ("x\na@b.c", True),
        ("a@b.", False),
        ("a@.c", False),
        ("@b.c", False),
        ("a.b@c", False),
        ("a@b\u2028.c", False),
    ],
)
def test_a_user_id_is_an_address_by_segments_pattern(user_id, is_address):
    event = Event(type="identify", user_id=user_id)
    outcome = transform(event, event_id="m-1", rules=Rules())
    assert isinstance(outcome, Deliver)
    assert ("email" in to_fields(outcome.operation)) == is_address


@given(st.text(), st.text())
@example("\ud800", "\ud801")
def test_the_pixels_random_belongs_to_the_event(first, second):
    def random_of(event_id: str) -> str:
        event = Event(type="page", user_id="u-1", properties={"url": "https://example.com/"})
        outcome = transform(event, event_id=event_id, rules=Rules())
        assert isinstance(outcome, Deliver)
        assert isinstance(outcome.operation, PageView)
        return outcome.operation.random

    assert 0 <= float(random_of(first)) < 1
    assert (random_of(first) == random_of(second)) == (first == second)


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(alphabet="a&=+%# ?ä"))
def test_the_pixels_address_is_read_back_as_it_was_meant(email, url):
    page = PageView(url=url, random="0.5", email=email, created_at=-1)
    address = pixel_request_url("https://p.example/x.gif?v=1", account_token="NPS-1", page=page)
    assert parse_qsl(urlsplit(address).query, keep_blank_values=True) == [
        ("v", "1"),
        ("account_token", "NPS-1"),
        ("email", email),
        ("created_at", "-1"),
        ("url", url),
        ("random", "0.5"),
    ]


@given(st.text() | st.text(st.characters(max_codepoint=127)))
@example("".join(map(chr, range(128))))
def test_the_pixels_values_are_encoded_as_by_the_library(url):
    page = PageView(url=url, random="0.5")
    address = pixel_request_url("https://p.example/x.gif", account_token=None, page=page)
    encoded = quote(url, safe="-_.!~*'()", errors="replace")
    assert address == f"https://p.example/x.gif?url={encoded}&random=0.5"


def test_a_numeric_user_id_is_the_text_of_its_digits():
    event = event_from_json({"type": "identify", "userId": 42})
    outcome = transform(event, event_id="m-1", rules=Rules())
    assert isinstance(outcome, Deliver)
    assert outcome.lane == "42"
