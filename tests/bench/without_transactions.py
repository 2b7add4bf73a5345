"""The service without exactly-once: the same ledger records, no transactions, no fence.

Only to measure what they cost. The service itself has no such switch. The benchmark compares
what both leave in the ledger: the same records, with a transaction's markers or without.
"""

from typing import Any

from confluent_kafka import Producer, TopicPartition

from stream.checkpoint import Checkpoint
from stream.cli import main
from stream.kafka import config as settings
from stream.kafka import member, transactions


class PlainCommits(transactions.Transactions):
    """Produces the same records idempotently and commits offsets by themselves."""

    def _new_producer(self, wait_s: float = 0.0) -> Producer:  # noqa: ARG002
        plain = settings.plain_producer(self._config)
        tuned = ("linger.ms", "retry.backoff.ms", "retry.backoff.max.ms")
        return Producer(plain | {name: self._producer_settings[name] for name in tuned})

    @property
    def _producer_settings(self) -> dict[str, Any]:
        return settings.producer(self._config, transactional_id=self._config.transactional_id)

    def _transact(self, checkpoint: Checkpoint, group_metadata: Any) -> None:  # noqa: ARG002
        producer = self._producer
        assert producer is not None
        for partition, share in checkpoint.shares.items():
            self._produce_ledger(producer, partition.number, share.ledger)
            self._produce_letters(producer, self._config.dead_letter_topic, share.dead_letters)
            self._produce_letters(producer, self._config.parked_topic, share.parked)
        producer.flush()
        offsets = [TopicPartition(*p, share.offset) for p, share in checkpoint.shares.items()]
        self._consumer.commit(offsets=offsets, asynchronous=True)


if __name__ == "__main__":
    assert hasattr(member, "Transactions")  # this is where the service takes it from
    member.Transactions = PlainCommits
    main()
