"""Members of the group that sleep, meet their doubles, come, go, and have troubles of their own."""

import asyncio
import json
import signal
import time
from dataclasses import replace

import pytest
from common import (
    COMMAND,
    IMPATIENT,
    SHORT,
    end_well,
    flow,
    publish,
    slow,
    supervised,
    total,
)
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import NewPartitions
from crowd import crowd, together
from lone_kafka import lone_kafka
from stack import Stack
from waiting import SLOWNESS, STILL_S, slowness, stretched, until
from with_constants import command, constants

from stream.devtools.wootric_emulator import Emulator
from stream.kafka import config as settings

__all__ = ["crowd"]


def under_way(wootric: Emulator) -> int:
    """How many requests Wootric has not answered yet."""
    return sum(1 for entry in wootric.journal.entries if entry.status is None)


# Zombies


@together()
async def test_a_zombie_that_wakes_sends_nothing_twice(stack: Stack) -> None:
    """Frozen with requests under way, replaced after its session, then awake again."""
    slow(stack, 0.05)
    first, second = stack.worker("w1", **SHORT), stack.worker("w2", **SHORT)
    first.start()
    await first.until_logged("partition_opened")
    await publish(stack, 400, 21)
    await until(lambda: len(stack.wootric.state.effects) > 20, "some effects", stack.moved)
    first.freeze()
    second.start()
    await second.until_logged("partition_opened")
    await asyncio.sleep(1)
    first.thaw()
    await end_well(stack, first, second)


POINTS = ("before begin transaction", "before send offsets", "before commit", "after commit")


@together(cases={point: point for point in POINTS})
async def test_a_zombie_in_its_transaction_commits_nothing_of_others(
    stack: Stack, point: str
) -> None:
    """Frozen at a step of a transaction; another owns its partitions when it goes on."""
    faults = json.dumps({point: (3, "stop")})
    first = stack.worker("w1", command=COMMAND, FAULTS=faults, **SHORT)
    second = stack.worker("w2", **SHORT)
    first.start()
    await first.until_ready()
    await publish(stack, 150, 22)
    await until(lambda: first.frozen, "the worker stops itself", stack.moved)
    second.start()
    await second.until_logged("partition_opened")
    await stack.until_caught_up()
    first.thaw()
    await publish(stack, 50, 23)
    await end_well(stack, first, second)


@together()
async def test_a_freeze_between_check_and_write_is_outwaited(stack: Stack) -> None:
    """The last check was good, the bytes leave seconds later: the next owner looks after that."""
    faults = json.dumps({"between check and write": (30, "stop")})
    settings = {**SHORT, "WOOTRIC__QUIET_PERIOD_S": stretched(5)}
    first = stack.worker("w1", command=COMMAND, FAULTS=faults, **settings)
    second = stack.worker("w2", **settings)
    first.start()
    await first.until_ready()
    await publish(stack, 200, 33)
    await until(lambda: first.frozen, "the worker stops itself", stack.moved)
    second.start()
    await second.until_logged("partition_opened")
    first.thaw()  # long before lease, request timeout and quiet period are over
    await end_well(stack, first, second)


# Transactions

BROKERS_TRANSACTION_S_MAX = 900


@together()
async def test_a_transaction_that_nobody_ends_holds_up_for_seconds_only(stack: Stack) -> None:
    """Killed inside a transaction that could last longer than any wait; another takes over."""
    patient = {**SHORT, "KAFKA__TRANSACTION_TIMEOUT_S": str(BROKERS_TRANSACTION_S_MAX)}
    assert BROKERS_TRANSACTION_S_MAX > STILL_S
    faults = json.dumps({"before commit": (3, "kill")})
    first = stack.worker("w1", command=COMMAND, FAULTS=faults, **patient)
    second = stack.worker("w2", **patient)
    first.start()
    await first.until_ready()
    await publish(stack, 200, 24)
    await first.until_ended()
    second.start()
    await end_well(stack, second)


