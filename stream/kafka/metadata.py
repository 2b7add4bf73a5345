"""Metadata of the group and its topics, and resetting the group's offsets."""

import threading
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    ClusterMetadata,
    ConfigResource,
    ConsumerGroupDescription,
    PartitionMetadata,
    ResourceType,
    TopicMetadata,
)

from stream.errors import StartupError
from stream.kafka import config as settings
from stream.kafka.config import KafkaConfig
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
    the offsets; with ``read_uncommitted`` it always gets one. The admin client would work too, but
    the process ends if the coordinator fails meanwhile (librdkafka #5397).

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


DESCRIBE_GROUP_S = 3600.0
"""The longest timeout of a request that the admin client accepts."""


def describe_group(
    admin: AdminClient, group_id: str, *, timeout_s: float, rights: bool = False
) -> ConsumerGroupDescription:
    """Return the description of a group, with ``rights`` also the caller's operations on it.

    A request to a coordinator that times out before the coordinator is connected ends the process
    as soon as it is (librdkafka 2.16.0 asserts ``eonce->refcnt > 0``; measured, in most outages).
    Here only the wait times out, not the request. What is left: a request without response whose
    coordinator is unavailable for an hour. Call this right after another response.

    Raises:
        KafkaException: no response in time, or the coordinator rejected the request.
    """
    answer = admin.describe_consumer_groups(
        [group_id], include_authorized_operations=rights, request_timeout=DESCRIBE_GROUP_S
    )[group_id]
    try:
        description: ConsumerGroupDescription = answer.result(timeout_s)
    except TimeoutError:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from None
    return description


def member_names(group: ConsumerGroupDescription) -> list[str]:
    """Return the members' instance ids, or their member ids where they have none, sorted."""
    return sorted(member.group_instance_id or member.member_id for member in group.members)


CLOSE_S = 2.0


def close_admin(admin: AdminClient) -> None:
    """Close an admin client, which must not be used any more.

    A client whose brokers are unavailable may wait forever for its own thread (confluent-kafka
    2.16.1); it is left to a thread that ends with the process.
    """
    closing = threading.Thread(
        target=admin.__exit__, args=(None, None, None), name="closed-admin", daemon=True
    )
    closing.start()
    closing.join(CLOSE_S)


class Describer:
    """Describes a group for as long as the process runs. Thread-safe.

    When all brokers are unavailable, and when a broker leaves the metadata, the client gives up
    that connection for good. It still waits for it wherever it is the coordinator's (librdkafka
    #5511; measured, each time that the client had reconnected before the request). A client without
    response is therefore closed, and the next request uses a new one.

    ``AdminClient.list_groups`` needs no coordinator, but has no result while any broker is
    unavailable (measured, three brokers).
    """

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._admin: AdminClient | None = None
        self._lock = threading.Lock()

    def partitions(self, topic: str) -> frozenset[int]:
        """Return the partition numbers of a topic; none if it does not exist.

        Raises:
            KafkaException: no response in time.
        """
        with self._lock:
            found = self._client().list_topics(topic, timeout=REQUEST_TIMEOUT_S)
            return frozenset(found.topics[topic].partitions)

    def description(self) -> ConsumerGroupDescription:
        """Return the description of the group: see ``describe_group``.

        Raises:
            KafkaException: no response in time, or the coordinator rejected the request.
        """
        with self._lock:
            try:
                return describe_group(
                    self._client(), self._config.group_id, timeout_s=REQUEST_TIMEOUT_S
                )
            except KafkaException as error:
                if error.args[0].code() == KafkaError._TIMED_OUT:
                    self._close()
                raise

    def set_sasl_credentials(self, username: str, password: str) -> None:
        """Pass changed credentials to the client; a new one reads them itself."""
        with self._lock:
            if self._admin is not None:
                self._admin.set_sasl_credentials(username, password)

    def close(self) -> None:
        """Close the client, if there is one."""
        with self._lock:
            self._close()

    def _client(self) -> AdminClient:
        if self._admin is None:
            self._admin = AdminClient(settings.common(self._config))
        return self._admin

    def _close(self) -> None:
        if self._admin is not None:
            close_admin(self._admin)
            self._admin = None


class Group:
    """Requests about the group and its topics. Without a response, methods raise
    ``KafkaException``. Thread-safe.

    Two consumers that join no group request offsets. ``topic_id``, ``topic_config`` and
    ``delete_before`` have to use the admin protocol. Requests of the first two have ended no
    process (measured, 3,500 of each that timed out while brokers were frozen, killed and started
    again). ``description`` has a client of its own.
    """

    def __init__(self, config: KafkaConfig) -> None:
        reader = {**settings.reader(config), "client.id": f"{config.instance_id}-metadata"}
        self._latest = Consumer({**reader, "isolation.level": "read_uncommitted"})
        self._stable = Consumer(reader)
        self._admin = AdminClient(settings.common(config))
        self._describer = Describer(config)

    @property
    def clients(self) -> tuple[Consumer | AdminClient | Describer, ...]:
        """The clients, which take changed credentials."""
        return (self._latest, self._stable, self._admin, self._describer)

    def close(self) -> None:
        """Close the clients."""
        self._latest.close()
        self._stable.close()
        close_admin(self._admin)
        self._describer.close()

    def committed(self, partitions: Iterable[Partition]) -> list[TopicPartition]:
        """Return the group's committed offsets, even if an open transaction blocks one of them."""
        return committed(self._latest, partitions)

    def ends(
        self, topic: str, numbers: Iterable[int], *, earliest: bool = False, stable: bool = False
    ) -> dict[int, int]:
        """Return the ``offsets`` of all these partitions.

        Raises:
            KafkaException: one of the leaders did not respond.
        """
        requested = set(numbers)
        found = self.offsets(topic, requested, earliest=earliest, stable=stable)
        if found.keys() != requested:
            raise KafkaException(KafkaError(KafkaError.LEADER_NOT_AVAILABLE))
        return found

    def offsets(
        self,
        topic: str,
        numbers: Iterable[int],
        *,
        earliest: bool = False,
        stable: bool = False,
        timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> dict[int, int]:
        """Return the end offsets of partitions, including open transactions, or their first ones.

        With ``stable``, an end is where the first open transaction begins. Partitions without a
        leader, or whose leader does not respond within ``timeout_s``, are left out.

        Each leader has a request of its own: if one of several does not respond, the client returns
        no offset at all. The client does not refresh the leaders either (measured, confluent-kafka
        2.16.1). The admin client's request for offsets is not used: it looks for leaders on the
        calling thread while the client's own may finish and free the same request (source:
        librdkafka, rdkafka_partition.c; not seen in 3,000 requests that timed out).

        Raises:
            KafkaException: no broker responded, or the topic does not exist.
        """
        consumer = self._stable if stable else self._latest
        time_ms = OFFSET_BEGINNING if earliest else OFFSET_END
        partitions = _partitions(consumer, topic, timeout_s)
        by_leader: defaultdict[int, list[TopicPartition]] = defaultdict(list)
        for number in numbers:
            if number in partitions and (leader := partitions[number].leader) >= 0:
                by_leader[leader].append(TopicPartition(topic, number, time_ms))
        found = {}
        for requested in by_leader.values():
            with suppress(KafkaException):
                for one in consumer.offsets_for_times(requested, timeout=timeout_s):
                    if one.error is None and one.offset >= 0:
                        found[one.partition] = one.offset
        return found

    def blocked(self, topic: str, ends: Mapping[int, int]) -> dict[int, int]:
        """Return how many offsets below these ends lie behind an open transaction, if any."""
        stable = self.ends(topic, ends, stable=True)
        return {
            number: end - stable[number] for number, end in ends.items() if stable[number] < end
        }

    def partitions(self, topic: str, *, timeout_s: float = REQUEST_TIMEOUT_S) -> list[int]:
        """Return the partition numbers of a topic; none if it does not exist."""
        return sorted(self._latest.list_topics(topic, timeout=timeout_s).topics[topic].partitions)

    def instance_ids(self) -> set[str | None]:
        """Return the instance ids of the group's members."""
        return {member.group_instance_id for member in self.description().members}

    def members(self) -> list[str]:
        """Return the members' instance ids, or their client ids where they have none."""
        return sorted(one.group_instance_id or one.client_id for one in self.description().members)

    def description(self) -> ConsumerGroupDescription:
        """Return the group's state and members."""
        return self._describer.description()

    def cluster_id(self) -> str:
        """Return the cluster id."""
        return str(self._latest.list_topics(timeout=REQUEST_TIMEOUT_S).cluster_id)

    def topic_id(self, topic: str) -> str:
        """Return the topic id, which changes when a topic is recreated with the same name."""
        answers = self._admin.describe_topics(
            TopicCollection([topic]), request_timeout=REQUEST_TIMEOUT_S
        )
        return str(answers[topic].result().topic_id)

    def topic_config(self, topic: str, *, timeout_s: float = REQUEST_TIMEOUT_S) -> dict[str, str]:
        """Return the topic's configuration, without what has no value."""
        requested = ConfigResource(ResourceType.TOPIC, topic)
        answer = self._admin.describe_configs([requested], request_timeout=timeout_s)[requested]
        return {name: entry.value for name, entry in answer.result().items() if entry.value}

    def delete_before(self, topic: str, offsets: Mapping[int, int]) -> None:
        """Delete all records before an offset of each partition. This cannot be undone."""
        requested = [TopicPartition(topic, number, offset) for number, offset in offsets.items()]
        for answer in self._admin.delete_records(
            requested, request_timeout=REQUEST_TIMEOUT_S
        ).values():
            answer.result()


def _partitions(consumer: Consumer, topic: str, timeout_s: float) -> dict[int, PartitionMetadata]:
    found: TopicMetadata = consumer.list_topics(topic, timeout=timeout_s).topics[topic]
    if found.error is not None:
        raise KafkaException(found.error)
    partitions: dict[int, PartitionMetadata] = found.partitions
    return partitions


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
