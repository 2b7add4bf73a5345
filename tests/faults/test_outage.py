"""Kafka away as a whole, for several times as long as a request waits: every process lives on."""

import asyncio
import json
import sys
from collections.abc import Callable

import pytest
from common import COMMAND, SHORT, end_well, flow, publish
from confluent_kafka import KafkaException
from crowd import crowd, together
from lone_kafka import lone_kafka
from stack import Stack
from waiting import until

from stream.devtools.local_kafka import LocalBroker
from stream.errors import KafkaUnavailableError
from stream.kafka.lag import LagMeter
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
    await kill(kafka, away_s=2 * REQUEST_TIMEOUT_S)


async def kill(kafka: LocalBroker, *, away_s: float = REQUEST_TIMEOUT_S) -> None:
    """Connections are refused, then it is back."""
    await asyncio.to_thread(kafka.node(1).kill)
    await asyncio.sleep(away_s)
    kafka.node(1).start()
    await asyncio.to_thread(kafka.wait_until_ready)


async def shut_down(kafka: LocalBroker) -> None:
    """The same, after it has said goodbye."""
    await asyncio.to_thread(kafka.node(1).terminate)
    await kill(kafka)


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
        flowing = asyncio.create_task(flow(own, 200, 81))
        await until(lambda: len(stack.wootric.state.effects) > 20, "some effects", own.moved)
        await outage(kafka)
        await flowing
        await own.until_caught_up(may_end=())
        await exporter.until_ready()
        assert await asyncio.to_thread(exporter.stop) == 0
        await end_well(own, worker)


IN_A_ROW = {
    "once": (kill,),
    "again and again": pytest.param(
        (kill, shut_down, freeze, kill, freeze_and_kill), marks=pytest.mark.slow
    ),
}


@together(cases=IN_A_ROW)
async def test_the_lag_is_measured_after_each_outage(
    stack: Stack, outages: tuple[Outage, ...]
) -> None:
    """The client of the group's members may have another connection before it is asked for them.

    It would wait for the one that it has closed: see `Describer`.
    """
    async with lone_kafka(stack, ALONE) as (kafka, own):
        meter = LagMeter(own.config)

        def answers(ask: Callable[[], object]) -> bool:
            try:
                ask()
            except (KafkaException, KafkaUnavailableError):
                return False
            return True

        def connected() -> object:
            admin = meter.group._describer._admin
            return None if admin is None else admin.list_topics(timeout=REQUEST_TIMEOUT_S)

        async def until_measured() -> None:
            for ask in (connected, meter.measure):
                what = f"{ask.__name__} has a response"
                await until(lambda ask=ask: asyncio.to_thread(answers, ask), what)

        for outage in outages:
            await until_measured()
            await outage(kafka)
        await until_measured()
        await asyncio.to_thread(meter.close)


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