@together()
async def test_a_transaction_that_timed_out_is_said_again(stack: Stack) -> None:
    """Frozen inside it for longer than the broker waits, within its session: it goes on itself."""
    faults = json.dumps({"before commit of entries": (6, "stop")})
    times = {"KAFKA__SESSION_TIMEOUT_S": "300", "KAFKA__TRANSACTION_TIMEOUT_S": "5"}
    worker = stack.worker("w1", command=COMMAND, FAULTS=faults, **times)
    worker.start()
    await worker.until_ready()
    publishing = asyncio.create_task(publish(stack, 600, 34))
    await until(lambda: worker.frozen, "the worker stops itself", stack.moved)
    topic = stack.config.ledger_topic
    assert stack.ends(topic) != stack.ends(topic, stable=False)
    await until(
        lambda: stack.ends(topic) == stack.ends(topic, stable=False), "the coordinator ends it"
    )
    worker.thaw()
    await publishing
    await worker.until_logged("commit_unknown")
    await stack.until_caught_up()
    assert total(await worker.metrics(), "wootric_consumer_rebalances_total") == 1
    await end_well(stack, worker)


@together()
async def test_a_transaction_of_somebody_else_that_hangs_holds_up_its_partition_only(
    stack: Stack,
) -> None:
    """It is open in a partition of the input and of the ledger, until the broker ends it."""
    stranger = Producer(
        {
            "bootstrap.servers": stack.bootstrap_servers,
            "transactional.id": f"{stack.config.group_id}x-stranger",
            "transaction.timeout.ms": round(float(stretched(15)) * 1000),
        }
    )
    await asyncio.to_thread(stranger.init_transactions, STILL_S)
    stranger.begin_transaction()
    for topic in (stack.config.topic, stack.config.ledger_topic):
        stranger.produce(topic, b"never committed", b"user/nobody", partition=0)
    await asyncio.to_thread(stranger.flush, STILL_S)
    await publish(stack, 200, 35)
    worker = stack.worker("w1", **SHORT)
    worker.start()

    def opened() -> list[int]:
        events = worker.logged()
        return [line["partition"] for line in events if line["event"] == "partition_opened"]

    await until(lambda: len(opened()) == stack.partitions, "all partitions open", opened)
    assert opened()[-1] == 0
    await end_well(stack, worker)


@together()
async def test_a_producer_that_is_fenced_ends_its_worker(stack: Stack) -> None:
    """Somebody else takes the transactional id: the worker says so and leaves."""
    worker = stack.worker("w1", **SHORT)
    worker.start()
    await publish(stack, 100, 36)
    await stack.until_caught_up()
    names = {"transactional.id": f"{stack.config.group_id}-w1"}
    stranger = Producer({"bootstrap.servers": stack.bootstrap_servers, **names})
    await asyncio.to_thread(stranger.init_transactions, STILL_S)
    await publish(stack, 100, 37)
    assert await worker.until_ended() == 75
    assert "KAFKA__INSTANCE_ID" in worker.log.read_text()
    worker.start()
    await end_well(stack, worker)


FORGETFUL = {
    "transactional.id.expiration.ms": "3000",
    "transaction.remove.expired.transaction.cleanup.interval.ms": "500",
    "producer.id.expiration.ms": "2000",
    "producer.id.expiration.check.interval.ms": "500",
}


@pytest.mark.slow
@together()
async def test_a_transactional_id_that_kafka_has_forgotten_is_taken_again(stack: Stack) -> None:
    """A worker that had nothing to do for longer than a week, which here is three seconds."""
    async with lone_kafka(stack, FORGETFUL) as (_, own):
        worker = own.worker("w1", **SHORT)
        worker.start()
        await publish(own, 100, 38)
        await own.until_caught_up()
        await asyncio.sleep(6)
        async with supervised(worker):
            await publish(own, 100, 39)
            await own.until_caught_up()
        trouble = ("commit_unknown", "transaction_aborted", "another worker")
        assert any(word in worker.log.read_text() for word in trouble), "it was never forgotten"
        await end_well(own, worker)


STUCK = {
    "before it commits": pytest.param({"before send offsets": (8, "stop")}, marks=pytest.mark.slow),
    "in a commit": {"before commit": (8, "stop")},
    "in an abort": pytest.param(
        {"before commit": (8, "fail"), "before abort": (1, "stop")}, marks=pytest.mark.slow
    ),
}


