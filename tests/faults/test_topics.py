"""Topics that are taken away, closed, made anew, and compacted under a live worker."""

import asyncio
import json
import os
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

from common import COMMAND, end_well, publish
from confluent_kafka import KafkaError, Producer, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourcePatternType,
    ResourceType,
)
from conftest import PASSWORD, Cluster
from crowd import crowd, together
from msgspec.structs import replace
from stack import Stack, Worker
from waiting import STILL_S, stretched, until, until_now

from sink.delivery import EndUser
from stream.state.ledger import UserEntry, encode

__all__ = ["crowd"]

EVERYBODY = "User:worker"
PLENTY = 60


# What is done to a topic


def rights(stack: Stack) -> Iterable[tuple[ResourceType, str, AclOperation]]:
    """What docs/reference/access.md says that the service asks of Kafka, and nothing more."""
    topic, group, cluster = ResourceType.TOPIC, ResourceType.GROUP, ResourceType.BROKER
    config = stack.config
    yield topic, config.topic, AclOperation.READ
    yield topic, config.ledger_topic, AclOperation.READ
    written = (config.ledger_topic, config.dead_letter_topic, config.parked_topic)
    for name in written:
        yield topic, name, AclOperation.WRITE
    for name in (config.topic, *written):
        yield topic, name, AclOperation.DESCRIBE
        yield topic, name, AclOperation.DESCRIBE_CONFIGS
    yield group, config.group_id, AclOperation.READ
    yield cluster, "kafka-cluster", AclOperation.DESCRIBE_CONFIGS
    for operation in (AclOperation.WRITE, AclOperation.DESCRIBE):
        yield ResourceType.TRANSACTIONAL_ID, f"{config.group_id}-", operation


def allow(stack: Stack, wanted: Iterable[tuple[ResourceType, str, AclOperation]]) -> None:
    """Give the worker rights."""
    for answer in stack.admin.create_acls([acl(AclBinding, *one) for one in wanted]).values():
        answer.result()


def deny(stack: Stack, *one: object) -> None:
    """Take a right from the worker."""
    for answer in stack.admin.delete_acls([acl(AclBindingFilter, *one)]).values():
        assert len(answer.result()) == 1


def acl(make: Callable[..., object], kind: object, name: object, operation: object) -> object:
    prefixed = kind is ResourceType.TRANSACTIONAL_ID
    pattern = ResourcePatternType.PREFIXED if prefixed else ResourcePatternType.LITERAL
    return make(kind, name, pattern, EVERYBODY, "*", operation, AclPermissionType.ALLOW)


def configure(stack: Stack, topic: str, **settings: str | None) -> None:
    """Change a topic's configuration; None takes a setting back."""
    entries = [
        ConfigEntry(
            name.replace("_", "."),
            value,
            incremental_operation=AlterConfigOpType.DELETE
            if value is None
            else AlterConfigOpType.SET,
        )
        for name, value in settings.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    for answer in stack.admin.incremental_alter_configs([resource]).values():
        answer.result()


def delete(stack: Stack, topic: str) -> None:
    stack.admin.delete_topics([topic], operation_timeout=20)[topic].result()


@dataclass(frozen=True)
class Trouble:
    """Something that makes a write impossible, and what ends it."""

    strike: Callable[[Stack], None]
    mend: Callable[[Stack], None]


def no_right(topic_of: Callable[[Stack], str]) -> Trouble:
    right = lambda stack: (ResourceType.TOPIC, topic_of(stack), AclOperation.WRITE)  # noqa: E731
    return Trouble(
        lambda stack: deny(stack, *right(stack)), lambda stack: allow(stack, [right(stack)])
    )


def letters(stack: Stack) -> str:
    return stack.config.dead_letter_topic


def parked(stack: Stack) -> str:
    return stack.config.parked_topic


def events(stack: Stack) -> str:
    return stack.config.topic


def ledger(stack: Stack) -> str:
    return stack.config.ledger_topic


TROUBLES = {
    "dead letters, no right": no_right(letters),
    "ledger, no right": no_right(ledger),
    "dead letters, too large": Trouble(
        lambda stack: configure(stack, letters(stack), max_message_bytes="1000"),
        lambda stack: configure(stack, letters(stack), max_message_bytes="2000000"),
    ),
    "dead letters, deleted": Trouble(
        lambda stack: delete(stack, letters(stack)),
        Stack.create_topics,
    ),
}


def guarded(stack: Stack, cluster: Cluster) -> Worker:
    """A worker that has said who it is, and has only the rights that it needs."""
    allow(stack, rights(stack))
    asked = f"{stack.config.group_id}.last"  # who knows the last right knows those before it
    allow(stack, [(ResourceType.TOPIC, asked, AclOperation.DESCRIBE)])
    login = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "worker",
        "sasl.password": PASSWORD,
    }
    for server in cluster.guarded_servers.split(","):
        until_now(lambda server=server: lets_in(server, login, asked), "the rights count")
    return stack.worker(
        "w1",
        KAFKA__BOOTSTRAP_SERVERS=cluster.guarded_servers,
        KAFKA__PROPERTIES=json.dumps(login),
        KAFKA__TRANSACTION_TIMEOUT_S=stretched(4),
    )


