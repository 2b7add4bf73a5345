"""Questions to the brokers about the group and its topics, without being a member."""

import time
from collections.abc import Iterable, Mapping, Sequence
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
    ConfigResource,
    MemberDescription,
    OffsetSpec,
    ResourceType,
)

from stream.kafka import config as settings
from stream.kafka.config import KafkaConfig
from stream.record import Partition

ASK_S = 5.0
AGAIN_S = 0.1
MOVING = frozenset(
    {
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    }
)
"""Answers of a broker that does not coordinate the group, or not yet."""


def committed(
    consumer: Consumer, partitions: Iterable[Partition], *, timeout_s: float = ASK_S
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
    asked = [TopicPartition(*partition) for partition in partitions]
    until = time.monotonic() + timeout_s
    while True:
        try:
            found = consumer.committed(asked, timeout=timeout_s)
            for one in found:
                if one.error is not None:
                    raise KafkaException(one.error)
        except KafkaException as error:
            if error.args[0].code() not in MOVING or time.monotonic() > until:
                raise
            time.sleep(AGAIN_S)
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
        self._admin.list_topics(topic, timeout=ASK_S)
        answers = self._admin.list_offsets(
            {TopicPartition(topic, number): spec for number in numbers},
            isolation_level=IsolationLevel.READ_UNCOMMITTED,
            request_timeout=ASK_S,
        )
        return {asked.partition: answer.result().offset for asked, answer in answers.items()}

    def partitions(self, topic: str) -> list[int]:
        """Return the numbers of a topic's partitions."""
        return sorted(self._admin.list_topics(topic, timeout=ASK_S).topics[topic].partitions)

    def living(self) -> set[str | None]:
        """Return the instance ids of the group's members."""
        return {member.group_instance_id for member in self._members()}

    def members(self) -> list[str]:
        """Return the names of the group's members: their instance ids, else their clients'."""
        return sorted(one.group_instance_id or one.client_id for one in self._members())

    def cluster_id(self) -> str:
        """Return the id of the cluster."""
        return str(self._admin.list_topics(timeout=ASK_S).cluster_id)

    def topic_id(self, topic: str) -> str:
        """Return the id of a topic: another one with the same name has another."""
        answers = self._admin.describe_topics(TopicCollection([topic]), request_timeout=ASK_S)
        return str(answers[topic].result().topic_id)

    def settings_of(self, topic: str) -> dict[str, str]:
        """Return a topic's configuration."""
        asked = ConfigResource(ResourceType.TOPIC, topic)
        answer = self._admin.describe_configs([asked], request_timeout=ASK_S)[asked]
        return {name: str(entry.value) for name, entry in answer.result().items()}

    def delete_before(self, topic: str, offsets: Mapping[int, int]) -> None:
        """Delete all records before an offset of each partition; there is no way back."""
        asked = [TopicPartition(topic, number, offset) for number, offset in offsets.items()]
        for answer in self._admin.delete_records(asked, request_timeout=ASK_S).values():
            answer.result()

    def _members(self) -> Sequence[MemberDescription]:
        answers = self._admin.describe_consumer_groups([self._id], request_timeout=ASK_S)
        members: Sequence[MemberDescription] = answers[self._id].result().members
        return members
