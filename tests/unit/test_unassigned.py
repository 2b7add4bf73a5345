"""Who asks for a rebalance, and when: only for partitions that a stable group leaves to nobody."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import cycle
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import ConsumerGroupState, KafkaError, KafkaException, TopicPartition
from kafka_settings import CONFIG

from stream.kafka import unassigned as module
from stream.kafka.unassigned import UnassignedWatcher, turn, unassigned

TOPIC = "segment.events"
ALL = frozenset(range(3))
WAIT_S = 60


def member(name: str | None, *numbers: int, topic: str = TOPIC) -> SimpleNamespace:
    owned = [TopicPartition(topic, number) for number in numbers]
    assignment = SimpleNamespace(topic_partitions=owned)
    return SimpleNamespace(member_id="m-1", group_instance_id=name, assignment=assignment)


def group(*members: SimpleNamespace, state: Any = ConsumerGroupState.STABLE) -> Any:
    return SimpleNamespace(state=state, members=members)


def test_what_nobody_owns_is_unassigned() -> None:
    assert unassigned(group(member("w1", 0), member("w2", 2)), TOPIC, ALL) == {1}
    assert unassigned(group(member("w1", 0, 1, 2)), TOPIC, ALL) == frozenset()
    assert unassigned(group(member("w1", 0, 1, 2, topic="other")), TOPIC, ALL) == ALL


def test_members_take_turns_by_name() -> None:
    three = group(member("w2"), member("w1"), member(None))
    assert [turn(three, name) for name in ("w1", "w2", "w3")] == [1, 2, 3]


class Watched:
    """A watcher of a group that a test describes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.found: Any = group(member("w1", 0), member("w2", 1))
        self.looks = self.requests = 0
        self.failures: list[Exception] = []
        monkeypatch.setattr(module, "CHECK_EVERY_S", 0.005)
        monkeypatch.setattr(module, "UNASSIGNED_S", 0.02)
        monkeypatch.setattr(module, "request_rebalance", lambda *_: self.request())
        self.watcher = UnassignedWatcher(
            CONFIG, group=self, topic=TOPIC, on_failure=self.failures.append
        )

    def partitions(self, topic: str) -> frozenset[int]:
        assert topic == TOPIC
        return ALL

    def description(self) -> Any:
        self.looks += 1
        found = next(self.found) if isinstance(self.found, cycle) else self.found
        if isinstance(found, Exception):
            raise found
        return found

    def request(self) -> None:
        self.requests += 1

    def close(self) -> None:
        pass

    def until(self, condition: Callable[[], bool]) -> None:
        by = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < by
            time.sleep(0.001)

    def until_looked(self, times: int = 20) -> None:
        before = self.looks
        self.until(lambda: self.looks >= before + times)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    watched = Watched(monkeypatch)
    watched.watcher.start()
    yield watched
    watched.watcher.close()
    watched.watcher.join(WAIT_S)
    assert not watched.watcher.is_alive()


def test_it_asks_for_what_stays_without_an_owner_and_then_no_more(watched: Watched) -> None:
    watched.watcher.look()
    watched.until(lambda: watched.requests > 0)
    watched.found = group(member("w1", 0, 2), member("w2", 1))
    before = watched.looks
    watched.until(lambda: watched.looks > before)
    after = watched.looks
    time.sleep(0.1)
    assert watched.looks == after


def test_without_an_assignment_it_looks_at_nothing(watched: Watched) -> None:
    time.sleep(0.1)
    assert watched.looks == 0


def test_where_the_broker_assigns_it_looks_at_nothing() -> None:
    modern = replace(CONFIG, properties={"group.protocol": "consumer"})
    watcher = UnassignedWatcher(modern, group=None, topic=TOPIC, on_failure=pytest.fail)
    watcher.start()
    watcher.join(WAIT_S)
    assert not watcher.is_alive()


@pytest.mark.parametrize(
    "found",
    [
        group(member("w1", 0), state=ConsumerGroupState.PREPARING_REBALANCING),
        KafkaException(KafkaError(KafkaError._TIMED_OUT)),
    ],
    ids=["rebalancing", "no response"],
)
def test_it_waits_for_a_stable_group(watched: Watched, found: Any) -> None:
    watched.found = found
    watched.watcher.look()
    watched.until_looked()
    assert not watched.requests
    watched.found = group(member("w1", 0), member("w2", 1))
    watched.until(lambda: watched.requests > 0)


def test_what_is_given_away_one_after_the_other_is_no_reason(watched: Watched) -> None:
    """Each look finds another partition on its way."""
    watched.found = cycle(group(member("w1", *(ALL - {number}))) for number in ALL)
    watched.watcher.look()
    watched.until_looked()
    assert not watched.requests


def test_it_waits_for_its_turn(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "turn", lambda *_: 10**9)
    watched.watcher.look()
    watched.until_looked()
    assert not watched.requests
    monkeypatch.setattr(module, "turn", lambda *_: 0)
    watched.until(lambda: watched.requests > 0)


def test_a_failure_is_told(watched: Watched) -> None:
    watched.found = RuntimeError("a bug")
    watched.watcher.look()
    watched.until(lambda: bool(watched.failures))


def test_the_member_that_joins_for_a_moment_is_nobodys_double() -> None:
    member = module.settings.dynamic_member(CONFIG)
    assert "group.instance.id" not in member
    assert member["client.id"] == "w1-rebalance"


def test_closed_it_requests_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = threading.Event()
    closed.set()
    made: list[Any] = []

    class Member:
        def subscribe(self, topics: list[str], **_: object) -> None:
            made.append(topics)

        def poll(self, _: float) -> None:
            raise AssertionError

        def close(self) -> None:
            made.append("closed")

    monkeypatch.setattr(module, "Consumer", lambda _: Member())
    module.request_rebalance(CONFIG, closed)
    assert made == [[CONFIG.dead_letter_topic], "closed"]