def lets_in(server: str, login: Mapping[str, str], topic: str) -> bool:
    """Whether a broker has heard of the rights: the controller's word is not each broker's."""
    admin = AdminClient({"bootstrap.servers": server, **login})
    error = admin.list_topics(topic, timeout=STILL_S).topics[topic].error
    return error is None or error.code() != KafkaError.TOPIC_AUTHORIZATION_FAILED


@together("cluster", on="three_brokers", cases=TROUBLES)
async def test_a_write_that_is_refused_holds_up_what_it_belongs_to(
    stack: Stack, cluster: Cluster, trouble: Trouble
) -> None:
    """Nothing is committed past it, and all goes on by itself once it is mended."""
    worker = await asyncio.to_thread(guarded, stack, cluster)
    worker.start()
    await publish(stack, PLENTY, 51)
    await stack.until_caught_up()
    await asyncio.to_thread(trouble.strike, stack)
    bad = [Random(number).randbytes(5_000) for number in range(4 * stack.partitions)]
    await asyncio.to_thread(stack.publish, bad)
    await publish(stack, PLENTY, 52)
    await worker.until_logged("transaction_aborted")
    await asyncio.sleep(2)
    assert worker.running.poll() is None
    assert not await asyncio.to_thread(stack.caught_up)
    await asyncio.to_thread(trouble.mend, stack)
    await end_well(stack, worker)


@together(on="three_brokers", cases={"of a megabyte": (), "of twenty": (letters, parked, events)})
async def test_a_record_that_fits_into_no_letter_holds_nothing_up(
    stack: Stack, large: Sequence[Callable[[Stack], str]]
) -> None:
    """Its producer compressed it better than we do, or it is larger than our client sends."""
    for topic in large:
        size = 20_000_000 if topic is events else 21_000_000
        await asyncio.to_thread(configure, stack, topic(stack), max_message_bytes=str(size))
    worker = stack.worker("w1", KAFKA__TRANSACTION_TIMEOUT_S=stretched(4))
    worker.start()
    await publish(stack, PLENTY, 61)
    well = {"compression.type": "zstd", "message.max.bytes": 20_000_000, "linger.ms": 0}
    producer = Producer({"bootstrap.servers": stack.bootstrap_servers, **well})
    for value in (b64encode(Random(1).randbytes(970_000)), bytes(12_000_000)):
        await asyncio.to_thread(stack.publish, [value], producer=producer)
    await publish(stack, PLENTY, 62)
    fits = 10_000_000 if large else 1_000_000
    bare = [replace(one, value=b"") if one.size > fits else one for one in stack.published]
    stack.published = bare  # as their letters are
    await end_well(stack, worker)


@together(on="three_brokers")
async def test_letters_together_are_not_larger_than_their_topic_takes(stack: Stack) -> None:
    """It takes the largest record of the input; a burst of many in one batch is larger."""
    await asyncio.to_thread(configure, stack, events(stack), max_message_bytes="100000")
    await asyncio.to_thread(configure, stack, letters(stack), max_message_bytes="165536")
    await asyncio.to_thread(configure, stack, parked(stack), max_message_bytes="165536")
    small = Producer({"bootstrap.servers": stack.bootstrap_servers, "batch.size": 50_000})
    bad = [Random(number).randbytes(5_000) for number in range(100)]
    await asyncio.to_thread(stack.publish, bad, producer=small)
    worker = stack.worker("w1", KAFKA__TRANSACTION_TIMEOUT_S=stretched(4))
    worker.start()
    await end_well(stack, worker)
    command = [sys.executable, "-m", "stream", "dlq", "replay", "--yes"]
    environment = {**os.environ, **stack.environment("w1")}
    replay = partial(subprocess.run, env=environment, capture_output=True, text=True, check=False)
    done = await asyncio.to_thread(replay, command)
    assert (done.returncode, f"sent: {len(bad)}" in done.stdout) == (0, True), done.stderr


@together(on="three_brokers")
async def test_a_ledger_that_was_made_again_is_not_taken_for_the_old_one(stack: Stack) -> None:
    """The worker ends before it sends anything; its partitions stay closed until somebody acts."""
    worker = stack.worker(
        "w1", KAFKA__TRANSACTION_TIMEOUT_S=stretched(4), KAFKA__SESSION_TIMEOUT_S=stretched(6)
    )
    worker.start()
    await publish(stack, PLENTY, 53)
    await stack.until_caught_up()
    effects = len(stack.wootric.state.effects)
    await asyncio.to_thread(delete, stack, ledger(stack))
    await asyncio.to_thread(stack.create_topics)
    await publish(stack, PLENTY, 54)
    assert await worker.until_ended() == 75
    assert "the ledger has lost records" in worker.log.read_text()
    worker.start()
    await worker.until_logged("ledger_behind")
    await asyncio.sleep(2)
    assert len(stack.wootric.state.effects) == effects
    assert await asyncio.to_thread(worker.stop) == 0
    await asyncio.to_thread(stack.set_offsets, stack.committed())
    worker.start()
    await end_well(stack, worker)


