"""The service without exactly-once: the same ledger records, no transactions, no fence.

Only to measure what they cost. The service itself has no such switch.
"""

from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from stream.checkpoint import Checkpoint
from stream.cli import main
from stream.kafka import config as settings
from stream.kafka import member, transactions


class PlainCommits(transactions.Transactions):
    """Produces the same records idempotently and commits offsets by themselves."""

    consumer: Consumer

    def _new_producer(self) -> Producer:
        plain = settings.plain_producer(self._config) | {"linger.ms": 0}
        return Producer(plain)

    def _transact(self, checkpoint: Checkpoint, group_metadata: Any) -> None:  # noqa: ARG002
        producer = self._producer
        assert producer is not None
        for partition, share in checkpoint.shares.items():
            self._produce_ledger(producer, partition.number, share.ledger)
            self._produce_letters(producer, self._config.dead_letter_topic, share.dead_letters)
            self._produce_letters(producer, self._config.parked_topic, share.parked)
        producer.flush()
        offsets = [TopicPartition(*p, share.offset) for p, share in checkpoint.shares.items()]
        self.consumer.commit(offsets=offsets, asynchronous=True)


class PlainMember(member.GroupMember):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._transactions.consumer = self._consumer


if __name__ == "__main__":
    member.Transactions = PlainCommits
    import stream.service

    stream.service.GroupMember = PlainMember
    main()
