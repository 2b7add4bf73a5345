"""Dates as Segment and its browsers read them: the answers of node 20 under TZ=UTC decide."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sink.wootric.operations import UpsertEndUser
from stream.codec.event import Event
from stream.codec.js_date import parse_ms
from stream.codec.segment_time import as_seconds, read_iso_date_ms, read_time_ms
from stream.transform import Deliver, Rules, transform

CASES = Path(__file__).parents[2] / "cases"
CREATED_AT = json.loads((CASES / "created_at.json").read_text(encoding="utf-8"))
JAVASCRIPT_DATES = json.loads((CASES / "javascript_dates.json").read_text(encoding="utf-8"))

TIME_MS_MAX = 8_640_000_000_000_000
DATE_LIKE = st.text("0123456789-+:./TZ ()aApPmMjJnNgGuUtTcC\x00\u00a0", max_size=40)


@pytest.mark.parametrize("row", CREATED_AT, ids=lambda row: json.dumps(row["createdAt"]))
def test_created_at_is_what_segment_makes_of_it(row):
    event = Event(type="identify", user_id="u-1", traits={"createdAt": row["createdAt"]})

    outcome = transform(event, event_id="m-1", rules=Rules())

    assert isinstance(outcome, Deliver)
    assert isinstance(outcome.operation, UpsertEndUser)
    assert outcome.operation.external_created_at == row["seconds"]
    assert outcome.notes == ((row["note"],) if row["note"] else ())
    assert outcome.operation.properties == {}


def test_nan_is_as_absent_as_javascript_takes_it_for():
    event = Event(type="identify", user_id="u-1", traits={"created": float("nan"), "createdAt": 1})
    outcome = transform(event, event_id="m-1", rules=Rules())
    assert outcome == Deliver(
        operation=UpsertEndUser(external_id="u-1", external_created_at=1), lane="u-1"
    )


@pytest.mark.parametrize(("text", "time_ms"), JAVASCRIPT_DATES, ids=ascii)
def test_a_text_is_the_date_that_node_reads(text, time_ms):
    assert parse_ms(text) == time_ms


@given(DATE_LIKE | st.text())
def test_any_text_is_a_date_in_range_or_none(text):
    time_ms = parse_ms(text)
    assert time_ms is None or abs(time_ms) <= TIME_MS_MAX


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | DATE_LIKE, st.lists))
def test_any_value_is_a_time_in_range_or_none(value):
    time_ms = read_time_ms(value)
    assert time_ms is None or abs(time_ms) <= TIME_MS_MAX


@given(st.integers(-(10**12), 10**12))
def test_a_time_written_as_iso_is_read_back(time_ms):
    seconds, millisecond = divmod(time_ms, 1000)
    minutes, second = divmod(seconds, 60)
    text = f"1970-01-01T00:00:{second:02d}.{millisecond:03d}Z"
    assert read_time_ms(text) == time_ms - minutes * 60_000


@pytest.mark.parametrize("value", [10**400, -(10**400), float("nan"), float("-inf"), [10**5000]])
def test_numbers_beyond_all_dates_are_unreadable(value):
    assert read_time_ms(value) is None


def test_a_text_longer_than_any_date_is_not_looked_at():
    assert read_time_ms("2018/08/03 (" + "x" * 200 + ")") == 1_533_254_400_000
    assert read_time_ms("2018/08/03 (" + "x" * 300 + ")") is None


@pytest.mark.parametrize(
    ("time_ms", "seconds"), [(499, 0), (500, 1), (1500, 2), (2500, 3), (-500, 0), (-501, -1)]
)
def test_half_a_second_counts_up_on_both_sides_of_1970(time_ms, seconds):
    assert as_seconds(time_ms) == seconds


@pytest.mark.parametrize(
    ("text", "time_ms"),
    [
        ("2015-01-01", 1_420_070_400_000),
        ("2015-01-01T00:00:00.250+01:00", 1_420_066_800_250),
        ("2015-01", None),
        ("20150101", None),
        ("2015-01-01 and on", None),
        ("2015-01-01\n", None),
    ],
)
def test_a_property_is_a_date_only_with_year_month_and_day(text, time_ms):
    assert read_iso_date_ms(text) == time_ms
