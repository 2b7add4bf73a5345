"""Polling of metadata: end offsets, retention and partition count of the input, ledger start."""

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from confluent_kafka import KafkaException

from stream.kafka.config import KafkaConfig
from stream.kafka.metadata import Group
from stream.kafka.protocol import (
    EndOffsetKnown,
    Failed,
    LedgerStartKnown,
    PartitionCountKnown,
    RetentionKnown,
)
from stream.record import Partition

ENDS_EVERY_S = 1.0
COUNT_EVERY_S = 2.0
RETENTION_EVERY_S = 300.0
RESPONSE_S_MAX = 2.0
"""Timeout of one request; ``close`` waits for no more than those of one question."""

OnEvent = Callable[
    [EndOffsetKnown | RetentionKnown | PartitionCountKnown | LedgerStartKnown | Failed], None
]


class MetadataPoller(threading.Thread):
    """Requests metadata on its own thread: a request blocks until its response or its timeout.

    ``on_event`` is called on this thread. Without partitions, only those of the input are counted,
    which shows that Kafka answers.
    """

    def __init__(
        self,
        config: KafkaConfig,
        *,
        group: Group,
        on_event: OnEvent,
        watch_ledger_start: bool = False,
    ) -> None:
        """``watch_ledger_start``: also report the first offsets of the ledger."""
        super().__init__(name="kafka-metadata", daemon=True)
        self._topic = config.topic
        self._ledger_topic = config.ledger_topic
        self._watch_ledger_start = watch_ledger_start
        self._group = group
        self._emit = on_event
        self._owned: frozenset[int] = frozenset()
        self._count_wanted = False
        self._due = threading.Event()
        self._closed = False
        self._next_count_at = self._next_retention_at = 0.0

    def own(self, partitions: Iterable[Partition]) -> None:
        """Poll the ends of these partitions from now on."""
        self._owned = frozenset(number for _, number in partitions)

    def request_partition_count(self) -> None:
        """Request the partition count soon, also with partitions."""
        self._count_wanted = True
        self._due.set()

    def close(self) -> None:
        """End the thread; wait for its request."""
        self._closed = True
        self._due.set()
        if self.is_alive():
            self.join()

    def run(self) -> None:
        """Poll until ``close``."""
        try:
            while not self._closed:
                with suppress(KafkaException):  # what has no response is requested again
                    self._poll(self._owned)
                self._due.wait(ENDS_EVERY_S)
                self._due.clear()
        except Exception as error:  # noqa: BLE001  the thread's entry point: nothing may vanish
            self._emit(Failed(error))

    def _poll(self, owned: frozenset[int]) -> None:
        now = time.monotonic()
        if (self._count_wanted or not owned) and now >= self._next_count_at:
            self._next_count_at = now + COUNT_EVERY_S
            self._count_partitions()
        if not owned or not self._request_ends(owned) or now < self._next_retention_at:
            return
        self._next_retention_at = now + RETENTION_EVERY_S
        self._request_retention()
        if self._watch_ledger_start:
            self._request_ledger_starts(owned)

    def _count_partitions(self) -> None:
        if numbers := self._group.partitions(self._topic, timeout_s=RESPONSE_S_MAX):
            self._count_wanted = False
            self._emit(PartitionCountKnown(len(numbers)))

    def _request_ends(self, owned: frozenset[int]) -> bool:
        """Report the stable ends with the log's, requested before; return whether there are any."""
        log_ends = self._offsets(self._topic, owned)
        stable = self._offsets(self._topic, log_ends, stable=True)
        for number, offset in stable.items():
            log_end = max(offset, log_ends[number])
            self._emit(EndOffsetKnown(Partition(self._topic, number), offset, log_end))
        return bool(stable)

    def _request_ledger_starts(self, owned: frozenset[int]) -> None:
        for number, offset in self._offsets(self._ledger_topic, owned, earliest=True).items():
            self._emit(LedgerStartKnown(Partition(self._topic, number), offset))

    def _offsets(
        self, topic: str, numbers: Iterable[int], *, earliest: bool = False, stable: bool = False
    ) -> dict[int, int]:
        if self._closed:
            return {}
        return self._group.offsets(
            topic, numbers, earliest=earliest, stable=stable, timeout_s=RESPONSE_S_MAX
        )

    def _request_retention(self) -> None:
        """Report the retention. This has to use the admin protocol, right after a response."""
        found = self._group.topic_config(self._topic, timeout_s=RESPONSE_S_MAX)
        if (retention_ms := found.get("retention.ms")) is not None:
            self._emit(RetentionKnown(int(retention_ms)))
