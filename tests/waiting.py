"""Waiting for what must happen, on a machine of any speed.

A wait goes on as long as something moves, and fails when nothing has moved for `STILL_S`. What
has to be absolute, such as a session that the broker counts, is stretched by `SLOWNESS`.
"""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any

Condition = Callable[[], Any] | Callable[[], Awaitable[Any]]

WORK_ROUNDS = 10_000_000
WORK_S = 0.3
"""How long the rounds take on the machine that the tests' seconds were chosen on: a core of two
that four test processes share."""
SLOWNESS_MAX = 8.0
"""A moment says too little for more."""
STILL_S_MIN = 60.0
POLL_S = 0.05
LOOK_S = 1.0


def slowness() -> float:
    """How much slower than that machine this one is at the moment; 1 if it is faster."""
    began_at = time.monotonic()
    sum(range(WORK_ROUNDS))  # in C, where no tool that watches Python slows it down
    return min(SLOWNESS_MAX, max(1.0, (time.monotonic() - began_at) / WORK_S))


SLOWNESS = slowness()
STILL_S = STILL_S_MIN * SLOWNESS
"""For so long nothing may move before a wait has failed."""


def stretched(seconds: float) -> str:
    """A duration for a setting, as much longer as this machine is slower."""
    return f"{seconds * SLOWNESS:.3g}"


class Stillness:
    """Notices that nothing moves: ``moves`` returns what changes as long as something does."""

    def __init__(self, moves: Callable[[], object] = lambda: None) -> None:
        self._moves = moves
        self._last: object = None
        self._moved_at = self._looked_at = time.monotonic()

    def check(self, what: str) -> None:
        """Go on, or say what never happened.

        Raises:
            AssertionError: nothing has moved for `STILL_S` seconds.
        """
        now = time.monotonic()
        if now - self._looked_at < LOOK_S:
            return
        self._looked_at = now
        seen = self._moves()
        if seen != self._last:
            self._last, self._moved_at = seen, now
        elif now - self._moved_at > STILL_S:
            raise AssertionError(f"never: {what}; nothing moved for {STILL_S:.0f} s: {seen}")


async def until(
    condition: Condition, what: str, moves: Callable[[], object] = lambda: None
) -> None:
    """Return once the condition holds.

    Raises:
        AssertionError: it does not, and nothing has moved for `STILL_S` seconds.
    """
    stillness = Stillness(moves)
    while True:
        holds = condition()
        if inspect.isawaitable(holds):
            holds = await holds
        if holds:
            return
        stillness.check(what)
        await asyncio.sleep(POLL_S)


def until_now(
    condition: Callable[[], object], what: str, moves: Callable[[], object] = lambda: None
) -> None:
    """The same without an event loop."""
    stillness = Stillness(moves)
    while not condition():
        stillness.check(what)
        time.sleep(POLL_S)
