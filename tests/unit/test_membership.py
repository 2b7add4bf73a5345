"""A member that the group removed while it stood still, and took in again under another id."""

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from confluent_kafka import KafkaException, TopicPartition
from kafka_settings import CONFIG

from stream.kafka import consumer_thread, repartition
from stream.kafka.protocol import FinishRevocation, PartitionsLost, RevocationStarted
from stream.record import Partition, Record

ONE, TWO = (TopicPartition("events", number, 0) for number in (0, 1))


class Member:
    """The client, as far as a rebalance shows it."""

    def __init__(self) -> None:
        self.id = "w1-a"
        self.polls: list[Any] = []

    def memberid(self) -> str:
        return self.id

    def consumer_group_metadata(self) -> str:
        return f"metadata of {self.id}"

    def poll(self, _: float) -> None:
        if self.polls:
            self.polls.pop(0)()

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


class Poller:
    """The poller, as far as it is told what to poll."""

    def __init__(self, *_: object, **__: object) -> None:
        self.owned: list[set[int]] = []
        self.closed = False

    def own(self, partitions: Iterable[Partition]) -> None:
        self.owned.append({partition.number for partition in partitions})

    def request_partition_count(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def thread(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The thread, not started, with a client of ours; and what it has told the loop."""
    clients: list[Member] = []

    def new(_: object) -> Member:
        clients.append(Member())
        return clients[-1]

    monkeypatch.setattr(consumer_thread, "Consumer", new)
    monkeypatch.setattr(consumer_thread, "MetadataPoller", Poller)
    names = ("Group", "CredentialRefresher", "ChangelogRestorer", "Transactions")
    for name in names:
        monkeypatch.setattr(consumer_thread, name, MagicMock())
    events: list[object] = []
    member = consumer_thread.ConsumerThread(CONFIG, epoch=1, on_event=events.append)
    member._on_assign(clients[0], [ONE, TWO])
    return SimpleNamespace(thread=member, clients=clients, events=events)


def test_revoked_partitions_are_drained_while_the_member_stays(thread: SimpleNamespace) -> None:
    thread.thread.command(FinishRevocation())
    thread.thread._on_revoke(thread.clients[0], [ONE])
    assert [event for event in thread.events if isinstance(event, RevocationStarted)]
    assert thread.thread._owned.keys() == {Partition("events", 1)}
    assert len(thread.clients) == 1


def test_the_ends_of_what_it_owns_are_polled_until_it_leaves(thread: SimpleNamespace) -> None:
    poller = thread.thread._metadata_poller
    thread.thread.command(FinishRevocation())
    thread.thread._on_revoke(thread.clients[0], [ONE])
    assert poller.owned == [{0, 1}, {1}]
    assert not poller.closed
    thread.thread._close()
    assert poller.closed


def test_nothing_is_committed_for_partitions_that_others_owned_meanwhile(
    thread: SimpleNamespace,
) -> None:
    """Found by a soak: under the new id a commit passed, and 450 events had two receipts."""
    client, member = thread.clients[0], thread.thread

    def revoke() -> None:
        client.id = "w1-b"
        member._on_revoke(client, [ONE])
        assert member._group_metadata is None

    member.command(FinishRevocation())
    client.polls.append(revoke)
    member._run_once()
    lost = [event.partitions for event in thread.events if isinstance(event, PartitionsLost)]
    assert lost == [[Partition("events", 0)], [Partition("events", 1)]]
    assert not [event for event in thread.events if isinstance(event, RevocationStarted)]
    assert member._owned == {}
    assert len(thread.clients) == 2, "it joins by another client"
    member._on_assign(thread.clients[1], [ONE])
    assert member._group_metadata == "metadata of w1-a"


def test_a_bridge_transfers_nothing_for_partitions_that_others_owned_meanwhile() -> None:
    client, rekeyer = (
        Member(),
        repartition.Repartitioner(
            CONFIG,
            source="raw",
            record_bytes_max=1,
            convert=lambda _: None,
            observer=MagicMock(),
            on_end=lambda _: None,
        ),
    )
    rekeyer._positions[Partition("raw", 0)] = 5
    rekeyer._membership.group_metadata(client, owns=False)
    client.id = "w1-b"
    rekeyer._on_revoke(client, [TopicPartition("raw", 1, 0)])
    with pytest.raises(KafkaException, match="rebalancing"):
        rekeyer._transfer(MagicMock(), [Record(Partition("raw", 0), 5, 0, None, b"")])
