"""What the brokers say of the group and its topics, and setting the group's offsets."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    ConfigEntry,
    ConfigResource,
    ListOffsetsResultInfo,
    MemberDescription,
    OffsetSpec,
    ResourceType,
    TopicDescription,
)

from stream.errors import StartupError
from stream.kafka import config as settings
from stream.kafka.config import KafkaConfig
from stream.kafka.protocol import (
    EndOffsetKnown,
    LedgerStartKnown,
    PartitionCountKnown,
    RetentionKnown,
)
from stream.record import Partition

REQUEST_TIMEOUT_S = 5.0
RETRY_S = 0.1
COORDINATOR_ERRORS = frozenset(
    {
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    }
)
"""Answers of a broker that does not coordinate the group, or not yet."""


def committed(
    consumer: Consumer, partitions: Iterable[Partition], *, timeout_s: float = REQUEST_TIMEOUT_S
) -> list[TopicPartition]:
    """Return the group's committed offsets with their metadata; negative where there is none.

    A consumer that reads committed records only gets no answer while an open transaction
    holds one of the offsets; the lag exporter asks by one that reads all, and always gets one.
    The admin client could be asked too, but then the process ends when the coordinator does
    (librdkafka #5397): a worker, and an exporter that is there to report just that.

    The first group of a cluster is asked for before its coordinator is ready; so is every group
    whose coordinator has just moved. Such an answer is none, and is asked for again.

    Raises:
        KafkaException: no answer in time.
    """
    requested = [TopicPartition(*partition) for partition in partitions]
    until = time.monotonic() + timeout_s
    while True:
        try:
            found = consumer.committed(requested, timeout=timeout_s)
            for one in found:
                if one.error is not None:
                    raise KafkaException(one.error)
        except KafkaException as error:
            if error.args[0].code() not in COORDINATOR_ERRORS or time.monotonic() > until:
                raise
            time.sleep(RETRY_S)
        else:
            return found


class Group:
    """Asks through the admin protocol; every method raises ``KafkaException`` without answer.

    An admin client that is freed while the brokers are away may wait for ever for its own
    thread, with the interpreter's lock in its hand (confluent-kafka 2.16.1). So there is one
    a process, and ``close`` lets it go while the brokers are there.
    """

    def __init__(self, config: KafkaConfig) -> None:
        self._id = config.group_id
        self._admin = AdminClient(settings.common(config))

    @property
    def clients(self) -> tuple[AdminClient, ...]:
        """What speaks to Kafka here."""
        return (self._admin,)

    def close(self) -> None:
        """Let the client go; nothing can be asked after this."""
        del self._admin

    def ends(self, topic: str, numbers: Iterable[int], *, earliest: bool = False) -> dict[int, int]:
        """Return where partitions end, open transactions included, or where they begin.

        A partition whose leader did not answer has an offset of -1001, and no exception
        (measured, confluent-kafka 2.16.1).
        """
        spec: Any = OffsetSpec.earliest() if earliest else OffsetSpec.latest()
        ends = self._list_offsets(topic, numbers, spec)
        if any(offset < 0 for offset in ends.values()):
            raise KafkaException(KafkaError(KafkaError.LEADER_NOT_AVAILABLE))
        return ends

    def _list_offsets(self, topic: str, numbers: Iterable[int], spec: Any) -> dict[int, int]:
        """Ask the leaders. The client never looks for new ones (measured): it is told to first."""
        self._admin.list_topics(topic, timeout=REQUEST_TIMEOUT_S)
        answers = self._admin.list_offsets(
            {TopicPartition(topic, number): spec for number in numbers},
            isolation_level=IsolationLevel.READ_UNCOMMITTED,
            request_timeout=REQUEST_TIMEOUT_S,
        )
        return {
            requested.partition: answer.result().offset for requested, answer in answers.items()
        }

    def partitions(self, topic: str) -> list[int]:
        """Return the numbers of a topic's partitions."""
        return sorted(
            self._admin.list_topics(topic, timeout=REQUEST_TIMEOUT_S).topics[topic].partitions
        )

    def instance_ids(self) -> set[str | None]:
        """Return the instance ids of the group's members."""
        return {member.group_instance_id for member in self._members()}

    def members(self) -> list[str]:
        """Return the names of the group's members: their instance ids, else their clients'."""
        return sorted(one.group_instance_id or one.client_id for one in self._members())

    def cluster_id(self) -> str:
        """Return the id of the cluster."""
        return str(self._admin.list_topics(timeout=REQUEST_TIMEOUT_S).cluster_id)

    def topic_id(self, topic: str) -> str:
        """Return the id of a topic: another one with the same name has another."""
        answers = self._admin.describe_topics(
            TopicCollection([topic]), request_timeout=REQUEST_TIMEOUT_S
        )
        return str(answers[topic].result().topic_id)

    def topic_config(self, topic: str) -> dict[str, str]:
        """Return a topic's configuration."""
        requested = ConfigResource(ResourceType.TOPIC, topic)
        answer = self._admin.describe_configs([requested], request_timeout=REQUEST_TIMEOUT_S)[
            requested
        ]
        return {name: str(entry.value) for name, entry in answer.result().items()}

    def delete_before(self, topic: str, offsets: Mapping[int, int]) -> None:
        """Delete all records before an offset of each partition; there is no way back."""
        requested = [TopicPartition(topic, number, offset) for number, offset in offsets.items()]
        for answer in self._admin.delete_records(
            requested, request_timeout=REQUEST_TIMEOUT_S
        ).values():
            answer.result()

    def _members(self) -> Sequence[MemberDescription]:
        answers = self._admin.describe_consumer_groups(
            [self._id], request_timeout=REQUEST_TIMEOUT_S
        )
        members: Sequence[MemberDescription] = answers[self._id].result().members
        return members


# What Kafka says beside records: the input's ends, retention and size, the ledger's beginning


ENDS_EVERY_S = 1.0
RETENTION_EVERY_S = 300.0
REFRESH_S_MAX = 0.5


class MetadataPoller:
    """Asks without waiting: ``tell`` gets the answers, from a thread of the client's."""

    def __init__(
        self,
        config: KafkaConfig,
        *,
        on_event: Callable[
            [EndOffsetKnown | RetentionKnown | PartitionCountKnown | LedgerStartKnown], None
        ],
        watch_ledger_start: bool = False,
    ) -> None:
        """``trims``: whether it matters where the ledger begins."""
        self._topic = config.topic
        self._ledger_topic = config.ledger_topic
        self._watch_ledger_start = watch_ledger_start
        self._emit = on_event
        self._admin = AdminClient(settings.common(config))
        self._next_ends_at = 0.0
        self._next_retention_at = 0.0
        self._leaders_changed = False
        self._partition_count_wanted = False

    @property
    def clients(self) -> tuple[AdminClient, ...]:
        """What speaks to Kafka here."""
        return (self._admin,)

    def request_partition_count(self) -> None:
        """Let the number of partitions be asked for anew."""
        self._partition_count_wanted = True

    def poll(self, owned: Iterable[Partition]) -> None:
        """Ask for what is due: last stable offsets of these partitions, retention, size."""
        now = time.monotonic()
        if now < self._next_ends_at or not owned:
            return
        self._next_ends_at = now + ENDS_EVERY_S
        if self._partition_count_wanted:
            self._request_partition_count()
        if self._leaders_changed:
            self._leaders_changed = False
            self._refresh_leaders()
        self._request_ends(owned)
        if now >= self._next_retention_at:
            self._next_retention_at = now + RETENTION_EVERY_S
            self._request_retention()
            if self._watch_ledger_start:
                self._request_ledger_starts(owned)

    def _request_ends(self, owned: Iterable[Partition]) -> None:
        futures = self._admin.list_offsets(
            {TopicPartition(*partition): OffsetSpec.latest() for partition in owned},
            isolation_level=IsolationLevel.READ_COMMITTED,
            request_timeout=REQUEST_TIMEOUT_S,
        )
        for requested, future in futures.items():
            partition = Partition(requested.topic, requested.partition)
            future.add_done_callback(partial(self._on_end_offset, partition))

    def _on_end_offset(self, partition: Partition, answer: "Future[ListOffsetsResultInfo]") -> None:
        if answer.exception() is None and answer.result().offset >= 0:
            self._emit(EndOffsetKnown(partition, answer.result().offset))
        else:
            self._leaders_changed = True

    def _request_ledger_starts(self, owned: Iterable[Partition]) -> None:
        requested = (TopicPartition(self._ledger_topic, number) for _, number in owned)
        futures = self._admin.list_offsets(
            dict.fromkeys(requested, OffsetSpec.earliest()), request_timeout=REQUEST_TIMEOUT_S
        )
        for one, future in futures.items():
            future.add_done_callback(
                partial(self._on_ledger_start, Partition(self._topic, one.partition))
            )

    def _on_ledger_start(
        self, partition: Partition, answer: "Future[ListOffsetsResultInfo]"
    ) -> None:
        if answer.exception() is None and answer.result().offset >= 0:
            self._emit(LedgerStartKnown(partition, answer.result().offset))

    def _request_retention(self) -> None:
        requested = ConfigResource(ResourceType.TOPIC, self._topic)
        self._admin.describe_configs([requested], request_timeout=REQUEST_TIMEOUT_S)[
            requested
        ].add_done_callback(self._on_retention)

    def _on_retention(self, answer: "Future[dict[str, ConfigEntry]]") -> None:
        entry = None if answer.exception() else answer.result().get("retention.ms")
        if entry is not None and entry.value is not None:
            self._emit(RetentionKnown(int(entry.value)))

    def _request_partition_count(self) -> None:
        topic = TopicCollection([self._topic])
        for future in self._admin.describe_topics(
            topic, request_timeout=REQUEST_TIMEOUT_S
        ).values():
            future.add_done_callback(self._on_partition_count)

    def _on_partition_count(self, answer: "Future[TopicDescription]") -> None:
        if answer.exception() is None and answer.result().partitions:
            self._partition_count_wanted = False
            self._emit(PartitionCountKnown(len(answer.result().partitions)))

    def _refresh_leaders(self) -> None:
        """Let the admin client look for new leaders, which it never does by itself."""
        with suppress(KafkaException):
            self._admin.list_topics(self._topic, timeout=REFRESH_S_MAX)


# Setting a group's offsets, which only an operator does, and only while nobody is in it


OFFSETS_OVERWRITTEN = (
    "the group took other offsets than it was told: a worker that is gone had a transaction under "
    "way; look at the offsets and run it again"
)


def offsets_at(config: KafkaConfig, times_ms: Mapping[int, int]) -> dict[int, int | None]:
    """Return the first offset of each partition at or after a time; None where there is none.

    Raises:
        KafkaException: no answer.
    """
    consumer = Consumer(settings.reader(config))
    try:
        requested = [TopicPartition(config.topic, number, at) for number, at in times_ms.items()]
        found = consumer.offsets_for_times(requested, timeout=REQUEST_TIMEOUT_S)
    finally:
        consumer.close()
    for one in found:
        if one.error is not None:
            raise KafkaException(one.error)
    return {one.partition: one.offset if one.offset >= 0 else None for one in found}


def reset_offsets(
    config: KafkaConfig, offsets: Mapping[int, int], metadata: Mapping[int, str]
) -> None:
    """Commit offsets for the group from outside, and make sure that it has them.

    The metadata says how far the ledger reaches: what is there has to be kept, unless a
    worker is to go on with a ledger that does not reach so far any more.

    Raises:
        StartupError: the group has members, which Kafka refuses then.
        KafkaException: no answer.
    """
    consumer = Consumer(settings.reader(config))
    try:
        wanted = [
            TopicPartition(config.topic, number, offset, metadata=metadata.get(number, ""))
            for number, offset in offsets.items()
        ]
        try:
            consumer.commit(offsets=wanted, asynchronous=False)
        except KafkaException as error:
            if error.args[0].code() in {
                KafkaError.UNKNOWN_MEMBER_ID,
                KafkaError.ILLEGAL_GENERATION,
                KafkaError.REBALANCE_IN_PROGRESS,
            }:
                raise group_not_empty(config, ["a worker that has just joined"]) from error
            raise
        _verify_offsets(consumer, config, offsets)
    finally:
        consumer.close()


def group_not_empty(config: KafkaConfig, members: Iterable[str]) -> StartupError:
    """Return the error that says how to empty the group."""
    return StartupError(
        f"the group {config.group_id} has members: {', '.join(members)}. Stop all workers first "
        "(on Kubernetes: scale them to 0) and run this again; one that was killed is gone after "
        "KAFKA__SESSION_TIMEOUT_S",
        exit_code=75,
    )


def _verify_offsets(consumer: Consumer, config: KafkaConfig, offsets: Mapping[int, int]) -> None:
    """Read back: a commit marker that was late may have put other offsets over ours."""
    time.sleep(0.2)
    found = committed(consumer, [Partition(config.topic, number) for number in offsets])
    if any(one.offset != offsets[one.partition] for one in found):
        raise StartupError(OFFSETS_OVERWRITTEN, exit_code=75)
