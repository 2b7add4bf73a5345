"""What the fault tests share: who leads what, supervision, and how a worker in trouble looks."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path

import launcher
import psutil
from oracle import agrees
from stack import RESTARTED, Stack, Worker
from waiting import STILL_S, stretched

from stream.devtools.traffic import traffic
from tests.soak.watch import CommittedReader, read_all

COMMAND = [sys.executable, str(Path(launcher.__file__))]
"""A worker whose edges can be broken: see the launcher."""
SHORT = {"KAFKA__SESSION_TIMEOUT_S": stretched(6), "KAFKA__TRANSACTION_TIMEOUT_S": stretched(3)}
HELD_MAX = 100
IN_TRANSIT = 500
MEMORY_MB_MAX = 250
POLL_INTERVAL_S = float(stretched(6))
TROUBLE_S = 2 * POLL_INTERVAL_S + 1
IMPATIENT = {
    "KAFKA__SESSION_TIMEOUT_S": stretched(6),
    "KAFKA__PROPERTIES": json.dumps({"max.poll.interval.ms": round(POLL_INTERVAL_S * 1000)}),
    "KAFKA__IN_FLIGHT_RECORDS_MAX": str(HELD_MAX),
    "WOOTRIC__IN_FLIGHT_MAX": "16",
}
"""The group would lose a worker that stops to poll while Wootric is in trouble."""


async def publish(stack: Stack, events: int, seed: int) -> None:
    """Publish some of everybody's traffic."""
    samples = traffic(events=events, seed=seed, users=max(1, events // 5))
    await asyncio.to_thread(stack.publish, [sample.value for sample in samples])


async def flow(stack: Stack, events: int, seed: int, *, chunk: int = 20, pause_s: float = 0.4):
    """Publish little by little, so that the faults meet events under way."""
    samples = iter(traffic(events=events, seed=seed, users=events // 5))
    while some := list(islice(samples, chunk)):
        await asyncio.to_thread(stack.publish, [sample.value for sample in some])
        await asyncio.sleep(pause_s)


async def end_well(stack: Stack, *workers: Worker) -> None:
    """All is settled, who still runs leaves in good order, and Wootric is as it should be."""
    await stack.until_caught_up(may_end=(0, -9, *RESTARTED))
    for worker in workers:
        if worker.running.poll() is None:
            await worker.until_ready()
            assert await asyncio.to_thread(worker.stop) == 0
    await agrees(stack)


def slow(stack: Stack, reply_delay_s: float) -> None:
    """Let every reply of Wootric take so long."""
    stack.wootric.behaviour = stack.wootric.behaviour.changed({"reply_delay_s": reply_delay_s})


def total(metrics: Mapping[str, float], name: str) -> float:
    """The sum of a metric over its labels."""
    return sum(value for key, value in metrics.items() if key.partition("{")[0] == name)


async def seen_in_trouble(worker: Worker) -> None:
    """Lag is seen, the group has not moved, and memory is bounded."""
    assert worker.running.poll() is None
    metrics = await worker.metrics()
    assert total(metrics, "wootric_consumer_lag_records") > 50
    assert total(metrics, "wootric_consumer_rebalances_total") == 1
    assert metrics["wootric_records_in_flight"] <= HELD_MAX + IN_TRANSIT
    assert psutil.Process(worker.running.pid).memory_info().rss < MEMORY_MB_MAX * 1e6


@asynccontextmanager
async def supervised(*workers: Worker) -> AsyncIterator[None]:
    """Start a worker again that ends because Kafka was beyond repair for it, as Kubernetes does."""

    async def supervise() -> None:
        while True:
            for worker in workers:
                if worker.running.poll() in RESTARTED:
                    worker.forget_faults()
                    worker.start()
            await asyncio.sleep(0.2)

    task = asyncio.create_task(supervise())
    try:
        yield
    finally:
        task.cancel()


@asynccontextmanager
async def read_meanwhile(stack: Stack) -> AsyncIterator[None]:
    """Read what is committed while the faults happen: it is what is there afterwards."""
    reader = CommittedReader(stack.config, stack.partitions)
    reader.start()
    try:
        yield
    except BaseException:
        reader.finish({})
        raise
    topics = (
        stack.config.ledger_topic,
        stack.config.dead_letter_topic,
        stack.config.parked_topic,
    )
    ends = {(topic, n): end for topic in topics for n, end in stack.ends(topic).items()}
    reader.finish(ends)
    await asyncio.to_thread(reader.join, STILL_S)
    assert not reader.is_alive()
    assert not reader.twice
    assert reader.seen == await asyncio.to_thread(read_all, stack.config, topics, stack.partitions)


# Who leads what


def java_hash(text: str) -> int:
    """Java's String.hashCode, by which Kafka chooses a coordinator's partition."""
    value = 0
    for letter in text:
        value = (31 * value + ord(letter)) & 0xFFFFFFFF
    return value & 0x7FFFFFFF


def leader(stack: Stack, topic: str, number: int) -> int:
    """The node that leads a partition; the number is taken modulo how many there are."""
    partitions = stack.admin.list_topics(topic, timeout=STILL_S).topics[topic].partitions
    return partitions[number % len(partitions)].leader


def input_leader(stack: Stack) -> int:
    """The node that leads the input's first partition."""
    return leader(stack, stack.config.topic, 0)


def ledger_leader(stack: Stack) -> int:
    """The node that leads the ledger's first partition."""
    return leader(stack, stack.config.ledger_topic, 0)


def group_coordinator(stack: Stack) -> int:
    """The node that coordinates the group."""
    return leader(stack, "__consumer_offsets", java_hash(stack.config.group_id))


def transaction_coordinator(stack: Stack) -> int:
    """The node that coordinates the transactions of `w1`."""
    return leader(stack, "__transaction_state", java_hash(f"{stack.config.group_id}-w1"))
