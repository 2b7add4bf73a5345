"""Kafka away as a whole, for several times as long as a request waits: every process lives on."""

import asyncio
import json
import sys
from collections.abc import Callable

import pytest
from common import COMMAND, SHORT, end_well, flow, publish
from crowd import crowd, together
from lone_kafka import lone_kafka
from stack import Stack
from waiting import until

from stream.devtools.local_kafka import LocalBroker
from stream.kafka.metadata import REQUEST_TIMEOUT_S

__all__ = ["crowd"]

ALONE = {"broker.session.timeout.ms": "6000"}
"""A lone broker that was killed is taken in again after this."""
EXPORTER = (sys.executable, "-m", "stream", "lag-exporter", "--every", "1")
AWAY_S = 3 * REQUEST_TIMEOUT_S


async def freeze(kafka: LocalBroker) -> None:
    """Its connections stay open and nothing is answered; then all is answered at once."""
    kafka.node(1).pause()
    await asyncio.sleep(AWAY_S)
    kafka.node(1).resume()


async def freeze_and_kill(kafka: LocalBroker) -> None:
    """Nothing is answered, then all connections break, then nobody listens."""
    kafka.node(1).pause()
    await asyncio.sleep(AWAY_S)
    await asyncio.to_thread(kafka.node(1).kill)
    await asyncio.sleep(2 * REQUEST_TIMEOUT_S)
    kafka.node(1).start()
    await asyncio.to_thread(kafka.wait_until_ready)


OUTAGES = {
    "frozen": freeze,
    "frozen, then killed": pytest.param(freeze_and_kill, marks=pytest.mark.slow),
}

Outage = Callable[[LocalBroker], object]


@together(cases=OUTAGES)
async def test_worker_and_lag_exporter_live_through_an_outage(stack: Stack, outage: Outage) -> None:
    """Both have requests of every kind under way when it begins."""
    async with lone_kafka(stack, ALONE) as (kafka, own):
        worker = own.worker("w1", **SHORT)
        exporter = own.worker("lag", command=EXPORTER)
        for one in (worker, exporter):
            one.start()
            await one.until_ready()
        flowing = asyncio.create_task(flow(own, 400, 81))
        await until(lambda: len(stack.wootric.state.effects) > 20, "some effects", own.moved)
        await outage(kafka)
        await flowing
        await own.until_caught_up(may_end=())
        await exporter.until_ready()
        assert await asyncio.to_thread(exporter.stop) == 0
        await end_well(own, worker)


@together(cases=OUTAGES)
async def test_a_worker_lives_through_an_outage_that_begins_while_it_asks_for_members(
    stack: Stack, outage: Outage
) -> None:
    """A transaction that its dead predecessor left open blocks it: it asks whether that is gone.

    The client would end the process when the coordinator is back: see `describe_group`.
    """
    async with lone_kafka(stack, ALONE) as (kafka, own):
        patient = {**SHORT, "KAFKA__TRANSACTION_TIMEOUT_S": "300"}
        dying = json.dumps({"before commit": (8, "kill")})
        dead = own.worker("w0", command=COMMAND, FAULTS=dying, **patient)
        dead.start()
        await dead.until_ready()
        await publish(own, 300, 82)
        await dead.until_ended()
        asking = json.dumps({"before members": (1, "stop")})
        worker = own.worker("w1", command=COMMAND, FAULTS=asking, **SHORT)
        worker.start()
        await until(lambda: worker.frozen, "it asks for the members", worker.said)
        kafka.node(1).pause()
        worker.thaw()
        await outage(kafka)
        await own.until_caught_up(may_end=(-9,))
        assert worker.lives
        await end_well(own, worker)
