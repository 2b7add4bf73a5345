"""The pace of requests, on a clock of the test's own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sink.rate import RateGate


def test_without_a_pace_nobody_waits() -> None:
    gate = RateGate()
    assert [gate.reserve(0.0, patience_s=0) for _ in range(1000)] == [0.0] * 1000
    assert gate.places(0.0, at_most=64) == 64


def test_places_are_taken_in_advance_and_in_turn() -> None:
    gate = RateGate(requests_per_minute=60)
    assert [gate.reserve(0.0, patience_s=9) for _ in range(3)] == pytest.approx([0, 1, 2])


def test_who_is_not_patient_takes_no_place() -> None:
    gate = RateGate(requests_per_minute=60)
    gate.reserve(0.0, patience_s=0)
    assert gate.reserve(0.0, patience_s=0.5) == pytest.approx(1)
    assert gate.reserve(1.0, patience_s=0) == pytest.approx(0)


def test_places_shrink_with_use_and_come_back() -> None:
    gate = RateGate(requests_per_minute=120)
    assert gate.places(0.0, at_most=64) == 2
    gate.reserve(0.0, patience_s=0)
    assert gate.places(0.0, at_most=64) == 1
    assert gate.places(60.0, at_most=64) == 2
    assert gate.places(60.0, at_most=1) == 1


def test_a_shut_gate_has_no_places() -> None:
    gate = RateGate()
    gate.close_for(5, now=10.0)
    assert gate.places(14.9, at_most=64) == 0
    assert gate.reserve(12.0, patience_s=0) == pytest.approx(3)
    assert gate.places(15.0, at_most=64) == 64


def test_a_shorter_wait_does_not_open_the_gate_earlier() -> None:
    gate = RateGate()
    gate.close_for(5, now=0.0)
    gate.close_for(1, now=0.0)
    assert gate.closed_s(0.0) == 5


def test_strikes_are_counted_in_a_row() -> None:
    gate = RateGate()
    gate.close_for(1, now=0.0)
    gate.close_for(1, now=2.0)
    assert gate.strikes == 2
    gate.calm()
    assert gate.strikes == 0


@given(st.integers(1, 600), st.lists(st.floats(0, 5), min_size=1, max_size=300))
def test_no_minute_holds_more_than_the_pace(per_minute: int, pauses: list[float]) -> None:
    gate = RateGate(requests_per_minute=per_minute)
    now, sent = 0.0, []
    for pause in pauses:
        now += pause
        sent += [now for _ in range(5) if gate.reserve(now, patience_s=0.0) <= 0]
    for start in sent:
        assert sum(start <= at < start + 60 for at in sent) <= per_minute
