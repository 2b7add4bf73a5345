"""Brokers that die, three of them, while events flow."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import islice

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from oracle import complaints
from stack import Stack, Worker

from stream.kafka.group import Group
from stream.local.cluster import LocalBroker
from stream.local.node import Node
from stream.local.traffic import traffic

EVENTS = 400
CHUNK = 20
PAUSE_S = 0.2
RESTARTED = (69, 75)
"""Exit codes after which a worker is to be started again."""


def java_hash(text: str) -> int:
    """Java's String.hashCode, by which Kafka chooses a coordinator's partition."""
    value = 0
    for letter in text:
        value = (31 * value + ord(letter)) & 0xFFFFFFFF
    return value & 0x7FFFFFFF


def leader(stack: Stack, topic: str, number: int) -> int:
    admin = AdminClient({"bootstrap.servers": stack.bootstrap_servers})
    partitions = admin.list_topics(topic, timeout=10).topics[topic].partitions
    return partitions[number % len(partitions)].leader


def input_leader(stack: Stack) -> int:
    return leader(stack, stack.config.topic, 0)


def ledger_leader(stack: Stack) -> int:
    return leader(stack, stack.config.ledger_topic, 0)


def group_coordinator(stack: Stack) -> int:
    return leader(stack, "__consumer_offsets", java_hash(stack.config.group_id))


def transaction_coordinator(stack: Stack) -> int:
    return leader(stack, "__transaction_state", java_hash(f"{stack.config.group_id}-w1"))


async def flow(stack: Stack) -> None:
    """Publish little by little, so that the faults meet events under way."""
    samples = iter(traffic(events=EVENTS, seed=11, users=80))
    while chunk := list(islice(samples, CHUNK)):
        await asyncio.to_thread(stack.publish, [sample.value for sample in chunk])
        await asyncio.sleep(PAUSE_S)


async def settled(stack: Stack) -> list[str]:
    await stack.until_caught_up(120, may_end=(0, *RESTARTED))
    return await complaints(stack)


@asynccontextmanager
async def supervised(worker: Worker) -> AsyncIterator[None]:
    """Start a worker again that ends because Kafka was beyond repair for it, as Kubernetes does."""

    async def supervise() -> None:
        while True:
            if worker.running.poll() in RESTARTED:
                worker.start()
            await asyncio.sleep(0.2)

    task = asyncio.create_task(supervise())
    try:
        yield
    finally:
        task.cancel()


async def bounce(brokers: LocalBroker, node: Node, *, clean: bool) -> None:
    await asyncio.to_thread(node.terminate if clean else node.kill)
    await asyncio.sleep(2)
    node.start()
    await asyncio.to_thread(brokers.wait_until_ready)


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "role", [input_leader, ledger_leader, group_coordinator, transaction_coordinator]
)
async def test_a_broker_that_is_killed_changes_nothing(
    replicated: Stack, brokers: LocalBroker, role: Callable[[Stack], int]
) -> None:
    """The leader or a coordinator goes under load and comes back."""
    worker = replicated.worker("w1")
    worker.start()
    await worker.until_logged("partition_opened")
    async with supervised(worker):
        flowing = asyncio.create_task(flow(replicated))
        await asyncio.sleep(1)
        node = brokers.node(await asyncio.to_thread(role, replicated))
        await bounce(brokers, node, clean=False)
        await flowing
        assert await settled(replicated) == []
    assert await asyncio.to_thread(worker.stop) == 0


@pytest.mark.timeout(280)
async def test_a_rolling_restart_changes_nothing(replicated: Stack, brokers: LocalBroker) -> None:
    """One broker after the other is stopped and started, two workers meanwhile."""
    one, two = replicated.worker("w1"), replicated.worker("w2")
    one.start()
    two.start()
    async with supervised(one), supervised(two):
        flowing = asyncio.create_task(flow(replicated))
        for number in (1, 2, 3):
            await bounce(brokers, brokers.node(number), clean=True)
        await flowing
        assert await settled(replicated) == []
    for worker in (one, two):
        assert await asyncio.to_thread(worker.stop) == 0


@pytest.mark.timeout(120)
def test_an_end_without_a_leader_is_no_answer(replicated: Stack, brokers: LocalBroker) -> None:
    """The admin client gives -1001 and no error; a barrier of -1001 would restore nothing."""
    group = Group(replicated.config)
    topic, numbers = replicated.config.ledger_topic, range(replicated.partitions)
    node = brokers.node(ledger_leader(replicated))
    node.kill()
    answers: list[dict[int, int]] = []
    for _ in range(20):
        try:
            answers.append(group.ends(topic, numbers))
        except KafkaException:
            continue
        break
    node.start()
    brokers.wait_until_ready()
    answers.append(group.ends(topic, numbers))
    group.close()
    assert answers == [dict.fromkeys(numbers, 0)] * 2
