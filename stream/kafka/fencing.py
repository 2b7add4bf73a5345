"""Transactional ids of others: end the transactions of instances that are gone, and write once."""

from collections.abc import Iterable, Sequence
from contextlib import suppress

from confluent_kafka import KafkaError, KafkaException, Producer

from stream.errors import StartupError
from stream.kafka import config as settings
from stream.kafka.config import KafkaConfig
from stream.kafka.producer import produce_blocking
from stream.kafka.transactions import START_S, CommitMetadata
from stream.record import Record

FENCE_S = 10.0
FENCED = frozenset({KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH})


def fence_instances(config: KafkaConfig, metadata: Iterable[str]) -> None:
    """Abort open transactions of the instances that committed offsets with this metadata.

    Raises:
        KafkaException: the coordinator did not respond.
    """
    parsed = (CommitMetadata.parse(text) for text in metadata)
    for instance_id in sorted({commit.instance for commit in parsed if commit is not None}):
        fence(config, instance_id)


def fence(config: KafkaConfig, instance_id: str) -> None:
    """Abort an open transaction of an instance that is gone.

    Raises:
        KafkaException: the coordinator did not respond.
    """
    transactional_id = settings.transactional_id(config.group_id, instance_id)
    producer = Producer(settings.producer(config, transactional_id=transactional_id))
    producer.init_transactions(FENCE_S)
    producer.close()


def write_at_once(config: KafkaConfig, instance_id: str, records: Sequence[Record]) -> None:
    """Write records in one transaction of a command: all of them or none.

    Raises:
        StartupError: another command has taken over ``instance_id``; nothing was written.
        KafkaException: Kafka did not commit them, or it is not known whether it did.
    """
    if not records:
        return
    transactional_id = settings.transactional_id(config.group_id, instance_id)
    producer = Producer(settings.producer(config, transactional_id=transactional_id))
    try:
        producer.init_transactions(START_S)
        producer.begin_transaction()
        for record in records:
            produce_blocking(
                producer,
                topic=record.partition.topic,
                partition=record.partition.number,
                key=record.key,
                value=record.value,
            )
        producer.commit_transaction(START_S)
    except KafkaException as error:
        if error.args[0].code() in FENCED:
            text = f"another {instance_id} command runs: let it end, then repeat this one"
            raise StartupError(text, exit_code=75) from error
        with suppress(KafkaException):
            producer.abort_transaction(START_S)
        raise
    finally:
        with suppress(KafkaException):  # that of a fenced one fails again
            producer.close()
