"""kill -9 at every named point of the edges, one after the other, on a real Kafka."""

import asyncio
import json
import signal
import sys
from pathlib import Path
from random import Random

import launcher
import pytest
from oracle import agrees
from stack import Stack, Worker
from waiting import stretched, until

from stream.devtools.traffic import Sample, Traffic, TrafficKind
from stream.devtools.wootric_emulator import Drop

MIXED = {
    TrafficKind.CHANGED: 7,
    TrafficKind.UNCHANGED: 3,
    TrafficKind.PAGE: 8,
    TrafficKind.RESPONSE: 3,
    TrafficKind.DECLINE: 2,
    TrafficKind.OTHER: 1,
    TrafficKind.DUPLICATE: 2,
    TrafficKind.RANDOM_BYTES: 2,
    TrafficKind.SCORE_OUT_OF_RANGE: 1,
}
FAST = {
    "WOOTRIC__REQUEST_TIMEOUT_S": stretched(1),
    "WOOTRIC__QUIET_PERIOD_S": stretched(0.2),
    "WOOTRIC__LEASE_S": stretched(1),
}
COMMAND = [sys.executable, str(Path(launcher.__file__))]

# What a point needs beside events that flow.
LEAVING = {"before leave", "after leave"}
REVOKING = {"before unassign", "after unassign"}
ABORTING = {"before abort", "after abort"}
UNKNOWN = {"before read back", "after read back"}
ELSEWHERE = LEAVING | REVOKING | ABORTING | UNKNOWN
# The end of an unknown commit is an exception: nothing comes after it.
NEVER = {"after read back"}
FLOWING = [point for point in launcher.points() if point not in ELSEWHERE]
CHAINS = [FLOWING[n::6] for n in range(6)]


def mixed(source: Traffic) -> list[Sample]:
    """A few events of every kind that matters, in an order of their own."""
    kinds = [kind for kind, count in MIXED.items() for _ in range(count)]
    source.dice.shuffle(kinds)
    return [source.sample(kind) for kind in kinds]


def people(seed: int, users: int = 9) -> Traffic:
    return Traffic(Random(seed), users=users)


def breaking(stack: Stack, faults: dict[str, tuple[int, str]]) -> Worker:
    return stack.worker("w1", command=COMMAND, FAULTS=json.dumps(faults), **FAST)


async def death(worker: Worker, point: str) -> None:
    """Wait until the worker has killed itself there; a point that is never hit fails."""
    await until(lambda: worker.running.poll() is not None, f"{point} is reached", worker.said)
    assert worker.running.returncode == -signal.SIGKILL, worker.log.read_text()[-3000:]


async def publish(stack: Stack, samples: list[Sample]) -> None:
    await asyncio.to_thread(stack.publish, [sample.value for sample in samples])


async def end_well(stack: Stack) -> None:
    """A worker without faults takes over; then nothing is missing, and nothing there twice."""
    worker = stack.worker("w1", **FAST)
    worker.start()
    await worker.until_ready()
    await stack.until_caught_up()
    assert await asyncio.to_thread(worker.stop) == 0
    await agrees(stack)


@pytest.mark.parametrize("chain", CHAINS, ids=[f"chain {n}" for n in range(len(CHAINS))])
async def test_a_kill_at_each_point_changes_nothing(stack: Stack, chain: list[str]) -> None:
    """Each worker of a chain dies at its own point, where its successor goes on."""
    source = people(len(chain[0]), users=15)
    await publish(stack, mixed(source))
    await end_well(stack)
    for point in chain:
        stack.wootric.on("GET", "/pixel.gif", Drop(effect=True))
        await publish(stack, mixed(source))
        worker = breaking(stack, {point: (1, "kill")})
        worker.start()
        await death(worker, point)
    await end_well(stack)


@pytest.mark.parametrize("point", sorted(ABORTING))
async def test_a_kill_while_a_transaction_is_aborted(stack: Stack, point: str) -> None:
    """What the aborted transaction held is said again by the successor."""
    samples = mixed(people(3))
    worker = breaking(stack, {"before commit": (2, "fail"), point: (1, "kill")})
    worker.start()
    await publish(stack, samples)
    await death(worker, point)
    await end_well(stack)


@pytest.mark.parametrize("point", sorted(UNKNOWN - NEVER))
@pytest.mark.parametrize("lost", ["before commit", "after commit"])
async def test_a_kill_while_a_commit_is_unknown(stack: Stack, point: str, lost: str) -> None:
    """The successor finds out by itself whether the transaction happened."""
    samples = mixed(people(4))
    worker = breaking(stack, {lost: (2, "time out"), point: (1, "kill")})
    worker.start()
    await publish(stack, samples)
    await death(worker, point)
    await end_well(stack)


@pytest.mark.parametrize("lost", ["before commit", "after commit"])
@pytest.mark.parametrize("failing", ["before read back", "before init transactions"])
async def test_an_unknown_commit_is_read_back(stack: Stack, lost: str, failing: str) -> None:
    """The reply of a commit is lost, before or after it happened; asking fails at first."""
    source = people(5)
    samples = mixed(source)
    hit = 2 if failing == "before init transactions" else 0
    worker = breaking(stack, {lost: (2, "time out"), failing: (hit, "time out")})
    worker.start()
    await publish(stack, samples)
    await stack.until_caught_up()
    more = mixed(source)
    await publish(stack, more)
    await stack.until_caught_up()
    assert await asyncio.to_thread(worker.stop) == 0
    assert "commit_unknown" in worker.log.read_text()
    await agrees(stack)


@pytest.mark.parametrize("point", sorted(REVOKING))
async def test_a_kill_while_partitions_are_given_away(stack: Stack, point: str) -> None:
    """The worker that joins has them all when the session of the dead one is over."""
    stack.wootric.behaviour = stack.wootric.behaviour.changed({"reply_delay_s": 0.02})
    source = people(7, users=60)
    samples = [sample for _ in range(12) for sample in mixed(source)]
    worker = breaking(stack, {point: (1, "kill")})
    worker.start()
    await worker.until_logged("partition_opened")
    await publish(stack, samples)
    joining = stack.worker("w2", **FAST)
    joining.start()
    await death(worker, point)
    await stack.until_caught_up()
    assert await asyncio.to_thread(joining.stop) == 0
    await agrees(stack)


@pytest.mark.parametrize("point", sorted(LEAVING))
async def test_a_kill_while_it_leaves(stack: Stack, point: str) -> None:
    """After the last transaction there is nothing left to lose."""
    samples = mixed(people(8))
    worker = breaking(stack, {point: (1, "kill")})
    worker.start()
    await publish(stack, samples)
    await stack.until_caught_up()
    worker.running.send_signal(signal.SIGTERM)
    await death(worker, point)
    await end_well(stack)


async def test_a_restore_that_breaks_ends_its_worker(stack: Stack) -> None:
    """The thread that restores tells of what it cannot react to; nobody may wait for ever."""
    worker = breaking(stack, {"before fold": (1, "break")})
    await publish(stack, mixed(people(3)))
    await end_well(stack)
    worker.start()
    assert await worker.until_ended() == 1


def test_every_point_is_in_a_test() -> None:
    """A new edge call is killed somewhere, or said to be unreachable."""
    tested = {point for chain in CHAINS for point in chain} | ELSEWHERE
    assert tested == set(launcher.points())
