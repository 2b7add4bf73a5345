"""Reading committed records up to a barrier, as a member of no group.

What is read ends where no transaction is half: an end of a partition is reported only where
the last stable offset is, and the barrier is taken with open transactions included.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from stream.kafka.metadata import ASK_S

CHUNK_RECORDS_MAX = 5_000
CHUNK_WAIT_S = 0.05


@dataclass(frozen=True, slots=True)
class Chunk:
    """The records that came next, and the partitions that were read up to their barrier.

    Nothing in it says that nothing came in time: perhaps an open transaction is in the way.
    """

    messages: Sequence[Message]
    reached: Sequence[int]


def chunks(
    reader: Consumer,
    topic: str,
    begins: Mapping[int, int],
    barriers: Mapping[int, int],
    *,
    exactly: bool = False,
) -> Iterator[Chunk]:
    """Yield what partitions hold from where they begin up to their barriers, at least.

    Only the end of a partition tells that its barrier is reached: the tail before it is
    control records, which are not handed out. ``exactly`` is for barriers that lie between
    transactions: nothing behind them is handed out, and nobody waits for an end.

    Raises:
        KafkaException: Kafka gives no answer, or has deleted what was to be read.
    """
    left = {
        number: barrier
        for number, barrier in barriers.items()
        if not exactly or begins[number] < barrier
    }
    reader.list_topics(topic, timeout=ASK_S)  # without a leader it would wait half a second
    reader.assign([TopicPartition(topic, number, begins[number]) for number in left])
    while left:
        messages = []
        reached = []
        first = reader.poll(CHUNK_WAIT_S)  # consume() would wait all of it for more
        come = [] if first is None else [first, *reader.consume(CHUNK_RECORDS_MAX - 1, 0)]
        for message in come:
            if not exactly and message.error() is None:  # most of a restore is this
                if message.partition() in left:
                    messages.append(message)
                continue
            number, position = _position(message)
            barrier = left.get(number)
            if barrier is None:
                continue
            ended = message.error() is not None
            if not ended and (position <= barrier or not exactly):
                messages.append(message)
            if position >= barrier and (ended or exactly):
                del left[number]
                reached.append(number)
                reader.incremental_unassign([TopicPartition(topic, number)])
        yield Chunk(messages, reached)


def _position(message: Message) -> tuple[int, int]:
    """Return the partition that a message is about, and how far it is read with it.

    Raises:
        KafkaException: it tells of trouble that does not pass by itself.
    """
    error, number, offset = message.error(), message.partition(), message.offset()
    if error is not None and error.code() != KafkaError._PARTITION_EOF:
        if not error.retriable():
            raise KafkaException(error)
        return -1, -1
    if number is None or offset is None:
        return -1, -1
    return number, offset + 1 if error is None else offset
