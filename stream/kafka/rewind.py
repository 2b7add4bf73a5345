"""Setting a group's offsets, which only an operator does, and only while nobody is in it."""

import time
from collections.abc import Iterable, Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from stream.errors import StartupError
from stream.kafka import config as settings
from stream.kafka.config import KafkaConfig
from stream.kafka.metadata import ASK_S, committed
from stream.record import Partition

MOVED = (
    "the group took other offsets than it was told: a worker that is gone had a transaction under "
    "way; look at the offsets and run it again"
)


def offsets_at(config: KafkaConfig, times_ms: Mapping[int, int]) -> dict[int, int | None]:
    """Return the first offset of each partition at or after a time; None where there is none.

    Raises:
        KafkaException: no answer.
    """
    consumer = Consumer(settings.reader(config))
    try:
        asked = [TopicPartition(config.topic, number, at) for number, at in times_ms.items()]
        found = consumer.offsets_for_times(asked, timeout=ASK_S)
    finally:
        consumer.close()
    for one in found:
        if one.error is not None:
            raise KafkaException(one.error)
    return {one.partition: one.offset if one.offset >= 0 else None for one in found}


def set_offsets(
    config: KafkaConfig, offsets: Mapping[int, int], metadata: Mapping[int, str]
) -> None:
    """Commit offsets for the group from outside, and make sure that it has them.

    The metadata says how far the ledger reaches: what is there has to be kept, unless a
    worker is to go on with a ledger that does not reach so far any more.

    Raises:
        StartupError: the group has members, which Kafka refuses then.
        KafkaException: no answer.
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
                raise occupied(config, ["a worker that has just joined"]) from error
            raise
        _make_sure(consumer, config, offsets)
    finally:
        consumer.close()


def occupied(config: KafkaConfig, members: Iterable[str]) -> StartupError:
    """Return the error that says how to empty the group."""
    return StartupError(
        f"the group {config.group_id} has members: {', '.join(members)}. Stop all workers first "
        "(on Kubernetes: scale them to 0) and run this again; one that was killed is gone after "
        "KAFKA__SESSION_TIMEOUT_S",
        exit_code=75,
    )


def _make_sure(consumer: Consumer, config: KafkaConfig, offsets: Mapping[int, int]) -> None:
    """Read back: a commit marker that was late may have put other offsets over ours."""
    time.sleep(0.2)
    found = committed(consumer, [Partition(config.topic, number) for number in offsets])
    if any(one.offset != offsets[one.partition] for one in found):
        raise StartupError(MOVED, exit_code=75)
