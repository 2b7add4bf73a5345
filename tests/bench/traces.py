"""What the benchmark sends, by name and seed; encoded once, so that publishing costs nothing.

Every event whose order is claimed carries its number within its user: page views in their
address, identifies in a trait, surveys in their address. The server checks them.
"""

import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from confluent_kafka import Producer

from stream.devtools import traffic
from stream.devtools.traffic import Document, TrafficKind
from stream.kafka.producer import record_of

PARTITIONS = 6
SEED = 1
EVENTS_PER_PERSON = 8


class Trace(StrEnum):
    """The traces by name."""

    DISTINCT = "distinct"
    """Page views of known e-mails, several of each person: every event a request of its own."""
    REALISTIC = "realistic"
    """The demo's traffic: Zipf's people, and of the identifies 60 % bring nothing new."""
    HOT = "hot"
    """The same events as ``distinct``, all in one of the partitions."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A record to be; without ``partition`` its key chooses it."""

    key: bytes | None
    value: bytes | None
    partition: int = -1


@lru_cache(maxsize=4)
def encoded(trace: Trace, events: int, seed: int = SEED) -> tuple[Encoded, ...]:
    """Return the records of a trace."""
    match trace:
        case Trace.DISTINCT:
            return tuple(_records(distinct(events, seed)))
        case Trace.HOT:
            records = encoded(Trace.DISTINCT, events, seed)
            return tuple(Encoded(record.key, record.value, 0) for record in records)
        case Trace.REALISTIC:
            return tuple(_records(realistic(events, seed)))


def distinct(events: int, seed: int) -> Iterator[Document]:
    """Yield page views, complete, each of somebody."""
    people = max(1, events // EVENTS_PER_PERSON)
    dice = random.Random(f"{seed}/people")
    numbers: Counter[int] = Counter()
    source = traffic.Traffic(random.Random(seed), users=1)
    for _ in range(events):
        source.tick()
        person = dice.randrange(people)
        document = source.page(person, with_email=True)
        document["context"]["traits"]["createdAt"] = "2026-03-02T08:00:00.000Z"
        numbers[person] += 1
        yield _addressed(document, numbers[person])


def realistic(events: int, seed: int) -> Iterator[Document | bytes | None]:
    """Yield the demo's traffic. A profile that changed gets a number, which stays its own."""
    pages: Counter[str] = Counter()
    changes: Counter[str] = Counter()
    profiles: dict[str, int] = {}
    known: dict[str, Document] = {}
    for sample in traffic.traffic(events=events, seed=seed):
        document = sample.value
        if not isinstance(document, dict):
            yield document
            continue
        if sample.kind is TrafficKind.DUPLICATE:
            yield known[document["messageId"]]
            continue
        user = document["userId"]
        match sample.kind:
            case TrafficKind.PAGE:
                pages[user] += 1
                document = _addressed(document, pages[user])
            case TrafficKind.CHANGED | TrafficKind.UNCHANGED:
                if sample.kind is TrafficKind.CHANGED:
                    changes[user] += 1
                    profiles[user] = changes[user]
                document = _marked(document, profiles[user])
            case TrafficKind.RESPONSE | TrafficKind.DECLINE:
                changes[user] += 1
                document = _addressed(document, changes[user])
            case _:
                pass
        if "messageId" in document:
            known[document["messageId"]] = document
        yield document


def named(page: Document) -> tuple[str, int]:
    """Return whose page view of ``distinct`` it is, and which of theirs."""
    number = page["properties"]["url"].rpartition("=")[2]
    return page["context"]["traits"]["email"], int(number)


def _addressed(document: Document, number: int) -> Document:
    """Return the document with a number in the address that it names."""
    url = document["properties"]["url"]
    numbered = f"{url}{'&' if '?' in url else '?'}bench={number:010d}"
    return {**document, "properties": {**document["properties"], "url": numbered}}


def _marked(document: Document, number: int) -> Document:
    """Return the document with a number in its traits."""
    return {**document, "traits": {**document["traits"], "bench": f"bench={number:010d}"}}


def _records(values: Iterable[Document | bytes | None]) -> Iterator[Encoded]:
    for value in values:
        if isinstance(value, dict):
            yield Encoded(*record_of(json.dumps(value).encode()))
        else:
            yield Encoded(None, value)


def producer(bootstrap_servers: str, *, linger_ms: int = 5) -> Producer:
    """Return what publishes records: in order, by their keys, up to a million ahead."""
    return Producer(
        {
            "bootstrap.servers": bootstrap_servers,
            "partitioner": "murmur2_random",
            "enable.idempotence": True,
            "linger.ms": linger_ms,
            "queue.buffering.max.messages": 1_000_000,
        }
    )


def publish(bootstrap_servers: str, topic: str, records: tuple[Encoded, ...]) -> None:
    """Put the records into Kafka, in order; return once it has them all."""
    publishing = producer(bootstrap_servers)
    for record in records:
        publishing.produce(topic, record.value, record.key, record.partition)
    assert publishing.flush(60) == 0
