"""What goes wrong in a soak: each fault is struck, held for a while, and lifted again."""

import asyncio
import contextlib
import signal
import subprocess
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from stack import Stack, Worker

from stream.devtools.local_kafka import LocalBroker
from stream.devtools.wootric_emulator import (
    Answer,
    Delay,
    Drop,
    Emulator,
    LateEffect,
    LostReplies,
    LostRequests,
    Truncate,
)

SESSION_S = 6.0
LATE_S_MAX = 0.3
REST_S = (2.0, 10.0)
EVERYTHING = "/v1/*"
PIXEL = "/pixel.gif"
GAVE_UP = (69, 75)
"""Kafka, or our place in the group, was beyond repair: the supervisor starts it again."""


@dataclass
class World:
    """What the faults are done to. ``steady`` is never ended, so that its memory can be watched."""

    stack: Stack
    wootric: Emulator
    brokers: LocalBroker
    steady: Worker
    crew: Sequence[Worker]
    guest: Worker
    failures: list[str] = field(default_factory=list)


Fault = Callable[[World, Random], Awaitable[None]]


def end(world: World, worker: Worker) -> None:
    """End a worker with SIGTERM; it has to leave in good order, unless it had not begun yet or
    had just given up.
    """
    try:
        code = worker.stop()
    except subprocess.TimeoutExpired:
        worker.kill()
        code = -signal.SIGKILL
    if code not in (0, -signal.SIGTERM, *GAVE_UP):
        world.failures.append(f"a worker ended with {code} after SIGTERM")


# Workers


async def killed(world: World, dice: Random) -> None:
    """Kill -9, back within the session."""
    worker = dice.choice(world.crew)
    await asyncio.to_thread(worker.kill)
    await asyncio.sleep(dice.uniform(0, 2))
    worker.start()


async def gone(world: World, dice: Random) -> None:
    """Kill -9, back when the others have taken over."""
    worker = dice.choice(world.crew)
    await asyncio.to_thread(worker.kill)
    await asyncio.sleep(dice.uniform(SESSION_S + 2, SESSION_S + 6))
    worker.start()


async def zombie(world: World, dice: Random) -> None:
    """SIGSTOP beyond the session, then SIGCONT."""
    await _stopped(dice.choice([world.steady, *world.crew]), dice.uniform(7, 14))


async def nap(world: World, dice: Random) -> None:
    """SIGSTOP within the session."""
    await _stopped(dice.choice([world.steady, *world.crew]), dice.uniform(1, 4))


async def _stopped(worker: Worker, seconds: float) -> None:
    worker.running.send_signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        worker.running.send_signal(signal.SIGCONT)


async def restarted(world: World, dice: Random) -> None:
    """SIGTERM, and a new start at once."""
    worker = dice.choice(world.crew)
    await asyncio.to_thread(end, world, worker)
    worker.start()


async def joined(world: World, dice: Random) -> None:
    """One worker more for a while: two rebalances."""
    world.guest.start()
    await asyncio.sleep(dice.uniform(4, 10))
    await asyncio.to_thread(end, world, world.guest)


# Wootric


async def hold(world: World, dice: Random) -> None:
    """Leave what was ordered in force for a while, then lift it, met or not."""
    await asyncio.sleep(dice.uniform(2, 6))
    world.wootric.faults.calm()


async def lost_replies(world: World, dice: Random) -> None:
    """A quarter of the effects happen and nobody is told."""
    world.wootric.at_random(LostReplies(probability=0.25, seed=dice.randrange(10**6)))
    await hold(world, dice)


async def lost_requests(world: World, dice: Random) -> None:
    """A quarter of the requests get lost."""
    world.wootric.at_random(LostRequests(probability=0.25, seed=dice.randrange(10**6)))
    await hold(world, dice)


async def throttled(world: World, dice: Random) -> None:
    """429, with Retry-After in seconds, with garbage, and without."""
    headers = dice.choice([{"Retry-After": "2"}, {"Retry-After": "soon"}, {}])
    world.wootric.on("*", EVERYTHING, Answer(status=429, headers=headers), times=20)
    await hold(world, dice)


