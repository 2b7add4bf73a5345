"""The poller's thread: what it reports of what a group answers, and how it ends."""

import threading
from collections.abc import Collection, Iterator
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from kafka_settings import CONFIG
from waiting import STILL_S, until_now

from stream.kafka import metadata_poller
from stream.kafka.metadata_poller import MetadataPoller
from stream.kafka.protocol import (
    EndOffsetKnown,
    Failed,
    LedgerStartKnown,
    PartitionCountKnown,
    RetentionKnown,
)
from stream.record import Partition

ONE, TWO = Partition("events", 1), Partition("events", 2)


class Answers:
    """A group whose answers the test sets; none of a topic is a response that does not come."""

    def __init__(self) -> None:
        self.log_ends: dict[int, int] = {}
        self.stable: dict[int, int] = {}
        self.numbers = [0, 1, 2]
        self.error: Exception | None = None
        self.asked: list[str] = []
        self.answering = threading.Event()
        self.answering.set()

    def offsets(
        self, topic: str, numbers: Collection[int], *, earliest: bool, stable: bool, **_: Any
    ) -> dict[int, int]:
        self._ask("stable" if stable else "first" if earliest else "log")
        known = self.stable if stable else dict.fromkeys(numbers, 7) if earliest else self.log_ends
        return {number: known[number] for number in numbers if number in known}

    def partitions(self, topic: str, **_: Any) -> list[int]:
        self._ask("count")
        return self.numbers

    def topic_config(self, topic: str, **_: Any) -> dict[str, str]:
        self._ask("config")
        return {"retention.ms": "5000"}

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        assert self.answering.wait(STILL_S)
        if self.error is not None:
            raise self.error


class World:
    """A poller and what it has reported."""

    def __init__(self) -> None:
        self.group = Answers()
        self.events: list[object] = []
        self.poller = MetadataPoller(
            CONFIG, group=self.group, on_event=self.events.append, watch_ledger_start=True
        )

    def until_reported(self, *expected: object) -> None:
        until_now(lambda: set(expected) <= set(self.events), "reported", lambda: self.group.asked)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(metadata_poller, "ENDS_EVERY_S", 0.001)
    monkeypatch.setattr(metadata_poller, "COUNT_EVERY_S", 0.001)
    world = World()
    yield world
    world.group.answering.set()
    world.poller.close()


def test_ends_are_reported_of_the_leaders_that_answer(world: World) -> None:
    """A stable end may be newer than the log's, which was asked for before it."""
    world.group.log_ends, world.group.stable = {1: 10, 2: 12}, {1: 11}
    world.poller.own([ONE, TWO])
    world.poller.start()
    world.until_reported(
        EndOffsetKnown(ONE, 11, 11), RetentionKnown(5000), LedgerStartKnown(ONE, 7)
    )
    assert not [
        one
        for one in world.events
        if isinstance(one, EndOffsetKnown | Failed) and one != EndOffsetKnown(ONE, 11, 11)
    ]
    world.group.log_ends, world.group.stable = {2: 20}, {2: 15}
    world.until_reported(EndOffsetKnown(TWO, 15, 20))


def test_nothing_goes_through_the_admin_protocol_while_nobody_answers(world: World) -> None:
    """A request that times out there might end the process."""
    world.poller.own([ONE])
    world.poller.start()
    until_now(lambda: world.group.asked.count("log") > 3, "it goes on asking")
    assert "config" not in world.group.asked


def test_without_partitions_those_of_the_input_are_counted(world: World) -> None:
    world.poller.start()
    world.until_reported(PartitionCountKnown(3))
    assert set(world.group.asked) == {"count"}


def test_a_count_that_is_wanted_is_reported_once_to_an_owner(world: World) -> None:
    world.group.log_ends = world.group.stable = {1: 1}
    world.poller.own([ONE])
    world.poller.request_partition_count()
    world.poller.start()
    world.until_reported(PartitionCountKnown(3), EndOffsetKnown(ONE, 1, 1))
    assert world.group.asked.count("count") == 1


def test_it_goes_on_after_an_outage(world: World) -> None:
    world.group.error = KafkaException(KafkaError(KafkaError._TIMED_OUT))
    world.poller.start()
    until_now(lambda: len(world.group.asked) > 3, "it goes on asking")
    assert world.events == []
    world.group.error = None
    world.until_reported(PartitionCountKnown(3))


def test_a_defect_is_reported(world: World) -> None:
    world.group.error = ValueError("a defect")
    world.poller.start()
    world.until_reported(Failed(world.group.error))


def test_it_ends_with_the_request_that_is_under_way(world: World) -> None:
    """Nothing is asked after that, so that the clients can be closed."""
    world.group.answering.clear()
    world.poller.own([ONE])
    world.poller.start()
    until_now(lambda: world.group.asked, "it asks")
    closing = threading.Thread(target=world.poller.close)
    closing.start()
    assert world.poller.is_alive()
    world.group.answering.set()
    closing.join(STILL_S)
    assert not world.poller.is_alive()
    assert world.group.asked == ["log"]
