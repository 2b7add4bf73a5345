"""A wall clock that jumps, set as soon as this is imported; the monotonic one has no jumps.

The environment's ``CLOCK`` is a list of pairs: from so many seconds on it is off by so many.
"""

import json
import os
import time

REAL_TIME, BEGAN_AT = time.time, time.monotonic()
CLOCK: list[tuple[float, float]] = json.loads(os.environ.get("CLOCK", "[]"))


def wall_clock() -> float:
    """The time of day as this process sees it."""
    age_s = time.monotonic() - BEGAN_AT
    return REAL_TIME() + next((off for since, off in reversed(CLOCK) if age_s >= since), 0.0)


if CLOCK:
    time.time = wall_clock
    time.time_ns = lambda: round(wall_clock() * 1e9)
