"""Offsets of a group's topics, of which some leaders answer: the client is ours, as it behaves."""

import threading
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition
from kafka_settings import CONFIG

from stream.kafka import metadata
from stream.kafka.metadata import Describer, Group, close_admin

LEADERS = {0: 1, 1: 2, 2: 1, 3: -1}
"""The leaders by partition; partition 3 has none."""
SILENT = 2
ENDS = {"read_uncommitted": 12, "read_committed": 9}
"""An open transaction begins at the second."""


class Client:
    """A consumer: one silent leader, and it has no answer at all."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._end = ENDS[config["isolation.level"]]
        self.error: KafkaError | None = None

    def list_topics(self, topic: str, **_: Any) -> Any:
        partitions = {n: SimpleNamespace(leader=leader) for n, leader in LEADERS.items()}
        found = SimpleNamespace(error=self.error, partitions={} if self.error else partitions)
        return SimpleNamespace(topics={topic: found})

    def offsets_for_times(
        self, requested: list[TopicPartition], **_: Any
    ) -> list[TopicPartition | SimpleNamespace]:
        leaders = {LEADERS[one.partition] for one in requested}
        assert -1 not in leaders, "it would wait for one"
        if SILENT in leaders:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return [
            TopicPartition(
                one.topic, one.partition, 0 if one.offset == OFFSET_BEGINNING else self._end
            )
            for one in requested
        ]


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> Group:
    monkeypatch.setattr(metadata, "Consumer", Client)
    monkeypatch.setattr(metadata, "AdminClient", MagicMock())
    return Group(CONFIG)


def test_a_leader_that_does_not_answer_hides_no_other(group: Group) -> None:
    assert group.offsets("events", LEADERS) == {0: 12, 2: 12}


def test_ends_are_those_of_all_partitions_or_none(group: Group) -> None:
    """A barrier that leaves one out would restore too little."""
    assert group.ends("events", [0, 2]) == {0: 12, 2: 12}
    for numbers in ([0, 1], [0, 3], [0, 4]):
        with pytest.raises(KafkaException):
            group.ends("events", numbers)


def test_an_open_transaction_is_before_the_stable_end(group: Group) -> None:
    assert group.ends("events", [0], stable=True) == {0: 9}
    assert group.ends("events", [0], earliest=True) == {0: 0}
    assert group.blocked("events", group.ends("events", [0, 2])) == {0: 3, 2: 3}


def test_what_the_topic_lacks_is_said(group: Group) -> None:
    """A right that is missing has an exit code of its own."""
    group.clients[0].error = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    with pytest.raises(KafkaException) as caught:
        group.ends("events", [0])
    assert caught.value.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED


class Admin:
    """An admin client that answers until its coordinator is gone; as the real one, it is empty."""

    def __init__(self, _: Any) -> None:
        self.answers = True
        self.closed = threading.Event()

    def __len__(self) -> int:
        return 0

    def __exit__(self, *_: object) -> None:
        self.closed.set()

    def describe_consumer_groups(self, groups: list[str], **_: Any) -> dict[str, Any]:
        result: dict[str, Any] = {} if self.answers else {"side_effect": TimeoutError}
        return {groups[0]: MagicMock(**{f"result.{name}": what for name, what in result.items()})}


def test_a_description_without_response_is_repeated_with_a_new_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The old one may wait forever for a coordinator that it has given up: librdkafka #5511."""
    made: list[Admin] = []

    def admin(config: Any) -> Admin:
        made.append(Admin(config))
        return made[-1]

    monkeypatch.setattr(metadata, "AdminClient", admin)
    describer = Describer(CONFIG)
    for _ in range(2):
        describer.description()
    (old,) = made
    old.answers = False
    with pytest.raises(KafkaException) as caught:
        describer.description()
    assert caught.value.args[0].code() == KafkaError._TIMED_OUT
    assert old.closed.is_set()
    describer.description()
    _, new = made
    describer.close()
    assert new.closed.is_set()


def test_a_client_that_does_not_close_holds_up_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    never = threading.Event()
    monkeypatch.setattr(metadata, "CLOSE_S", 0.01)
    close_admin(MagicMock(__exit__=lambda *_: never.wait()))
    never.set()
