"""Metadata of the group and its topics, and resetting the group's offsets."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
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
    ClusterMetadata,
    ConfigEntry,
    ConfigResource,
    ListOffsetsResultInfo,
    MemberDescription,
    OffsetSpec,
    ResourceType,
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
PROPAGATION_S = 5.0
"""How long a broker may take to know a new topic."""
COORDINATOR_ERRORS = frozenset(
    {
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    }
)
"""Responses of a broker that is not, or not yet, the group's coordinator."""


def committed(
    consumer: Consumer, partitions: Iterable[Partition], *, timeout_s: float = REQUEST_TIMEOUT_S
) -> list[TopicPartition]:
    """Return the group's committed offsets with their metadata; negative where there is none.

    With ``read_committed``, the consumer gets no response while an open transaction blocks one of
    the offsets; the lag exporter uses ``read_uncommitted`` and always gets one. The admin client
    would work too, but the process ends if the coordinator fails meanwhile (librdkafka #5397): not
    acceptable for a worker, nor for an exporter that has to report exactly that.

    The first request for a group arrives before its coordinator is ready, and so does every request
    after the coordinator has moved. Such responses are retried.

    Raises:
        KafkaException: no response in time.
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


def request_offsets(
    admin: AdminClient, topic: str, numbers: Iterable[int], spec: Any, *, stable: bool
) -> "dict[int, Future[ListOffsetsResultInfo]]":
    """Request an offset of each partition; with ``stable``, before the first open transaction."""
    level = IsolationLevel.READ_COMMITTED if stable else IsolationLevel.READ_UNCOMMITTED
    answers = admin.list_offsets(
        {TopicPartition(topic, number): spec for number in numbers},
        isolation_level=level,
        request_timeout=REQUEST_TIMEOUT_S,
    )
    return {requested.partition: answer for requested, answer in answers.items()}


class Group:
    """Requests through the admin protocol. Without a response, methods raise ``KafkaException``.

    An admin client that is freed while the brokers are unavailable may wait forever for its own
    thread while it holds the interpreter lock (confluent-kafka 2.16.1). There is therefore one per
    process, and ``close`` has to be called while the brokers are available.
    """

    def __init__(self, config: KafkaConfig) -> None:
        self._id = config.group_id
        self._admin = AdminClient(settings.common(config))

    @property
    def clients(self) -> tuple[AdminClient, ...]:
        """The admin client."""
        return (self._admin,)

    def close(self) -> None:
        """Free the client."""
        del self._admin

    def ends(
        self, topic: str, numbers: Iterable[int], *, earliest: bool = False, stable: bool = False
    ) -> dict[int, int]:
        """Return the end offsets of partitions, including open transactions, or their first ones.

        With ``stable``, an end is where the first open transaction begins. If a partition's leader
        did not respond, the client returns offset -1001 and no exception (measured,
        confluent-kafka 2.16.1).
        """
        spec: Any = OffsetSpec.earliest() if earliest else OffsetSpec.latest()
        ends = self._list_offsets(topic, numbers, spec, stable=stable)
        if any(offset < 0 for offset in ends.values()):
            raise KafkaException(KafkaError(KafkaError.LEADER_NOT_AVAILABLE))
        return ends

    def blocked(self, topic: str, ends: Mapping[int, int]) -> dict[int, int]:
        """Return how many offsets below these ends lie behind an open transaction, if any."""
        stable = self.ends(topic, ends, stable=True)
        return {
            number: end - stable[number] for number, end in ends.items() if stable[number] < end
        }

    def _list_offsets(
        self, topic: str, numbers: Iterable[int], spec: Any, *, stable: bool
    ) -> dict[int, int]:
        """Request offsets from the leaders; the client does not refresh them (measured)."""
        self._admin.list_topics(topic, timeout=REQUEST_TIMEOUT_S)
        answers = request_offsets(self._admin, topic, numbers, spec, stable=stable)
        return {number: answer.result().offset for number, answer in answers.items()}

    def partitions(self, topic: str) -> list[int]:
        """Return the partition numbers of a topic."""
        return sorted(
            self._admin.list_topics(topic, timeout=REQUEST_TIMEOUT_S).topics[topic].partitions
        )

    def instance_ids(self) -> set[str | None]:
        """Return the instance ids of the group's members."""
        return {member.group_instance_id for member in self._members()}

    def members(self) -> list[str]:
        """Return the members' instance ids, or their client ids where they have none."""
        return sorted(one.group_instance_id or one.client_id for one in self._members())

    def cluster_id(self) -> str:
        """Return the cluster id."""
        return str(self._admin.list_topics(timeout=REQUEST_TIMEOUT_S).cluster_id)

    def topic_id(self, topic: str) -> str:
        """Return the topic id, which changes when a topic is recreated with the same name."""
        answers = self._admin.describe_topics(
            TopicCollection([topic]), request_timeout=REQUEST_TIMEOUT_S
        )
        return str(answers[topic].result().topic_id)

    def topic_config(self, topic: str) -> dict[str, str]:
        """Return the topic's configuration."""
        requested = ConfigResource(ResourceType.TOPIC, topic)
        answer = self._admin.describe_configs([requested], request_timeout=REQUEST_TIMEOUT_S)[
            requested
        ]
        return {name: str(entry.value) for name, entry in answer.result().items()}

    def delete_before(self, topic: str, offsets: Mapping[int, int]) -> None:
        """Delete all records before an offset of each partition. This cannot be undone."""
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


# Polling of metadata: end offsets, retention and partition count of the input, ledger start


ENDS_EVERY_S = 1.0
COUNT_EVERY_S = 2.0
RETENTION_EVERY_S = 300.0
REFRESH_S_MAX = 0.5


