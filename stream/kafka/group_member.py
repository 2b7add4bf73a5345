"""Parts of a group member: its membership, and which assigned partitions it fetches."""

import time
from collections.abc import Iterable
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from stream.record import Partition

SEEK_TRIES = 25
SEEK_WAIT_S = 0.02


class FatalGroupError(Exception):
    """The group rejects this client permanently; a new client may join."""


class Membership:
    """The member id under which one client owns partitions.

    A member that the group removed joins again under a new id. The client may then report its
    partitions as revoked, not lost (librdkafka 2.16, seen in a soak): others owned them meanwhile.
    From then on ``removed`` is True, and nothing may be committed for what the client still owns.
    """

    def __init__(self) -> None:
        self.removed = False
        self._id = ""

    def group_metadata(self, consumer: Consumer, *, owns: bool) -> Any:
        """Return the group metadata for transactions; None if it must not be used.

        Call it only when the client's assignment is the known one; ``owns`` is whether it has
        partitions from before.
        """
        metadata = consumer.consumer_group_metadata()
        member_id = consumer.memberid() or ""
        if owns and member_id not in ("", self._id):
            self.removed = True
        elif member_id:
            self._id = member_id
        return None if self.removed or not member_id else metadata


class FetchControl:
    """Controls which assigned partitions are fetched. Call it on the consumer's thread only.

    Partitions start paused and are resumed by ``start()``. After ``pause_all()``, polling only
    maintains group membership, and prefetched records are discarded.
    """

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._partitions: set[Partition] = set()
        self.all_paused = False

    def __contains__(self, partition: Partition) -> bool:
        """Return whether the partition is being read."""
        return partition in self._partitions

    def start(self, partition: Partition, offset: int) -> None:
        """Read a partition from an offset."""
        self._seek(TopicPartition(*partition, offset))
        self._partitions.add(partition)
        apply = self._consumer.pause if self.all_paused else self._consumer.resume
        apply(_topic_partitions([partition]))

    def stop(self, partition: Partition) -> None:
        """Pause a partition until it is started again."""
        if partition in self._partitions:
            self._partitions.discard(partition)
            self._consumer.pause(_topic_partitions([partition]))

    def forget(self, partition: Partition) -> None:
        """Ignore further messages of a partition that the client no longer reads."""
        self._partitions.discard(partition)

    def pause_all(self) -> None:
        """Pause all partitions until ``release()``."""
        if not self.all_paused:
            self.all_paused = True
            self._consumer.pause(_topic_partitions(self._partitions))

    def release(self) -> None:
        """Resume the partitions that were being read."""
        if self.all_paused:
            self.all_paused = False
            self._consumer.resume(_topic_partitions(self._partitions))

    def _seek(self, position: TopicPartition) -> None:
        """Seek, once the client has started with the partition, which takes a moment.

        A fetch of expired records between assignment and pause makes the client stop the partition
        permanently, and a seek does not resume it: it is assigned again.
        """
        for _ in range(SEEK_TRIES):
            try:
                self._consumer.seek(position)
            except KafkaException as error:
                if error.args[0].code() != KafkaError._STATE:
                    raise
                time.sleep(SEEK_WAIT_S)
            else:
                return
        self._consumer.incremental_unassign([position])
        self._consumer.incremental_assign([position])


def _topic_partitions(partitions: Iterable[Partition]) -> list[TopicPartition]:
    return [TopicPartition(*partition) for partition in partitions]


def partitions_of(named: Iterable[TopicPartition]) -> list[Partition]:
    """Return the partitions of the client's own type."""
    return [Partition(one.topic, one.partition) for one in named]
