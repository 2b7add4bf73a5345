"""Writes batches into a store until it is killed, going on where the store says that it ends."""

import sys
from dataclasses import replace
from pathlib import Path
from random import Random

from common_store import PART, World

KEYS = 400
RECORDS = 100
"""Of a batch; the offset after batch n is n * RECORDS."""
RESTORED = 150
"""So many batches are folded as a restore does it, before the first commit."""
NOISE = Random(1).randbytes(4096)


def keys(batch: int) -> range:
    """The keys that a batch writes, by number."""
    first = batch * RECORDS % KEYS
    return range(first, first + RECORDS)


def value(key: int, batch: int) -> bytes | None:
    """What a batch writes under a key; every seventh deletes."""
    if (key + batch) % 7 == 0:
        return None
    return f"{key}/{batch}/".encode() + NOISE


def expected(key: int, batches: int) -> bytes | None:
    """What is under a key after so many batches."""
    of_it = range(max(0, batches - KEYS // RECORDS), batches)
    return next((value(key, batch) for batch in reversed(of_it) if key in keys(batch)), None)


def main(directory: Path) -> None:
    world = World(directory)
    state, covered, _ = world.open(replace(PART, end=10**9))
    print("opened", flush=True)
    batch = first = covered // RECORDS
    saved = False
    while True:
        end = (batch + 1) * RECORDS
        records = [(f"event/{key}", value(key, batch)) for key in keys(batch)]
        if batch % 2 or batch < first + RESTORED:
            raw = [(name.encode(), data, end) for name, data in records]
            state.apply_changelog(raw, end)
        else:
            for name, data in records:
                state.put(name, data, end)
            state.save(end)
            if not saved:
                print("saved", flush=True)
            saved = True
        batch += 1


if __name__ == "__main__":
    main(Path(sys.argv[1]))