class MetadataPoller:
    """Requests metadata without blocking. ``on_event`` is called on a thread of the client."""

    def __init__(
        self,
        config: KafkaConfig,
        *,
        on_event: Callable[
            [EndOffsetKnown | RetentionKnown | PartitionCountKnown | LedgerStartKnown], None
        ],
        watch_ledger_start: bool = False,
    ) -> None:
        """``watch_ledger_start``: also report the first offsets of the ledger."""
        self._topic = config.topic
        self._ledger_topic = config.ledger_topic
        self._watch_ledger_start = watch_ledger_start
        self._emit = on_event
        self._admin = AdminClient(settings.common(config))
        self._next_ends_at = self._next_count_at = 0.0
        self._next_retention_at = 0.0
        self._leaders_changed = False
        self._partition_count_wanted = False
        self._log_ends: dict[Partition, int] = {}

    @property
    def clients(self) -> tuple[AdminClient, ...]:
        """The admin client."""
        return (self._admin,)

    def request_partition_count(self) -> None:
        """Request the partition count with the next ``poll``."""
        self._partition_count_wanted = True

    def poll(self, owned: Iterable[Partition]) -> None:
        """Send the requests that are due; without partitions, only count those of the input."""
        now = time.monotonic()
        if (self._partition_count_wanted or not owned) and now >= self._next_count_at:
            self._next_count_at = now + COUNT_EVERY_S
            self._count_partitions()
        if now < self._next_ends_at or not owned:
            return
        self._next_ends_at = now + ENDS_EVERY_S
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
        numbers = [number for _, number in owned]
        latest = OffsetSpec.latest()
        for stable, on_answer in ((False, self._on_log_end), (True, self._on_end_offset)):
            answers = request_offsets(self._admin, self._topic, numbers, latest, stable=stable)
            for number, answer in answers.items():
                answer.add_done_callback(partial(on_answer, Partition(self._topic, number)))

    def _on_log_end(self, partition: Partition, answer: "Future[ListOffsetsResultInfo]") -> None:
        if answer.exception() is None:
            self._log_ends[partition] = answer.result().offset

    def _on_end_offset(self, partition: Partition, answer: "Future[ListOffsetsResultInfo]") -> None:
        """Report a stable offset with the log's end, which was requested before it."""
        if answer.exception() is None and answer.result().offset >= 0:
            offset = answer.result().offset
            log_end = max(offset, self._log_ends.get(partition, offset))
            self._emit(EndOffsetKnown(partition, offset, log_end))
        else:
            self._leaders_changed = True

    def _request_ledger_starts(self, owned: Iterable[Partition]) -> None:
        numbers = [number for _, number in owned]
        earliest = OffsetSpec.earliest()
        answers = request_offsets(self._admin, self._ledger_topic, numbers, earliest, stable=False)
        for number, answer in answers.items():
            partition = Partition(self._topic, number)
            answer.add_done_callback(partial(self._on_ledger_start, partition))

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

    def _count_partitions(self) -> None:
        """Count the input's partitions, which shows that Kafka answers.

        The admin protocol would end the process if the brokers stayed away (librdkafka asserts
        ``eonce->refcnt > 0``, confluent-kafka 2.16.1).
        """
        with suppress(KafkaException):
            found = self._admin.list_topics(self._topic, timeout=REFRESH_S_MAX)
            if partitions := found.topics[self._topic].partitions:
                self._partition_count_wanted = False
                self._emit(PartitionCountKnown(len(partitions)))

    def _refresh_leaders(self) -> None:
        """Refresh the leaders in the admin client, which it does not do itself."""
        with suppress(KafkaException):
            self._admin.list_topics(self._topic, timeout=REFRESH_S_MAX)


# Resetting the offsets of an empty group, for operator commands


OFFSETS_OVERWRITTEN = (
    "the group's offsets were overwritten: a worker that has ended had an open transaction; check "
    "the offsets and run this again"
)


def offsets_at(config: KafkaConfig, times_ms: Mapping[int, int]) -> dict[int, int | None]:
    """Return the first offset of each partition at or after a time; None where there is none.

    Raises:
        KafkaException: no response.
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
    """Commit offsets for an empty group, and verify them.

    The metadata holds the ledger's end offsets: keep it, unless a worker is to continue with a
    ledger that has lost records.

    Raises:
        StartupError: the group has members, or its offsets were overwritten.
        KafkaException: no response.
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
    """Read the offsets back: a late commit marker may have overwritten them."""
    time.sleep(0.2)
    found = committed(consumer, [Partition(config.topic, number) for number in offsets])
    if any(one.offset != offsets[one.partition] for one in found):
        raise StartupError(OFFSETS_OVERWRITTEN, exit_code=75)


# The cluster


CLUSTER_S = 10.0
"""Timeout of the first requests, for which connections are made."""


def describe(admin: AdminClient, *, topics: Collection[str] = ()) -> ClusterMetadata:
    """Return the cluster metadata.

    A broker may not know ``topics`` yet that were just created; this waits for them.

    Raises:
        StartupError: Kafka is unavailable.
    """
    until = time.monotonic() + PROPAGATION_S
    try:
        found: ClusterMetadata = admin.list_topics(timeout=CLUSTER_S)
        while not set(topics) <= found.topics.keys() and time.monotonic() < until:
            time.sleep(RETRY_S)
            found = admin.list_topics(timeout=CLUSTER_S)
    except KafkaException as error:
        raise StartupError(
            f"Kafka cannot be reached: {error.args[0].str()}; check KAFKA__BOOTSTRAP_SERVERS and, "
            "for TLS and SASL, KAFKA__PROPERTIES: `wootric-stream doctor` shows which step fails",
            exit_code=69,
        ) from error
    else:
        return found
