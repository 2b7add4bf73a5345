"""Records to a topic, each acknowledged by all brokers that have to have it.

The client's callbacks come in a thread of its own; the event loop is told once per group of
records, not once per record, and never waits for Kafka.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from stream.errors import KafkaFailed, StreamError
from stream.kafka import config as settings
from stream.kafka.config import KafkaConfig
from stream.kafka.errors import noted
from stream.kafka.login import LoginWatch

log = structlog.get_logger()

POLL_S = 0.1
CLOSE_S = 5.0


class NotTaken(StreamError):  # noqa: N818  (a state, not a defect)
    """Kafka did not acknowledge all records in time: some may be there all the same.

    ``error`` is librdkafka's word for it, or ``_AWAY``: from a bounded set.
    """

    def __init__(self, error: str) -> None:
        super().__init__(f"Kafka did not acknowledge the records: {error}")
        self.error = error


class _Group:
    """Records that are acknowledged together; the future's result is the first error's name.

    Callbacks come in the polling thread only.
    """

    __slots__ = ("error", "future", "left")

    def __init__(self, count: int, future: "asyncio.Future[str]") -> None:
        self.left = count
        self.error = ""
        self.future = future


class AcknowledgedProducer:
    """An idempotent producer, on the event loop that it is made on.

    While Kafka does not answer, one group at a time is tried, and all others are refused at
    once: nothing piles up. ``failed`` is called on the loop when the producer is beyond repair.
    """

    def __init__(
        self,
        config: KafkaConfig,
        *,
        record_bytes_max: int,
        ack_s: float,
        failed: Callable[[KafkaFailed], None],
    ) -> None:
        self.polled_at = time.monotonic()
        self.away = False
        """Whether the last group that ended was not acknowledged."""
        self._topic = config.topic
        self._ack_s = ack_s
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._waiting = 0
        self._finished: list[_Group] = []
        self._closed = threading.Event()
        own = settings.acknowledged_producer(config, record_bytes_max=record_bytes_max, ack_s=ack_s)
        self._producer = Producer({**own, "error_cb": self._error})
        self._login = LoginWatch(config)
        self._thread = threading.Thread(target=self._poll, name="kafka-producer", daemon=True)
        self._thread.start()

    async def send(self, records: Sequence[tuple[bytes | None, bytes]]) -> None:
        """Return once every record is acknowledged; those of one key lie in this order.

        Raises:
            NotTaken: not all were, or not in time. Those that were stay.
        """
        if self.away and self._waiting:
            raise NotTaken("_AWAY")
        self._waiting += 1
        try:
            error = await self._acknowledged(records)
        finally:
            self._waiting -= 1
        self._note(error)
        if error:
            raise NotTaken(error)

    def _note(self, error: str) -> None:
        if error and not self.away:
            log.warning("kafka_away", error=error)
        elif self.away and not error:
            log.info("kafka_back")
        self.away = bool(error)

    async def _acknowledged(self, records: Sequence[tuple[bytes | None, bytes]]) -> str:
        group = _Group(len(records), self._loop.create_future())

        def delivered(error: KafkaError | None, _: Message) -> None:
            group.left -= 1
            if error is not None:
                group.error = group.error or error.name()
            if group.left == 0:
                self._finished.append(group)

        try:
            for key, value in records:
                self._producer.produce(self._topic, value, key, on_delivery=delivered)
            async with asyncio.timeout(self._ack_s):
                return await group.future
        except BufferError:
            return "_QUEUE_FULL"
        except KafkaException as error:
            return str(error.args[0].name())
        except TimeoutError:
            return "_TIMED_OUT"

    async def close(self) -> None:
        """Let the client go; to be called when nobody waits for an acknowledgement."""
        self._closed.set()
        await asyncio.to_thread(self._thread.join, CLOSE_S)

    # In the polling thread

    def _poll(self) -> None:
        while not self._closed.is_set():
            self._producer.poll(POLL_S)
            self.polled_at = time.monotonic()
            self._login.renew((self._producer,))
            if self._finished:
                self._loop.call_soon_threadsafe(_settle, tuple(self._finished))
                self._finished.clear()

    def _error(self, error: KafkaError) -> None:
        if error.fatal() or error.code() == KafkaError._FATAL:
            failure = KafkaFailed(f"the producer is beyond repair: {error.str()}")
            self._loop.call_soon_threadsafe(self._failed, failure)
        else:
            noted(error)


def _settle(groups: Sequence[_Group]) -> None:
    for group in groups:
        if not group.future.done():
            group.future.set_result(group.error)
