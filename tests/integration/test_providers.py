"""Kafka as providers run it: with less rights, other topics and other logins."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from managed_broker import REFUSED, ManagedBroker, managed_broker
from readings import wootric_for
from stack import Stack
from test_startup import run
from waiting import STILL_S

from stream.kafka.topic_creation import create
from stream.kafka.topics import inspect

WINDOW_S = 15 * 86_400
"""Longer than 6 days and the 7 days of a segment, which is Kafka's default."""

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def managed() -> Iterator[ManagedBroker]:
    with managed_broker() as broker:
        yield broker


@pytest.fixture
async def cloud(managed: ManagedBroker, tmp_path: Path) -> AsyncIterator[Stack]:
    """Without topics."""
    async with wootric_for(tmp_path.name) as wootric:
        stack = Stack(managed.own, wootric, tmp_path)
        stack.settings["KAFKA__DEDUPE_WINDOW_S"] = str(WINDOW_S)
        yield stack
        stack.end()


async def test_topics_are_created_without_the_settings_that_the_cluster_refuses(
    cloud: Stack,
) -> None:
    """It is said of each, with what follows, and all other settings are there."""
    done = run("topics", "create", "--partitions", "3", env=cloud.environment("w1"))
    assert done.returncode == 0, done
    said = done.stdout.decode()
    for role in ("input", "ledger"):
        assert f"{role}: created without {REFUSED}: the cluster refuses it (" in said
    assert "one of the settings is not permitted); records are kept longer" in said
    assert said.count("created without") == 2
    done = run("topics", "check", "--json", env=cloud.environment("w1"))
    found = json.loads(done.stdout)
    assert (found["ok"], found["least_dedupe_window_s"]) == (True, 14 * 86_400)


async def test_records_that_would_outlive_their_receipts_are_refused_in_the_end(
    cloud: Stack,
) -> None:
    """A window that is not longer than the cluster's segments fits no retention."""
    cloud.create_topics()
    *_, last = inspect(cloud.config, dedupe_window_s=7 * 86_400)[0]
    assert (last.topic, last.ok) == (cloud.config.topic, False)
    assert "Ways out: (1) shorten the input" in last.text


async def test_a_ledger_that_a_broker_made_by_itself_is_named_as_such(cloud: Stack) -> None:
    """Whoever asks for a topic that was deleted by mistake has it made again, as any topic."""
    create(cloud.config, partitions=6, replication_factor=1, dedupe_window_s=WINDOW_S)
    name = cloud.config.ledger_topic
    cloud.admin.delete_topics([name])[name].result()
    maker = Producer({"bootstrap.servers": cloud.bootstrap_servers})
    maker.produce(name, b"value")
    assert maker.flush(STILL_S) == 0
    *_, last = inspect(cloud.config, dedupe_window_s=WINDOW_S)[0]
    assert (last.topic, last.ok) == (name, False)
    assert "like a topic that a broker has created automatically" in last.text
