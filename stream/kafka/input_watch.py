"""What Kafka says beside records: the input's ends, retention and size, the ledger's beginning."""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial

from confluent_kafka import IsolationLevel, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    ConfigEntry,
    ConfigResource,
    ListOffsetsResultInfo,
    OffsetSpec,
    ResourceType,
    TopicDescription,
)

from stream.kafka import config as settings
from stream.kafka.config import KafkaConfig
from stream.kafka.protocol import Begun, End, Kept, Sized
from stream.record import Partition

ENDS_EVERY_S = 1.0
RETENTION_EVERY_S = 300.0
LEADERS_S_MAX = 0.5
ASK_S = 5.0


class InputWatch:
    """Asks without waiting: ``tell`` gets the answers, from a thread of the client's."""

    def __init__(
        self,
        config: KafkaConfig,
        *,
        tell: Callable[[End | Kept | Sized | Begun], None],
        trims: bool = False,
    ) -> None:
        """``trims``: whether it matters where the ledger begins."""
        self._topic = config.topic
        self._ledger_topic = config.ledger_topic
        self._trims = trims
        self._tell = tell
        self._admin = AdminClient(settings.common(config))
        self._ends_at = 0.0
        self._retention_at = 0.0
        self._leaders_moved = False
        self._unsized = False

    @property
    def clients(self) -> tuple[AdminClient, ...]:
        """What speaks to Kafka here."""
        return (self._admin,)

    def resize(self) -> None:
        """Let the number of partitions be asked for anew."""
        self._unsized = True

    def ask(self, owned: Iterable[Partition]) -> None:
        """Ask for what is due: last stable offsets of these partitions, retention, size."""
        now = time.monotonic()
        if now < self._ends_at or not owned:
            return
        self._ends_at = now + ENDS_EVERY_S
        if self._unsized:
            self._ask_for_size()
        if self._leaders_moved:
            self._leaders_moved = False
            self._find_leaders()
        self._ask_for_ends(owned)
        if now >= self._retention_at:
            self._retention_at = now + RETENTION_EVERY_S
            self._ask_for_retention()
            if self._trims:
                self._ask_for_begins(owned)

    def _ask_for_ends(self, owned: Iterable[Partition]) -> None:
        futures = self._admin.list_offsets(
            {TopicPartition(*partition): OffsetSpec.latest() for partition in owned},
            isolation_level=IsolationLevel.READ_COMMITTED,
            request_timeout=ASK_S,
        )
        for asked, future in futures.items():
            partition = Partition(asked.topic, asked.partition)
            future.add_done_callback(partial(self._ended, partition))

    def _ended(self, partition: Partition, answer: "Future[ListOffsetsResultInfo]") -> None:
        if answer.exception() is None and answer.result().offset >= 0:
            self._tell(End(partition, answer.result().offset))
        else:
            self._leaders_moved = True

    def _ask_for_begins(self, owned: Iterable[Partition]) -> None:
        asked = (TopicPartition(self._ledger_topic, number) for _, number in owned)
        futures = self._admin.list_offsets(
            dict.fromkeys(asked, OffsetSpec.earliest()), request_timeout=ASK_S
        )
        for one, future in futures.items():
            future.add_done_callback(partial(self._begun, Partition(self._topic, one.partition)))

    def _begun(self, partition: Partition, answer: "Future[ListOffsetsResultInfo]") -> None:
        if answer.exception() is None and answer.result().offset >= 0:
            self._tell(Begun(partition, answer.result().offset))

    def _ask_for_retention(self) -> None:
        asked = ConfigResource(ResourceType.TOPIC, self._topic)
        self._admin.describe_configs([asked], request_timeout=ASK_S)[asked].add_done_callback(
            self._kept
        )

    def _kept(self, answer: "Future[dict[str, ConfigEntry]]") -> None:
        entry = None if answer.exception() else answer.result().get("retention.ms")
        if entry is not None and entry.value is not None:
            self._tell(Kept(int(entry.value)))

    def _ask_for_size(self) -> None:
        topic = TopicCollection([self._topic])
        for future in self._admin.describe_topics(topic, request_timeout=ASK_S).values():
            future.add_done_callback(self._sized)

    def _sized(self, answer: "Future[TopicDescription]") -> None:
        if answer.exception() is None and answer.result().partitions:
            self._unsized = False
            self._tell(Sized(len(answer.result().partitions)))

    def _find_leaders(self) -> None:
        """Let the admin client look for new leaders, which it never does by itself."""
        with suppress(KafkaException):
            self._admin.list_topics(self._topic, timeout=LEADERS_S_MAX)
