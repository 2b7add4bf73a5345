"""What a soak says of memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.soak.__main__ import LASTING, SLOPE_S_MIN, WARM_UP_S, Findings
from tests.soak.watch import Memory


def found(*lives: list[tuple[float, float]]) -> Findings:
    memory = Memory()
    memory._lives = dict(enumerate(lives))
    return Findings(
        events=1,
        rows=[],
        examples=[],
        struck={},
        recovery_s=0.0,
        open_intents=0,
        memory=memory,
        slope_mb=memory.slope(WARM_UP_S),
        long_enough=memory.span_s > SLOPE_S_MIN,
        requests=1,
    )


def life(begin_s: float, end_s: float, mb_a_minute: float) -> list[tuple[float, float]]:
    step_s = (end_s - begin_s) / 20
    times = [begin_s + step_s * number for number in range(21)]
    return [(at, 100 + mb_a_minute * (at - begin_s) / 60) for at in times]


def test_memory_that_grows_in_a_long_life_is_a_complaint() -> None:
    assert found(life(0, 1000, 0.9)).complaints() == []
    assert found([(0, 100), (100, 201), (500, 100), (600, 100)]).complaints() == [
        "memory of 201 MB"
    ]
    assert found(life(0, 1000, 1.5)).complaints() == ["memory grows by 1.50 MB a minute"]


@pytest.mark.parametrize(("lives", "complaints"), [(LASTING, 0), (LASTING + 2, 1)])
def test_short_lives_say_nothing_and_a_long_soak_of_them_is_a_complaint(
    lives: int, complaints: int
) -> None:
    short = [life(n * SLOPE_S_MIN, (n + 1) * SLOPE_S_MIN - 10, 5.0) for n in range(lives)]
    told = found(*short).complaints()
    assert len(told) == complaints
    assert all("no life was long enough" in line for line in told)


@pytest.mark.parametrize(
    "command",
    [("-m", "tests.soak"), ("-m", "tests.bench"), ("tests/simulation",), ("tests/model",)],
)
def test_what_make_starts_can_be_started(command: tuple[str, ...]) -> None:
    """Outside of pytest, which finds modules where Python alone does not."""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, *command, "--help"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout
