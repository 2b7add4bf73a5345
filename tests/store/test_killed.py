"""kill -9 of a process that writes a store: what is left is right as of the offset it names."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random

from common_store import PART, World
from waiting import until_now
from writer import KEYS, RECORDS, expected

from stream.state.store import StateStore

KILLS = 6
PART_OF_MUCH = replace(PART, end=10**9)
WRITER = Path(__file__).with_name("writer.py")


@contextmanager
def writing(directory: Path, said: Path, far: bytes) -> Iterator[None]:
    """A process that writes a store and is so far as it says; killed at the end."""
    paths = os.pathsep.join(sys.path)
    with (
        said.open("wb") as output,
        subprocess.Popen(
            [sys.executable, str(WRITER), str(directory)],
            stdout=output,
            env={**os.environ, "PYTHONPATH": paths},
        ) as process,
    ):
        try:
            until_now(lambda: far in said.read_bytes(), "it writes", lambda: said.stat().st_size)
            yield
        finally:
            process.kill()


def differing(state: StateStore, covered: int) -> list[int]:
    """The keys that are not as they are after so many batches."""
    return [
        key for key in range(KEYS) if state.get(f"event/{key}") != expected(key, covered // RECORDS)
    ]


def test_a_store_that_was_killed_at_any_moment_is_right(tmp_path: Path) -> None:
    """Batches are there whole or not at all, none is missing before one that is there."""
    dice = Random(11)
    world = World(tmp_path / "store")
    reached = [0]
    for number in range(KILLS):
        far = b"saved" if number == KILLS - 1 else b"opened"
        with writing(tmp_path / "store", tmp_path / f"said-{number}", far):
            time.sleep(dice.uniform(0.2, 1.0))
        opened = world.stores().open(PART_OF_MUCH)
        reached.append(opened.covered)
        assert differing(opened.state, opened.covered) == []
        assert opened.state.claims(opened.covered) == (opened.covered > 0)
        assert not opened.state.claims(opened.covered + RECORDS)
        opened.state.close()
    assert reached == sorted(reached)
    assert reached[-1] > 0
