"""What becomes of a transaction whose producer raises."""

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from kafka_settings import CONFIG

from stream.engine.checkpoint import Checkpoint, LedgerRecord, PartitionCheckpoint
from stream.errors import FencedError, KafkaUnavailableError
from stream.kafka.transactions import LedgerEndOffsets, Transactions
from stream.record import Partition


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


class NewLedger(FencedProducer):
    """Its ledger is empty."""

    def __init__(self) -> None:
        self._records: list[dict[str, Any]] = []

    def produce(self, **record: Any) -> None:
        self._records.append(record)

    def flush(self, _: float) -> int:
        for offset, record in enumerate(self._records):
            report = SimpleNamespace(offset=lambda at=offset: at, partition=lambda: 0)
            if "on_delivery" in record:
                record["on_delivery"](None, report)
        return 0


@pytest.mark.parametrize("count", [1, 20])
def test_nothing_is_committed_to_a_ledger_that_was_made_again(
    monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """However many records the first transaction writes to it."""
    ends = LedgerEndOffsets()
    ends.advance(0, 11)
    transactions = Transactions(CONFIG, epoch=1, ends=ends)
    monkeypatch.setattr(transactions, "_producer", NewLedger())
    records = [LedgerRecord(f"e:{number}", None) for number in range(count)]
    part = PartitionCheckpoint(assignment_epoch=1, offset=20, ledger=records)
    checkpoint = Checkpoint(sequence=1, partitions={Partition(CONFIG.topic, 0): part})
    with pytest.raises(KafkaUnavailableError, match="the ledger has lost records"):
        transactions.commit(checkpoint, group_metadata=None)
