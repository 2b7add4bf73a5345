"""What has to be sent for a profile."""

from hypothesis import given
from hypothesis import strategies as st

from sink.delivery import EndUser
from sink.wootric.operations import UpsertEndUser
from sink.wootric.requests import INTEGER_SUFFIXES, create_form, diff, form_text, merge

KNOWN = EndUser(
    id=1, email="a@b.co", external_id="u", properties={"plan": "pro", "seats_amount": 3}
)
KEYS = st.sampled_from(["plan", "seats_amount", "joined_date", "city"])
VALUES = st.one_of(st.text(max_size=3), st.integers(), st.floats(-9, 9))
PROPERTIES = st.dictionaries(KEYS, VALUES)
HELD = PROPERTIES.map(
    lambda held: {
        name: 7 if name.endswith(INTEGER_SUFFIXES) and not isinstance(value, int) else value
        for name, value in held.items()
    }
)
"""What Wootric holds: under some names only integers."""


def test_nothing_is_sent_for_what_is_held() -> None:
    wanted = UpsertEndUser(email="a@b.co", external_id="u", properties={"plan": "pro"})
    assert diff(KNOWN, wanted) == []


def test_only_head_fields_that_differ_are_sent() -> None:
    wanted = UpsertEndUser(email="new@b.co", external_id="u", external_created_at=5)
    assert diff(KNOWN, wanted) == [("email", "new@b.co"), ("external_created_at", "5")]


def test_one_property_that_differs_sends_all_of_them() -> None:
    """So that it is right whether Wootric merges or replaces."""
    wanted = UpsertEndUser(properties={"plan": "free", "city": "Kyiv"})
    assert dict(diff(KNOWN, wanted)) == {
        "properties[plan]": "free",
        "properties[seats_amount]": "3",
        "properties[city]": "Kyiv",
    }


def test_types_do_not_count_where_the_text_is_the_same() -> None:
    assert diff(KNOWN, UpsertEndUser(properties={"seats_amount": "3"})) == []
    assert diff(KNOWN, UpsertEndUser(properties={"seats_amount": 3.0})) == []


def test_a_new_end_user_is_sent_whole() -> None:
    wanted = UpsertEndUser(email="a@b.co", phone_number="+1", properties={"n_amount": 2})
    assert create_form(wanted) == [
        ("email", "a@b.co"),
        ("phone_number", "+1"),
        ("properties[n_amount]", "2"),
    ]


def test_numbers_are_written_as_javascript_does() -> None:
    assert [form_text(value) for value in (3, 3.0, 3.5, "3.0", -2.0)] == [
        "3",
        "3",
        "3.5",
        "3.0",
        "-2",
    ]


@given(PROPERTIES, PROPERTIES)
def test_after_the_change_nothing_is_left_to_send(held: dict, wanted: dict) -> None:
    known = EndUser(id=1, properties=held)
    operation = UpsertEndUser(email="a@b.co", properties=wanted)
    assert diff(merge(known, operation), operation) == []


@given(HELD, PROPERTIES)
def test_merging_and_replacing_come_to_the_same(held: dict, wanted: dict) -> None:
    form = dict(diff(EndUser(id=1, properties=held), UpsertEndUser(properties=wanted)))
    sent = {name[11:-1]: text for name, text in form.items()}
    old = {key: form_text(value) for key, value in held.items()}
    new = {key: form_text(value) for key, value in wanted.items()}
    merging, replacing = {**old, **sent}, sent if form else old
    assert merging == replacing == {**old, **new}
