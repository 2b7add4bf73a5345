"""Brokers that die, three of them, while events flow."""

import asyncio
import json
from collections.abc import Callable

import pytest
from common import (
    COMMAND,
    RESTARTED,
    SHORT,
    end_well,
    flow,
    group_coordinator,
    input_leader,
    ledger_leader,
    read_meanwhile,
    supervised,
    transaction_coordinator,
)
from confluent_kafka import KafkaException
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from stack import Stack
from waiting import until

from stream.devtools.kafka_node import Node
from stream.devtools.local_kafka import LocalBroker
from stream.kafka.metadata import Group

EVENTS = 200
DOWN_S = 2.0

Role = Callable[[Stack], int]
KILLS = {
    "the input's leader": pytest.param(
        input_leader, "before begin transaction", 8, marks=pytest.mark.slow
    ),
    "the ledger's leader": pytest.param(
        ledger_leader, "after produce to ledger", 60, marks=pytest.mark.slow
    ),
    "the group's coordinator, before TxnOffsetCommit": (
        group_coordinator,
        "before send offsets",
        8,
    ),
    "the transactions' coordinator, before EndTxn": (transaction_coordinator, "before commit", 8),
}
"""Who is killed, while the worker stands still at the so manieth hit of which point."""


async def come_back(brokers: LocalBroker, node: Node, down_s: float = DOWN_S) -> None:
    """Start a node again that has ended."""
    await asyncio.sleep(down_s)
    node.start()
    await asyncio.to_thread(brokers.wait_until_ready)


@pytest.mark.parametrize(("role", "point", "hit"), KILLS.values(), ids=list(KILLS))
async def test_a_broker_that_is_killed_changes_nothing(
    replicated: Stack, brokers: LocalBroker, role: Role, point: str, hit: int
) -> None:
    """It goes at a step of a transaction and comes back; who reads meanwhile sees all once."""
    faults = json.dumps({point: (hit, "stop")})
    worker = replicated.worker("w1", command=COMMAND, FAULTS=faults)
    worker.start()
    await worker.until_logged("partition_opened")
    async with read_meanwhile(replicated), supervised(worker):
        flowing = asyncio.create_task(flow(replicated, EVENTS, 11))
        await until(lambda: worker.frozen, "the worker stops itself", replicated.moved)
        node = brokers.node(await asyncio.to_thread(role, replicated))
        await asyncio.to_thread(node.kill)
        worker.thaw()
        await come_back(brokers, node)
        await flowing
        await replicated.until_caught_up(may_end=(0, *RESTARTED))
    await end_well(replicated, worker)


@pytest.mark.slow
async def test_a_rolling_restart_changes_nothing(replicated: Stack, brokers: LocalBroker) -> None:
    """One broker after the other is stopped and started, two workers meanwhile."""
    one, two = replicated.worker("w1"), replicated.worker("w2")
    one.start()
    two.start()
    async with read_meanwhile(replicated), supervised(one, two):
        flowing = asyncio.create_task(flow(replicated, EVENTS, 12))
        for number in (1, 2, 3):
            await asyncio.to_thread(brokers.node(number).terminate)
            await come_back(brokers, brokers.node(number))
        await flowing
        await replicated.until_caught_up(may_end=(0, *RESTARTED))
    await end_well(replicated, one, two)


async def test_too_few_replicas_hold_up_what_they_are_too_few_for(
    replicated: Stack, brokers: LocalBroker
) -> None:
    """Ledger and dead letters are to be on three brokers, and one of them is gone."""
    config = replicated.config
    three = ConfigEntry("min.insync.replicas", "3", incremental_operation=AlterConfigOpType.SET)
    resources = [
        ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[three])
        for topic in (config.ledger_topic, config.dead_letter_topic)
    ]
    for answer in replicated.admin.incremental_alter_configs(resources).values():
        answer.result()
    worker = replicated.worker("w1", **SHORT)
    worker.start()
    await worker.until_logged("partition_opened")
    async with supervised(worker):
        node = brokers.node(1)
        await asyncio.to_thread(node.kill)
        flowing = asyncio.create_task(flow(replicated, EVENTS, 13))
        # Even the end of an aborted transaction cannot be written down then.
        words = ("transaction_aborted", "commit_unknown")
        await until(
            lambda: any(word in worker.log.read_text() for word in words),
            "a refusal",
            replicated.moved,
        )
        await flowing
        effects = len(replicated.wootric.state.effects)
        await come_back(brokers, node)
        await replicated.until_caught_up(may_end=(0, *RESTARTED))
    assert len(replicated.wootric.state.effects) > effects
    await end_well(replicated, worker)


def test_an_end_without_a_leader_is_no_answer(replicated: Stack, brokers: LocalBroker) -> None:
    """A barrier before the end would restore too little: there is one for all, or none."""
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
