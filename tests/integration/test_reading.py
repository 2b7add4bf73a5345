"""Reading a topic from outside: what counts as its end."""

from itertools import islice
from typing import Any

import pytest
from confluent_kafka import Producer
from stack import Stack
from waiting import STILL_S

from stream.kafka.reader import CHUNK_RECORDS_MAX, CommittedReader, TopicReader

pytestmark = pytest.mark.kafka


def producer(stack: Stack, **settings: Any) -> Producer:
    return Producer({"bootstrap.servers": stack.bootstrap_servers, **settings})


@pytest.fixture
def survey(stack: Stack) -> Any:
    survey = TopicReader(stack.config)
    yield survey
    survey.close()


def test_a_partition_that_ends_twice_is_not_two_that_end(stack: Stack, survey: TopicReader) -> None:
    """While one partition is being read, another one goes on growing."""
    topic, client = stack.config.topic, producer(stack)
    many = CHUNK_RECORDS_MAX + 1_000
    for number in range(many):
        client.produce(topic, b"%d" % number, partition=1)
        if number % 1_000 == 0:
            client.flush()
    client.flush()
    reading = survey.read(topic)
    seen = list(islice(reading, 1))
    for _ in range(3):
        client.produce(topic, b"more", partition=0)
        client.flush()
    seen += list(reading)
    assert sum(1 for record in seen if record.partition.number == 1) == many


def test_a_transaction_is_read_as_a_whole(stack: Stack, survey: TopicReader) -> None:
    """The barrier lies within it: nothing comes until it has ended, and all of it then."""
    topic = stack.config.topic
    client = producer(stack, **{"transactional.id": topic})
    client.init_transactions(STILL_S)
    client.begin_transaction()
    for value in (b"1", b"2"):
        client.produce(topic, value, partition=0)
    client.flush()
    barrier = survey.ends(topic)
    client.produce(topic, b"3", partition=0)
    client.commit_transaction(STILL_S)
    assert barrier[0] == 2
    assert [record.value for record in survey.read(topic)] == [b"1", b"2", b"3"]


def test_a_rehearsal_leaves_out_what_an_open_transaction_holds(stack: Stack) -> None:
    """It ends, and has read what was committed; nobody says how long a transaction stays open."""
    topic = stack.config.topic
    client = producer(stack)
    for value in (b"1", b"2"):
        client.produce(topic, value, partition=0)
    client.flush()
    other = producer(stack, **{"transactional.id": topic})
    other.init_transactions(STILL_S)
    other.begin_transaction()
    other.produce(topic, b"3", partition=0)
    other.produce(topic, b"a", partition=1)
    other.flush()
    with CommittedReader(stack.config) as reader:
        found = [record.value for record in reader.records(reader.starts())]
    other.abort_transaction(STILL_S)
    assert found == [b"1", b"2"]


def test_reading_stops_exactly_where_it_is_told_to(stack: Stack, survey: TopicReader) -> None:
    topic, client = stack.config.topic, producer(stack)
    for number in range(5):
        client.produce(topic, b"%d" % number, partition=0)
    client.flush()
    begins, stops = {0: 1, 1: 0}, {0: 3, 1: 0}
    found = [record.value for record in survey.read(topic, begins=begins, stops=stops)]
    assert found == [b"1", b"2"]