async def server_errors(world: World, dice: Random) -> None:
    """5xx, after the effect and without it."""
    for _ in range(20):
        answer = Answer(status=dice.choice([500, 502, 503, 504]), effect=dice.random() < 0.5)
        world.wootric.on("*", dice.choice([EVERYTHING, PIXEL]), answer)
    await hold(world, dice)


async def revoked(world: World, dice: Random) -> None:
    """Every token is worth nothing, and the token endpoint is down for a moment."""
    world.wootric.on("POST", "/oauth/token", Answer(status=503), times=3)
    world.wootric.revoke_tokens()
    await hold(world, dice)


async def slow(world: World, dice: Random) -> None:
    """Replies that take longer, some of them too long."""
    world.wootric.on("*", EVERYTHING, Delay(after_s=3), times=10)
    before = world.wootric.behaviour
    world.wootric.behaviour = before.changed({"reply_delay_s": dice.uniform(0.2, 0.8)})
    await hold(world, dice)
    world.wootric.behaviour = before


async def broken_replies(world: World, dice: Random) -> None:
    """Half a reply, none, and effects that come late."""
    for _ in range(15):
        late = LateEffect(after_s=dice.uniform(0, LATE_S_MAX))
        fault = dice.choice([Truncate(keep_bytes=dice.randrange(20)), Drop(effect=True), late])
        world.wootric.on("*", dice.choice([EVERYTHING, PIXEL]), fault)
    await hold(world, dice)


# Kafka


async def broker_killed(world: World, dice: Random) -> None:
    """Kill -9 of one broker of three."""
    node = world.brokers.node(dice.randint(1, 3))
    await asyncio.to_thread(node.kill)
    await asyncio.sleep(dice.uniform(0, 6))
    node.start()
    await asyncio.to_thread(world.brokers.wait_until_ready)


async def broker_restarted(world: World, dice: Random) -> None:
    """A clean stop of one broker of three."""
    node = world.brokers.node(dice.randint(1, 3))
    await asyncio.to_thread(node.terminate)
    await asyncio.sleep(dice.uniform(0, 4))
    node.start()
    await asyncio.to_thread(world.brokers.wait_until_ready)


async def broker_frozen(world: World, dice: Random) -> None:
    """SIGSTOP of one broker of three."""
    node = world.brokers.node(dice.randint(1, 3))
    node.pause()
    try:
        await asyncio.sleep(dice.uniform(2, 12))
    finally:
        node.resume()
    await asyncio.to_thread(world.brokers.wait_until_ready)


FAULTS: Mapping[str, Sequence[Fault]] = {
    "workers": (killed, gone, zombie, nap, restarted, joined),
    "wootric": (
        lost_replies,
        lost_requests,
        throttled,
        server_errors,
        revoked,
        slow,
        broken_replies,
    ),
    "kafka": (broker_killed, broker_restarted, broker_frozen),
}
REST_FACTOR = {"workers": 2.0, "wootric": 0.5, "kafka": 4.0}


class Nemesis:
    """Strikes faults of all kinds, one of each kind at a time, until it is told to stop."""

    def __init__(self, world: World, seed: int, say: Callable[[str], None]) -> None:
        self.struck: Counter[str] = Counter()
        self._world = world
        self._seed = seed
        self._say = say
        self._ending = asyncio.Event()

    async def run(self) -> None:
        """Strike until ``stop``; returns when the last fault is lifted."""
        await asyncio.gather(*(self._strike(kind) for kind in FAULTS))

    def stop(self) -> None:
        """Begin nothing new."""
        self._ending.set()

    async def _strike(self, kind: str) -> None:
        dice = Random(f"{self._seed}/{kind}")
        while not await self._ends_within(REST_FACTOR[kind] * dice.uniform(*REST_S)):
            fault = dice.choice(FAULTS[kind])
            self.struck[fault.__name__] += 1
            self._say(f"{kind}: {fault.__name__.replace('_', ' ')}")
            await fault(self._world, dice)

    async def _ends_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ending.wait(), seconds)
        return self._ending.is_set()
