"""Members of the group that sleep, meet their doubles, come and go."""

import asyncio
import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import launcher
import pytest
from confluent_kafka.admin import AdminClient, NewPartitions
from oracle import complaints
from stack import Stack, Worker

from stream.local.cluster import LocalBroker
from stream.local.traffic import Sample, traffic

SHORT = {"KAFKA__SESSION_TIMEOUT_S": "6", "KAFKA__TRANSACTION_TIMEOUT_S": "3"}
COMMAND = [sys.executable, str(Path(launcher.__file__))]


def some(events: int, seed: int) -> list[Sample]:
    return list(traffic(events=events, seed=seed, users=events // 5))


async def publish(stack: Stack, samples: list[Sample]) -> None:
    await asyncio.to_thread(stack.publish, [sample.value for sample in samples])


async def until(condition: object, what: str, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, f"never: {what}"
        await asyncio.sleep(0.05)


def slow(stack: Stack, reply_delay_s: float) -> None:
    stack.wootric.behaviour = stack.wootric.behaviour.changed({"reply_delay_s": reply_delay_s})


async def end_well(stack: Stack, *workers: Worker) -> None:
    await stack.until_caught_up(90, may_end=(0, -9, 75))
    for worker in workers:
        if worker.running.poll() is None:
            await worker.until_ready()
            assert await asyncio.to_thread(worker.stop) == 0
    assert await complaints(stack) == []


async def test_a_zombie_that_wakes_sends_nothing_twice(stack: Stack) -> None:
    """Frozen with requests under way, replaced after its session, then awake again."""
    slow(stack, 0.05)
    samples = some(600, 21)
    first, second = stack.worker("w1", **SHORT), stack.worker("w2", **SHORT)
    first.start()
    await first.until_logged("partition_opened")
    await publish(stack, samples)
    await until(lambda: len(stack.wootric.state.effects) > 20, "some effects")
    first.freeze()
    second.start()
    await second.until_logged("partition_opened")
    await asyncio.sleep(1)
    first.thaw()
    await end_well(stack, first, second)


@pytest.mark.parametrize(
    "point", ["before begin transaction", "before send offsets", "before commit", "after commit"]
)
async def test_a_zombie_in_its_transaction_commits_nothing_of_others(
    stack: Stack, point: str
) -> None:
    """Frozen at a step of a transaction; another owns its partitions when it goes on."""
    samples = some(300, 22)
    faults = json.dumps({point: (3, "stop")})
    first = stack.worker("w1", command=COMMAND, FAULTS=faults, **SHORT)
    second = stack.worker("w2", **SHORT)
    first.start()
    await first.until_ready()
    await publish(stack, samples)
    await until(lambda: first.frozen, "the worker stops itself")
    second.start()
    await second.until_logged("partition_opened")
    await stack.until_caught_up(60)
    more = some(100, 23)
    first.thaw()
    await publish(stack, more)
    await end_well(stack, first, second)


async def test_a_transaction_that_nobody_ends_holds_up_for_seconds_only(stack: Stack) -> None:
    """Killed inside a transaction that could last a minute; another instance takes over."""
    patient = {**SHORT, "KAFKA__TRANSACTION_TIMEOUT_S": "60"}
    samples = some(200, 24)
    faults = json.dumps({"before commit": (3, "kill")})
    first = stack.worker("w1", command=COMMAND, FAULTS=faults, **patient)
    second = stack.worker("w2", **patient)
    first.start()
    await first.until_ready()
    await publish(stack, samples)
    await until(lambda: first.running.poll() is not None, "the kill")
    killed_at = time.monotonic()
    second.start()
    await end_well(stack, second)
    assert time.monotonic() - killed_at < 40  # session, ghost and quiet time; not the minute


async def test_two_workers_with_one_identity_end_as_one(stack: Stack) -> None:
    """One of them is refused and says why; nothing is there twice."""
    slow(stack, 0.02)
    samples = some(500, 25)
    first, second = stack.worker("w1", **SHORT), stack.worker("w1", **SHORT)
    second.log = stack.folder / "double.log"
    first.start()
    await first.until_logged("partition_opened")
    await publish(stack, samples)
    second.start()
    await until(lambda: first.running.poll() is not None, "the first one is fenced")
    assert first.running.returncode == 75
    assert "KAFKA__INSTANCE_ID" in first.log.read_text()
    await end_well(stack, second)


async def test_offsets_set_back_to_the_beginning_repeat_nothing(stack: Stack) -> None:
    """The ledger knows what was done; only what is skipped is judged again."""
    samples = some(400, 26)
    worker = stack.worker("w1", **SHORT)
    worker.start()
    await publish(stack, samples)
    await stack.until_caught_up()
    assert await asyncio.to_thread(worker.stop) == 0
    effects = len(stack.wootric.state.effects)
    await asyncio.to_thread(stack.rewind)
    worker.start()
    await worker.until_ready()
    await end_well(stack, worker)
    assert len(stack.wootric.state.effects) == effects


async def test_partitions_without_a_ledger_wait_for_it(stack: Stack) -> None:
    """The input grows: the new partition halts with a reason, then opens by itself."""
    worker = stack.worker(
        "w1",
        **SHORT,
        KAFKA__PROPERTIES='{"topic.metadata.refresh.interval.ms": 1000}',
    )
    worker.start()
    await worker.until_logged("partition_opened")
    admin = AdminClient({"bootstrap.servers": stack.bootstrap_servers})

    def grow(topic: str) -> None:
        partitions = NewPartitions(topic, stack.partitions + 1)
        admin.create_partitions([partitions])[topic].result()

    await asyncio.to_thread(grow, stack.config.topic)
    await worker.until_logged("ledger_missing")
    samples = some(200, 27)
    await publish(stack, samples)
    await asyncio.to_thread(grow, stack.config.ledger_topic)
    stack.partitions += 1
    await end_well(stack, worker)


async def test_a_storm_of_rebalances_changes_nothing(stack: Stack) -> None:
    """Workers join and leave every second or two, with requests under way."""
    slow(stack, 0.02)
    samples = some(900, 28)
    steady = stack.worker("w1", **SHORT)
    guests = [stack.worker(f"g{number}", **SHORT) for number in range(2)]
    steady.start()
    await steady.until_logged("partition_opened")
    for number in range(9):
        await publish(stack, samples[number * 100 : (number + 1) * 100])
        guest = guests[number % 2]
        guest.start()
        await guest.until_ready()
        await asyncio.sleep(0.5)
        assert await asyncio.to_thread(guest.stop) == 0
    await end_well(stack, steady)


async def test_the_new_group_protocol_delivers_once_too(stack: Stack) -> None:
    """A smoke test: kill -9 and a second worker under `group.protocol=consumer`."""
    modern = {"KAFKA__PROPERTIES": '{"group.protocol": "consumer"}'}
    slow(stack, 0.02)
    samples = some(400, 29)
    first, second = stack.worker("w1", **modern), stack.worker("w2", **modern)
    first.start()
    await first.until_logged("partition_opened")
    await publish(stack, samples)
    second.start()
    await second.until_ready()
    await asyncio.to_thread(first.kill)
    first.start()
    await end_well(stack, first, second)


async def test_a_revoke_does_not_wait_for_a_slow_wootric(stack: Stack) -> None:
    """What is not finished in time is left to the next owner, which repeats nothing."""
    slow(stack, 1.5)
    bounded = {**SHORT, "KAFKA__REVOKE_WAIT_S": "0.5"}
    samples = some(120, 30)
    first, second = stack.worker("w1", **bounded), stack.worker("w2", **bounded)
    first.start()
    await first.until_logged("partition_opened")
    await publish(stack, samples)
    await until(lambda: len(stack.wootric.state.effects) > 0, "some effects")
    second.start()
    await second.until_logged("partition_opened")
    metrics = await first.metrics()
    assert metrics["wootric_records_relinquished_total"] > 0
    slow(stack, 0)
    await end_well(stack, first, second)


async def test_it_leaves_while_kafka_is_frozen(tmp_path: Path) -> None:
    """SIGTERM with a commit unanswered ends within the drain's bound, with nothing lost."""
    from sink.wootric.emulator import Emulator  # noqa: PLC0415

    with LocalBroker(nodes=1, directory=tmp_path / "kafka") as kafka, ExitStack() as after:
        async with Emulator() as wootric:
            stack = Stack(kafka.bootstrap_servers, wootric, tmp_path)
            after.callback(stack.end)
            await asyncio.to_thread(stack.create_topics)
            samples = some(300, 31)
            worker = stack.worker("w1", **SHORT)
            worker.start()
            await worker.until_logged("partition_opened")
            await publish(stack, samples)
            await until(lambda: len(wootric.state.effects) > 10, "some effects")
            kafka.node(1).pause()
            began_at = time.monotonic()
            code = await asyncio.to_thread(worker.stop, 60)
            took_s = time.monotonic() - began_at
            kafka.node(1).resume()
            assert code in (0, 75)
            assert took_s < 30
            worker.start()
            await worker.until_ready()
            await end_well(stack, worker)


async def test_a_client_that_cannot_be_closed_does_not_hold_the_worker(stack: Stack) -> None:
    """Seen in a soak: closing the consumer in the middle of a rebalance raised a SystemError."""
    faults = json.dumps({"before leave": (1, "break")})
    worker = stack.worker("w1", command=COMMAND, FAULTS=faults, **SHORT)
    worker.start()
    await publish(stack, some(50, 32))
    await end_well(stack, worker)
