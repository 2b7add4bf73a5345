"""Which of the owned partitions are read, from where, and whether at all just now."""

import time
from collections.abc import Iterable

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from stream.record import Partition

SEEK_TRIES = 25
SEEK_WAIT_S = 0.02


class Intake:
    """Seeks, pauses and resumes a consumer's partitions; on that consumer's thread only.

    A partition that was assigned is paused until ``begin``. While all are held, polling
    serves the group and brings no records; what was fetched ahead is thrown away.
    """

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._partitions: set[Partition] = set()
        self.held = False

    def __contains__(self, partition: Partition) -> bool:
        """Whether records of the partition are wanted."""
        return partition in self._partitions

    def begin(self, partition: Partition, offset: int) -> None:
        """Read a partition from an offset on."""
        self._seek(TopicPartition(*partition, offset))
        self._partitions.add(partition)
        switch = self._consumer.pause if self.held else self._consumer.resume
        switch(_topic_partitions([partition]))

    def stop(self, partition: Partition) -> None:
        """Read a partition no further until it begins again."""
        if partition in self._partitions:
            self._partitions.discard(partition)
            self._consumer.pause(_topic_partitions([partition]))

    def forget(self, partition: Partition) -> None:
        """Take nothing of a partition any more that the client reads no longer."""
        self._partitions.discard(partition)

    def hold(self) -> None:
        """Read nothing until released."""
        if not self.held:
            self.held = True
            self._consumer.pause(_topic_partitions(self._partitions))

    def release(self) -> None:
        """Go on with what was read before the hold."""
        if self.held:
            self.held = False
            self._consumer.resume(_topic_partitions(self._partitions))

    def _seek(self, position: TopicPartition) -> None:
        """Seek as soon as the client has begun with the partition, which takes it a moment.

        A fetch between assignment and pause, from where records have expired, makes the client
        stop the partition for good, and no seek revives it: then it is assigned anew.
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
