"""What the benchmark makes of its figures: ratios of the same round, goals, the picture."""

import io
from typing import Any

import pytest
from rich.console import Console

from tests.bench import endurance, goals, markdown, recovery, scaling, speed
from tests.bench.ground import interpreter
from tests.bench.speed import Result
from tests.bench.traces import SEED, Trace, realistic


def result(events_per_s: float, **fields: Any) -> Result:
    usual = {
        "cpu_us": 100.0,
        "peak_mb": 90.0,
        "requests_per_event": 1.0,
        "api_requests_per_event": 0.0,
        "ledger_per_event": 2.2,
        "order_violations": 0,
        "duplicates": 0,
    }
    return Result(events_per_s=events_per_s, **(usual | fields))


def found() -> dict[str, Any]:
    """Three rounds of a machine that gets slower: the bare loop is always twice as fast."""
    rounds = (10_000.0, 8_000.0, 6_000.0)
    results = {
        case: [result(rate * (2 if case.subject == "bare loop" else 1)) for rate in rounds]
        for case in speed.CASES
    }
    row = {"order_violations": 0, "duplicates": 0}
    run = {"events_per_s": 1000.0, "waiting_bound": 12_800.0, "machine": 0.5, "others": 0.1} | {
        f"{name}_cores": 0.5 for name in ("worker", "broker", "server")
    }
    return {
        "speed": speed.figures(results),
        "scaling": [{"workers": n, "in_flight": 256, **run, **row} for n in scaling.WORKERS],
        "recovery": [
            {
                "death": str(case.death),
                "sequel": str(case.sequel),
                "first_s": [1.0],
                "every_s": [1.5, 12.5],
                **row,
            }
            for case in recovery.CASES
        ],
    }


def test_a_ratio_is_of_the_same_round_and_a_goal_is_judged_by_its_median_or_its_slowest():
    figures = found()
    assert figures["speed"]["ratios"]["bare_0"] == [0.5, 0.5, 0.5]
    judged = {row["goal"]: (row["figure"], row["reached"]) for row in goals.judged(figures)}
    assert judged["replies of 20 ms, every event a request"] == ("8,000 events/s", True)
    assert ("0.50", False) in judged.values()
    assert ("12.5 s", False) in judged.values()
    assert judged["events out of order at one user, or twice"] == ("0", True)
    assert judged["one event at a time, record to Wootric, p99"] == (None, None)


def test_one_event_out_of_order_anywhere_is_seen_but_the_bare_loop_s_are_its_own():
    figures = found()
    figures["speed"]["rows"][0]["order_violations"] = 7
    assert figures["speed"]["rows"][0]["subject"] == "bare loop"
    name = "events out of order at one user, or twice"
    assert [row["reached"] for row in goals.judged(figures) if row["goal"] == name] == [True]
    figures["scaling"][0]["order_violations"] = 1
    assert [row["reached"] for row in goals.judged(figures) if row["goal"] == name] == [False]


def test_the_state_s_goals_are_judged_of_ten_million_entries_only():
    starts = [
        {"what": "cold", "entries": 10_000_000, "seconds": 40.0, "rss_mb": 400.0},
        {"what": "warm, after kill -9", "entries": 12, "seconds": 6.0, "rss_mb": 300.0},
    ]
    figures: dict[str, Any] = {"state": {"starts": starts}}
    judged = [
        row["reached"] for row in goals.judged(figures) if "10 million entries" in row["goal"]
    ]
    assert judged == [True, False, True]
    starts[0]["entries"] = 1_000_000
    judged = [
        row["reached"] for row in goals.judged(figures) if "10 million entries" in row["goal"]
    ]
    assert judged == [None, None, None]


