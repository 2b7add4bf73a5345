"""Partitions that no member of the group owns, and the rebalance that assigns them.

A cooperative rebalance has two rounds: one member gives partitions up and joins again, and the
second round assigns them. A static member that restarts between the two gets back what it had left,
without a rebalance (KIP-345). Nobody asks for the second round then, and the partitions have no
owner until the group happens to rebalance (measured, Apache Kafka 4.1.1 with librdkafka 2.16.1).
"""

import threading
import time
from collections.abc import Callable, Collection
from typing import Protocol

import structlog
from confluent_kafka import Consumer, ConsumerGroupState, KafkaException, TopicPartition
from confluent_kafka.admin import ConsumerGroupDescription

from stream.kafka import config as settings
from stream.kafka.config import KafkaConfig, log_client_error
from stream.kafka.metadata import member_names

log = structlog.get_logger()

CHECK_EVERY_S = 2.5
UNASSIGNED_S = 7.5
"""How long partitions are without an owner before a rebalance is requested: longer than a member
drains what it gives up. Each further member waits as long again for the one before it."""
POLL_S = 0.1


class GroupRequests(Protocol):
    """What is asked of Kafka; without a response, both raise ``KafkaException``."""

    def partitions(self, topic: str) -> Collection[int]:
        """Return the partition numbers of a topic."""

    def description(self) -> ConsumerGroupDescription:
        """Return the group's state and members."""


def unassigned(
    group: ConsumerGroupDescription, topic: str, numbers: Collection[int]
) -> frozenset[int]:
    """Return which of the topic's partitions no member owns."""
    return frozenset(numbers) - {
        one.partition
        for member in group.members
        for one in member.assignment.topic_partitions
        if one.topic == topic
    }


def turn(group: ConsumerGroupDescription, instance_id: str) -> int:
    """Return how many members come before this one; all of them if it is no member."""
    names = member_names(group)
    return names.index(instance_id) if instance_id in names else len(names)


class UnassignedWatcher(threading.Thread):
    """After each assignment, looks until every partition of ``topic`` has an owner.

    Where some have none for too long in a stable group, it requests a rebalance. Between
    assignments it asks nothing, and nothing at all where the broker assigns. ``on_failure`` is
    called on this thread.
    """

    def __init__(
        self,
        config: KafkaConfig,
        *,
        group: GroupRequests,
        topic: str,
        on_failure: Callable[[Exception], object],
    ) -> None:
        super().__init__(name="unassigned-watcher", daemon=True)
        self._config = config
        self._topic = topic
        self._on_failure = on_failure
        self._group = group
        self._assigned = threading.Event()
        self._closed = threading.Event()

    def look(self) -> None:
        """Look soon: the group has assigned partitions. Thread-safe."""
        self._assigned.set()

    def close(self) -> None:
        """Request nothing any more, and end soon. Thread-safe."""
        self._closed.set()
        self._assigned.set()

    def run(self) -> None:
        """Look after each assignment until closed."""
        if not settings.assigns_by_members(self._config):
            return
        try:
            while self._assigned.wait() and not self._closed.is_set():
                self._look_until_owned()
        except Exception as error:  # noqa: BLE001  the thread's entry point: nothing may vanish
            self._on_failure(error)

    def _look_until_owned(self) -> None:
        since = time.monotonic()
        before: frozenset[int] = frozenset()
        while not self._closed.wait(CHECK_EVERY_S):
            if self._assigned.is_set():
                self._assigned.clear()
                since = time.monotonic()
            try:
                numbers = self._group.partitions(self._topic)
                group = self._group.description()
            except KafkaException:  # what has no response is requested again
                continue
            found = unassigned(group, self._topic, numbers)
            stable = group.state == ConsumerGroupState.STABLE
            if stable and not found:
                return
            now = time.monotonic()
            if not stable or not found & before:
                since, before = now, found
            elif now - since >= UNASSIGNED_S * (1 + turn(group, self._config.instance_id)):
                log.warning("requesting_rebalance", topic=self._topic, partitions=sorted(found))
                request_rebalance(self._config, self._closed)
                since = time.monotonic()


def request_rebalance(config: KafkaConfig, closed: threading.Event) -> None:
    """Have the group assign its partitions again.

    librdkafka has no request for it, unlike Java's ``enforceRebalance`` (KIP-568). A member without
    an instance id joins and leaves; it subscribes to another topic, so no partition moves to it.
    """
    joined = threading.Event()

    def on_assign(consumer: Consumer, _: list[TopicPartition]) -> None:
        consumer.incremental_assign([])  # nothing is fetched
        joined.set()

    member = Consumer({**settings.dynamic_member(config), "error_cb": log_client_error})
    try:
        member.subscribe([config.dead_letter_topic], on_assign=on_assign)
        until = time.monotonic() + 2 * config.session_timeout_s
        while not joined.is_set() and not closed.is_set() and time.monotonic() < until:
            member.poll(POLL_S)
    finally:
        member.close()
