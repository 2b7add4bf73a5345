"""The service without exactly-once: the same ledger records, no transactions, no fence.

Only to measure what they cost. The service itself has no such switch. The benchmark compares
what both leave in the ledger: the same records, with a transaction's markers or without.
"""

from collections.abc import Callable
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from stream.cli.app import main
from stream.engine.checkpoint import Checkpoint
from stream.kafka import config as settings
from stream.kafka import consumer_thread, transactions
from stream.runtime import worker


class PlainCommits(transactions.Transactions):
    """Produces the same records idempotently and commits offsets by themselves."""

    consumer: Callable[[], Consumer]
    """The group takes offsets from its members only."""

    def _new_producer(self, wait_s: float = 0.0) -> Producer:
        plain = settings.plain_producer(self._config)
        tuned = ("linger.ms", "retry.backoff.ms", "retry.backoff.max.ms")
        return Producer(plain | {name: self._producer_settings[name] for name in tuned})

    @property
    def _producer_settings(self) -> dict[str, Any]:
        return settings.producer(self._config, transactional_id=self._config.transactional_id)

    def _transact(self, checkpoint: Checkpoint, group_metadata: Any) -> None:
        producer = self._producer
        assert producer is not None
        for partition, share in checkpoint.partitions.items():
            self._produce_ledger(producer, partition.number, share.ledger)
            self._produce_letters(producer, self._config.dead_letter_topic, share.dead_letters)
            self._produce_letters(producer, self._config.parked_topic, share.parked)
        producer.flush()
        offsets = [TopicPartition(*p, share.offset) for p, share in checkpoint.partitions.items()]
        self.consumer().commit(offsets=offsets, asynchronous=True)


class PlainMember(consumer_thread.ConsumerThread):
    """Lets the plain commits have its client."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        assert isinstance(self._transactions, PlainCommits)
        self._transactions.consumer = lambda: self._consumer


if __name__ == "__main__":
    # These are the places where the service takes them from.
    assert hasattr(consumer_thread, "Transactions")
    assert hasattr(worker, "ConsumerThread")
    consumer_thread.Transactions, worker.ConsumerThread = PlainCommits, PlainMember
    main()