@together(cases=STUCK)
async def test_it_leaves_while_kafka_is_frozen(
    stack: Stack, faults: dict[str, tuple[int, str]]
) -> None:
    """SIGTERM with a transaction unanswered ends within the drain's bound, with nothing lost."""
    async with lone_kafka(stack, {}) as (kafka, own):
        worker = own.worker("w1", command=COMMAND, FAULTS=json.dumps(faults), **SHORT)
        worker.start()
        await worker.until_logged("partition_opened")
        publishing = asyncio.create_task(publish(own, 300, 31))
        await until(lambda: worker.frozen, "the worker stops itself", stack.moved)
        await publishing
        kafka.node(1).pause()
        worker.thaw()
        began_at = time.monotonic()
        code = await asyncio.to_thread(worker.stop)
        took_s = time.monotonic() - began_at
        kafka.node(1).resume()
        assert code in (0, 75)
        assert took_s < 30 * max(SLOWNESS, slowness())  # the drain's own bounds, and no more
        whole = own.worker("w1", **SHORT)
        whole.start()
        await whole.until_ready()
        await end_well(own, whole)


# The group


@together()
async def test_two_workers_with_one_identity_end_as_one(stack: Stack) -> None:
    """One of them is refused and says why; nothing is there twice."""
    slow(stack, 0.02)
    first, second = stack.worker("w1", **SHORT), stack.worker("w1", **SHORT)
    second.log = stack.folder / "double.log"
    first.start()
    await first.until_logged("partition_opened")
    await publish(stack, 400, 25)
    second.start()
    assert await first.until_ended() == 75
    assert "KAFKA__INSTANCE_ID" in first.log.read_text()
    await end_well(stack, second)


async def join_as_w1(stack: Stack) -> None:
    """Be w1's double for a moment: the group knows the worker's own client no longer.

    The same is left by a coordinator that takes a static member in and dies before it says so.
    """
    config = replace(stack.config, instance_id="w1")
    double = Consumer(settings.consumer(config))
    joined: list[object] = []
    double.subscribe([config.topic], on_assign=lambda _, found: joined.append(found))

    def is_in() -> bool:
        double.poll(0)
        return bool(joined)

    await until(is_in, "the double is in")
    await asyncio.to_thread(double.close)


@together()
async def test_a_worker_that_the_group_refuses_joins_again(stack: Stack) -> None:
    """In the same process, by another client; what was under way is there once.

    And what it knew lies where it was: nobody still has the store.
    """
    slow(stack, 0.02)
    worker = stack.worker("w1", **SHORT, STATE__DIR=str(stack.folder / "state"))
    worker.start()
    await worker.until_logged("partition_opened")
    publishing = asyncio.create_task(flow(stack, 200, 45))
    await until(lambda: len(stack.wootric.state.effects) > 20, "some effects", stack.moved)
    await join_as_w1(stack)
    await publishing
    await worker.until_logged("rejoining_group")
    await stack.until_caught_up()
    assert worker.running.poll() is None
    await end_well(stack, worker)
    assert "state_store_unusable" not in worker.log.read_text()


@together()
async def test_a_worker_that_is_refused_again_and_again_ends(stack: Stack) -> None:
    """Then it has a double, and one of them has to leave."""
    worker = stack.worker("w1", **SHORT)
    worker.start()
    await worker.until_logged("partition_opened")
    await join_as_w1(stack)
    await worker.until_logged("rejoining_group")

    def is_back() -> bool:
        events = [line["event"] for line in worker.logged()]
        return "partition_opened" in events[events.index("rejoining_group") :]

    await until(is_back, "it has partitions again", worker.said)
    await join_as_w1(stack)
    assert await worker.until_ended() == 75
    assert "KAFKA__INSTANCE_ID" in worker.log.read_text()
    worker.start()
    await publish(stack, 50, 46)
    await end_well(stack, worker)


@together()
async def test_offsets_set_back_to_the_beginning_repeat_nothing(stack: Stack) -> None:
    """The ledger knows what was done; only what is skipped is judged again."""
    worker = stack.worker("w1", **SHORT)
    worker.start()
    await publish(stack, 200, 26)
    await stack.until_caught_up()
    assert await asyncio.to_thread(worker.stop) == 0
    effects = len(stack.wootric.state.effects)
    await asyncio.to_thread(stack.rewind)
    worker.start()
    await worker.until_ready()
    await end_well(stack, worker)
    assert len(stack.wootric.state.effects) == effects