@together(on="three_brokers")
async def test_a_restore_during_compaction_knows_all_that_it_should(stack: Stack) -> None:
    """Small segments, cleaned without pause, while a large ledger is read."""
    worker = stack.worker("w1", KAFKA__SESSION_TIMEOUT_S=stretched(6))
    worker.start()
    await publish(stack, 4 * PLENTY, 55)
    await stack.until_caught_up()
    assert await asyncio.to_thread(worker.stop) == 0
    effects = len(stack.wootric.state.effects)
    await asyncio.to_thread(
        configure,
        stack,
        ledger(stack),
        segment_bytes="1048576",
        min_cleanable_dirty_ratio="0.0",
        segment_ms="2000",
    )
    written = await asyncio.to_thread(fill, stack)
    await asyncio.to_thread(stack.rewind)
    worker.start()
    await worker.until_logged("partition_opened")
    opened = [line for line in worker.logged() if line["event"] == "partition_opened"]
    await end_well(stack, worker)
    assert len(stack.wootric.state.effects) == effects
    left = sum(1 for _ in await asyncio.to_thread(stack.read, ledger(stack)))
    assert left < written
    assert opened


def fill(stack: Stack, versions: int = 12_000) -> int:
    """Write many versions of few entries into each partition; return how many in all."""
    producer = Producer({"bootstrap.servers": stack.bootstrap_servers, "linger.ms": 5})
    count = 0
    for version in range(versions):
        entry = encode(UserEntry(end_user=EndUser(id=version, email="x" * 100), sent_at_ms=0))
        for number in range(stack.partitions):
            while True:
                try:
                    producer.produce(
                        ledger(stack), entry, f"user/nobody-{version % 50}", partition=number
                    )
                except BufferError:
                    producer.poll(0.05)
                else:
                    break
            count += 1
    assert producer.flush(STILL_S) == 0
    return count


@together()
async def test_records_deleted_before_they_were_read_halt_their_partition(stack: Stack) -> None:
    """It says so and never jumps; the others flow. Offsets set by hand let it go on."""
    faults = json.dumps({"after assign": (1, "stall")})  # as long as a fetch may take
    worker = stack.worker(
        "w1", command=COMMAND, FAULTS=faults, KAFKA__SESSION_TIMEOUT_S=stretched(6)
    )
    worker.start()
    await publish(stack, PLENTY, 56)
    await stack.until_caught_up()
    assert await asyncio.to_thread(worker.stop) == 0
    reached = stack.committed()
    await publish(stack, PLENTY, 57)
    gone = TopicPartition(stack.config.topic, 0, reached[0] + 3)
    await asyncio.to_thread(stack.admin.delete_records([gone])[gone].result)
    worker.start()
    await worker.until_logged("offset_out_of_range")

    def others_flow() -> bool:
        ends, committed = stack.ends(stack.config.topic), stack.committed()
        return all(committed[number] == ends[number] for number in (1, 2))

    await until(others_flow, "the others flow", stack.committed)
    assert stack.committed()[0] == reached[0]
    metrics = await worker.metrics()
    assert metrics['wootric_consumer_halted_partitions{reason="offset_out_of_range"}'] == 1
    assert await asyncio.to_thread(worker.stop) == 0
    await asyncio.to_thread(stack.set_offsets, {0: gone.offset})
    stack.published = [
        record
        for record in stack.published
        if record.partition.number or not reached[0] <= record.offset < gone.offset
    ]
    worker.start()
    await end_well(stack, worker)


@together()
async def test_a_duplicate_is_one_within_the_window_and_its_partition(stack: Stack) -> None:
    """Beyond either edge a messageId is another event, as the guarantee says."""
    worker = stack.worker("w1", KAFKA__SESSION_TIMEOUT_S=stretched(6))
    worker.start()
    document = {
        "type": "track",
        "messageId": "twice",
        "userId": "somebody",
        "event": "Survey",
        "timestamp": "2026-01-02T03:04:05.000Z",
        "properties": {"score": 9, "text": "fine"},
        "context": {"traits": {"email": "somebody@example.com"}},
        "integrations": {"Wootric": {"eventType": "create response"}},
    }
    responses = stack.wootric.state.responses

    async def again(expected: int) -> None:
        await asyncio.to_thread(stack.publish, [document])
        await stack.until_caught_up()
        assert len(responses) == expected

    await again(1)
    await again(1)
    assert await asyncio.to_thread(worker.stop) == 0
    worker.start()
    await again(1)
    home = stack.published[0].partition.number
    other = (home + 1) % stack.partitions
    await asyncio.to_thread(stack.publish, [document], partition=other)
    await stack.until_caught_up()
    assert len(responses) == 2
    assert await asyncio.to_thread(worker.stop) == 0
    # The window ends: what the retention leaves of the ledger is nothing.
    gone = [TopicPartition(ledger(stack), n, end) for n, end in stack.ends(ledger(stack)).items()]
    for answer in stack.admin.delete_records(gone).values():
        await asyncio.to_thread(answer.result)
    worker.start()
    await again(3)
    assert await asyncio.to_thread(worker.stop) == 0
