"""How two trees compare: a ratio is of one round, and of a case that both sides have."""

import io
from typing import Any

import pytest
from rich.console import Console

from tests.bench import against
from tests.bench.against import Ratio, checked_out, ratios


def row(events_per_s: float, cpu_us: float = 200.0, **fields: Any) -> dict[str, Any]:
    case = {"subject": "service", "trace": "distinct", "reply_ms": 0, "in_flight": 64}
    figures = {"events_per_s": events_per_s, "cpu_us": cpu_us, "broker_us": 40.0}
    return case | figures | fields


def test_a_ratio_is_of_one_round() -> None:
    """The machine becomes slower, for both: the medians alone would say something else."""
    rounds = [([row(4_000)], [row(2_000)]), ([row(1_000)], [row(1_000)]), ([row(300)], [row(200)])]
    (found,) = ratios(rounds)
    assert found["events_per_s"] == Ratio(1.5, 1.0, 2.0)
    assert (found["trace"], found["reply_ms"]) == ("distinct", 0)


def test_each_figure_has_its_ratio() -> None:
    (found,) = ratios([([row(100, 50.0)], [row(100, 200.0, broker_us=80.0)])])
    assert found["cpu_us"] == Ratio(0.25, 0.25, 0.25)
    assert found["broker_us"] == Ratio(0.5, 0.5, 0.5)


def test_what_one_side_does_not_measure_has_no_ratio() -> None:
    """An older commit may have fewer cases and figures; a bare loop has no broker's."""
    ours = [row(100), row(100, reply_ms=20)]
    theirs = row(50, broker_us=0.0)
    (found,) = ratios([(ours, [theirs])])
    assert found["events_per_s"] == Ratio(2.0, 2.0, 2.0)
    assert found["broker_us"] is None
    del theirs["broker_us"]
    assert ratios([(ours, [theirs])])[0]["broker_us"] is None


def test_the_table_has_the_ratios_first() -> None:
    text = io.StringIO()
    rounds = [([row(120)], [row(100)]), ([row(90)], [row(100, broker_us=0.0)])]
    against.show(ratios(rounds), "v1", Console(file=text, width=160))
    assert "this tree divided by v1" in text.getvalue()
    assert "1.05 (0.90 to 1.20)" in text.getvalue()


def test_a_commit_that_there_is_not_ends_it(tmp_path: Any) -> None:
    with pytest.raises(SystemExit, match="no commit of this repository: none-such"):
        checked_out("none-such", tmp_path)