@together()
async def test_partitions_without_a_ledger_wait_for_it(stack: Stack) -> None:
    """The input grows: the new partition halts with a reason, then opens by itself."""
    worker = stack.worker(
        "w1",
        **SHORT,
        KAFKA__PROPERTIES='{"topic.metadata.refresh.interval.ms": 1000}',
    )
    worker.start()
    await worker.until_logged("partition_opened")

    def grow(topic: str) -> None:
        partitions = NewPartitions(topic, stack.partitions + 1)
        stack.admin.create_partitions([partitions])[topic].result()

    await asyncio.to_thread(grow, stack.config.topic)
    await worker.until_logged("ledger_missing")
    await publish(stack, 200, 27)
    await asyncio.to_thread(grow, stack.config.ledger_topic)
    stack.partitions += 1
    await end_well(stack, worker)


@together()
async def test_a_storm_of_rebalances_changes_nothing(stack: Stack) -> None:
    """Workers join and leave every second or two, with requests under way."""
    slow(stack, 0.02)
    steady = stack.worker("w1", **SHORT)
    guests = [stack.worker(f"g{number}", **SHORT) for number in range(2)]
    steady.start()
    await steady.until_logged("partition_opened")
    for number in range(6):
        await publish(stack, 60, 280 + number)
        guest = guests[number % 2]
        guest.start()
        await guest.until_ready()
        await asyncio.sleep(0.5)
        assert await asyncio.to_thread(guest.stop) == 0
    await end_well(stack, steady)


GIVEN_AWAY = {
    "before": {"before unassign": (1, "kill")},
    "after": pytest.param({"after unassign": (1, "kill")}, marks=pytest.mark.slow),
}


@together(cases=GIVEN_AWAY)
async def test_a_restart_while_partitions_are_given_away_leaves_none_without_an_owner(
    stack: Stack, faults: dict[str, tuple[int, str]]
) -> None:
    """Back within its session, it gets what it had left, and nobody was told of the rest."""
    first = stack.worker("w1", command=COMMAND, FAULTS=json.dumps(faults), **SHORT)
    second = stack.worker("w2", **SHORT)
    first.start()
    await first.until_logged("partition_opened")
    second.start()
    await first.until_ended()
    first.forget_faults()
    first.start()
    await publish(stack, 200, 47)
    await end_well(stack, first, second)
    assert "requesting_rebalance" in first.text() + second.text()


@together()
async def test_the_new_group_protocol_delivers_once_too(stack: Stack) -> None:
    """A smoke test: kill -9 and a second worker under `group.protocol=consumer`.

    Under it a killed worker is refused until its own ghost's session is over.
    """
    modern = {"KAFKA__PROPERTIES": '{"group.protocol": "consumer"}'}
    slow(stack, 0.02)
    first, second = stack.worker("w1", **modern), stack.worker("w2", **modern)
    first.start()
    await first.until_logged("partition_opened")
    await publish(stack, 400, 29)
    second.start()
    await second.until_ready()
    await asyncio.to_thread(first.kill)
    first.start()
    async with supervised(first):
        await stack.until_caught_up(may_end=(0, 75))
        await first.until_ready()
    await end_well(stack, first, second)


@together()
async def test_a_revoke_does_not_wait_for_a_slow_wootric(stack: Stack) -> None:
    """What is not finished in time is left to the next owner, which repeats nothing."""
    slow(stack, 1.5)
    bounded = {**SHORT, **constants(stream__runtime__worker__REVOKE_TIMEOUT_S=0.5)}
    first, second = (stack.worker(name, command=command("run"), **bounded) for name in ("w1", "w2"))
    first.start()
    await first.until_logged("partition_opened")
    await publish(stack, 1_500, 30)  # more than is done until the other one has started
    await until(lambda: len(stack.wootric.state.effects) > 0, "some effects", stack.moved)
    second.start()
    await second.until_logged("partition_opened")
    metrics = await first.metrics()
    assert metrics["wootric_records_relinquished_total"] > 0
    slow(stack, 0)
    await end_well(stack, first, second)


# Troubles of its own


@together()
async def test_a_client_that_cannot_be_closed_does_not_hold_the_worker(stack: Stack) -> None:
    """Seen in a soak: closing the consumer in the middle of a rebalance raised a SystemError."""
    faults = json.dumps({"before leave": (1, "break")})
    worker = stack.worker("w1", command=COMMAND, FAULTS=faults, **SHORT)
    worker.start()
    await publish(stack, 50, 32)
    await end_well(stack, worker)


