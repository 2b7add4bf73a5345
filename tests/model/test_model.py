"""The protocol's model: with all safeguards nothing goes wrong, without any one of them it does."""

import pytest
from protocol import Kind
from rows import NOT_CLAIMED, ROWS, Row

STATES_MIN = 1_000
"""Fewer would mean that next to nothing can happen in the model."""


def is_large(row: Row) -> bool:
    """Whether it has states for ten seconds."""
    return row.result == "none" and row.kind is not Kind.UNOBSERVABLE


@pytest.mark.parametrize(
    "row",
    [pytest.param(row, marks=[pytest.mark.slow] * is_large(row)) for row in ROWS],
    ids=[f"{row.variant}, {row.kind}" for row in ROWS],
)
def test_each_variant_of_the_protocol_comes_to_what_is_known_of_it(row: Row) -> None:
    """What goes wrong is printed as the shortest steps that lead there."""
    found = row.explore()
    assert (found.violation or "none") == row.result, str(found)
    assert found.states > STATES_MIN
    if row.result == "none":
        assert found.states > 10 * STATES_MIN
    else:
        assert len(found.steps) > 5


def test_every_switch_of_the_model_has_its_row() -> None:
    """A safeguard that no row leaves out would be one that nobody knows to be needed."""
    whole = vars(ROWS[0].protocol)
    switched = {
        name for row in ROWS for name, value in vars(row.protocol).items() if value != whole[name]
    }
    assert switched == set(whole)
    assert {row.kind for row in ROWS if row.result == "none"} == set(Kind)
    assert all(row.result != "none" for row in NOT_CLAIMED)