def test_a_random_record_that_is_astray_is_seen_of_ten_million_only():
    well = {
        "records": 10_000_000,
        "settled": {"delivered": 4_000_000, "rejected": 6_000_000},
        "reasons": {"undecodable": 6_000_000},
        **dict.fromkeys(("letters_twice", "good_missing", "good_twice"), 0),
    }
    wrongs: tuple[dict[str, Any], ...] = (
        {"settled": {"delivered": 3_999_999, "rejected": 6_000_000}},
        {"reasons": {"undecodable": 5_999_999}},
        *({name: 1} for name in ("letters_twice", "good_missing", "good_twice")),
    )

    def judged(figures: dict[str, Any]) -> list[bool | None]:
        rows = goals.judged({"random": figures})
        return [row["reached"] for row in rows if "random records" in row["goal"]]

    assert judged(well) == [True]
    assert [judged({**well, **wrong}) for wrong in wrongs] == [[False]] * len(wrongs)
    assert judged({**well, "records": 1_000_000}) == [None]


def test_the_tables_show_what_was_found_and_the_picture_is_the_same_for_the_same_figures(tmp_path):
    figures = found()
    text = io.StringIO()
    out = Console(file=text, width=200)
    for part, show in (("speed", speed), ("scaling", scaling), ("recovery", recovery)):
        show.show(figures[part], out)
    goals.show(figures, out, measured_only=True)
    assert "not measured" not in text.getvalue()
    goals.show(figures, out, measured_only=False)
    assert "not measured in this run" in text.getvalue()
    assert "service to bare loop, distinct, 0 ms: 0.50 (0.50 to 0.50)" in text.getvalue()
    tables = "\n".join(markdown.tables(figures))
    assert "| service | `distinct` | 20 ms | 256 | 8,000 | 6,000 to 10,000 | 100 |" in tables
    from tests.bench import plot  # noqa: PLC0415  it takes a second to load

    for name in ("one.svg", "two.svg"):
        plot.draw(figures, tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert "seconds until all is sent again" in (tmp_path / "one.svg").read_text()


def test_a_trace_that_is_played_again_has_new_ids_and_higher_numbers():
    event = next(
        one
        for one in realistic(100, SEED)
        if isinstance(one, dict) and one["type"] == "page" and "messageId" in one
    )
    template = endurance.template(event)
    first, second = template.filled(1, 1_800_000_000_000), template.filled(2, 1_800_000_000_007)
    assert first is not None
    assert second is not None
    assert len(first) == len(second)
    identity = event["messageId"][endurance.ID_LETTERS :]
    assert f"00000001{identity}".encode() in first
    assert f"00000002{identity}".encode() in second
    number = int(event["properties"]["url"].rpartition("=")[2])
    assert f"bench={number + 2 * endurance.NUMBERS:010d}&at=1800000000007".encode() in second


def test_memory_that_fills_in_the_first_third_and_not_afterwards_does_not_grow():
    def sample(minute: int, mb: float) -> dict[str, float]:
        return {"at_s": 60.0 * minute, "mb": mb, "p50_ms": 5.0, "p99_ms": 9.0 + minute}

    filling = [sample(minute, 100.0 + min(minute, 10)) for minute in range(31)]
    growing = [sample(minute, 100.0 + 2 * minute) for minute in range(31)]
    assert endurance.drift(filling)["slope_mb"] == pytest.approx(0.0, abs=0.01)
    assert endurance.drift(growing)["slope_mb"] == pytest.approx(2.0)
    assert endurance.drift(growing)["p99_ms_last"] > endurance.drift(growing)["p99_ms_first"]


def test_every_case_has_its_ratio():
    for ratio in speed.RATIOS.values():
        assert {ratio.over, ratio.under} <= {(c.subject, c.trace, c.reply_ms) for c in speed.CASES}
    assert {case.trace for case in speed.CASES} == set(Trace)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("'--enable-optimizations' '--with-lto'", "built with PGO and LTO"),
        ("'--enable-optimizations'", "built with PGO"),
        ("'--enable-shared'", "built without PGO"),
        (None, "built without PGO"),
    ],
)
def test_the_figures_say_how_the_interpreter_was_built(options: str | None, said: str) -> None:
    assert interpreter(options).endswith(f", {said}")