@together()
async def test_a_call_that_never_returns_is_given_up(stack: Stack) -> None:
    """Seen after resets: librdkafka forgets its timeout when it sends offsets (its issue 5456)."""
    faults = json.dumps({"before send offsets": (8, "hang")})
    worker = stack.worker("w1", command=COMMAND, FAULTS=faults, **SHORT)
    worker.start()
    await publish(stack, 300, 45)
    await stack.until_caught_up()
    assert "commit_unknown" in worker.log.read_text()
    assert total(await worker.metrics(), "wootric_consumer_rebalances_total") == 1
    await end_well(stack, worker)


@together()
async def test_a_client_that_breaks_in_a_transaction_loses_and_repeats_nothing(
    stack: Stack,
) -> None:
    """Seen while brokers failed: a delivery report met another error, and flushing raised."""
    faults = json.dumps({"before flush": (8, "break")})
    worker = stack.worker("w1", command=COMMAND, FAULTS=faults, **SHORT)
    worker.start()
    await publish(stack, 300, 46)
    await stack.until_caught_up()
    await end_well(stack, worker)


@together(cases={"a blocking call": "stall", "a call that hogs the interpreter": "hog"})
async def test_an_event_loop_that_stands_still_sends_nothing_late(stack: Stack, how: str) -> None:
    """Twice the lease long: what was released has to be fenced anew; the group never moves."""
    faults = json.dumps({"before create_end_user": (20, how)})
    settings = {**IMPATIENT, "KAFKA__IN_FLIGHT_RECORDS_MAX": "1000"}
    worker = stack.worker(
        "w1", command=COMMAND, FAULTS=faults, STALL_S=f"{2 * float(stretched(2)):.0f}", **settings
    )
    worker.start()
    await worker.until_logged("partition_opened")
    slow(stack, 0.05)
    await publish(stack, 300, 40)
    await stack.until_caught_up()
    metrics = await worker.metrics()
    assert sum(n for name, n in metrics.items() if 'outcome="withheld"' in name) > 0
    assert total(metrics, "wootric_consumer_rebalances_total") == 1
    await end_well(stack, worker)


@together()
async def test_a_wall_clock_that_jumps_changes_nothing(stack: Stack) -> None:
    """An hour ahead, an hour behind, and right again, while events flow and a worker is killed."""
    jumps = json.dumps([[3, 3600], [5, -3600], [7, 0]])
    worker = stack.worker("w1", command=COMMAND, CLOCK=jumps, **SHORT)
    worker.start()
    await worker.until_logged("partition_opened")
    await flow(stack, 200, 41, pause_s=0.6)
    await asyncio.to_thread(worker.kill)
    worker.start()
    await flow(stack, 200, 42, pause_s=0.6)
    await end_well(stack, worker)


@together()
async def test_a_second_sigterm_changes_nothing(stack: Stack) -> None:
    """Full of requests that take their time, it is told to leave, and told again."""
    slow(stack, 1.0)
    worker = stack.worker("w1", WOOTRIC__REQUEST_TIMEOUT_S=stretched(10), **SHORT)
    worker.start()
    await worker.until_logged("partition_opened")
    await publish(stack, 400, 43)
    await until(lambda: under_way(stack.wootric) > 20, "many requests under way", stack.moved)
    worker.running.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.3)
    worker.running.send_signal(signal.SIGTERM)
    assert await worker.until_ended() == 0
    intents = [key for _, key in await asyncio.to_thread(stack.ledger) if key.startswith("intent/")]
    assert not intents
    slow(stack, 0)
    worker.start()
    await end_well(stack, worker)


@together(cases={"at once": False, "at the end of its grace": True})
async def test_a_worker_that_is_killed_at_its_fullest_leaves_nothing_undone(
    stack: Stack, told: bool
) -> None:
    """As many requests under way as it may have: out of memory, or out of patience."""
    slow(stack, float(stretched(3)))
    worker = stack.worker("w1", WOOTRIC__REQUEST_TIMEOUT_S=stretched(6), **SHORT)
    worker.start()
    await worker.until_logged("partition_opened")
    await publish(stack, 600, 44)
    await until(lambda: under_way(stack.wootric) >= 16, "the most requests under way", stack.moved)
    if told:
        worker.running.send_signal(signal.SIGTERM)
        await asyncio.sleep(1)
    await asyncio.to_thread(worker.kill)
    slow(stack, 0)
    worker.start()
    await end_well(stack, worker)
