"""What becomes of a transaction whose producer raises."""

from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from kafka_settings import CONFIG

from stream.engine.checkpoint import Checkpoint
from stream.errors import FencedError
from stream.kafka.transactions import LedgerEndOffsets, Transactions


class FencedProducer:
    """Its delivery reports fail in a way that the client answers with a SystemError."""

    def begin_transaction(self) -> None:
        pass

    def send_offsets_to_transaction(self, *_: Any) -> None:
        pass

    def flush(self, _: float) -> int:
        raise SystemError("a delivery report returned a result with an exception set")

    def commit_transaction(self, _: float) -> None:
        raise KafkaException(KafkaError(KafkaError._FENCED, fatal=True))


def test_a_fenced_producer_is_not_replaced_by_one_that_fences_its_successor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    transactions = Transactions(CONFIG, epoch=1, ends=LedgerEndOffsets())
    monkeypatch.setattr(transactions, "_producer", FencedProducer())
    with pytest.raises(FencedError, match="KAFKA__INSTANCE_ID"):
        transactions.commit(Checkpoint(sequence=1, partitions={}), group_metadata=None)
