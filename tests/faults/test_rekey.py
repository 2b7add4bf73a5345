"""`bridge --from-topic`: from Segment's own topic into the input, killed at every call."""

import asyncio
import json
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import rekey_launcher
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from lone_kafka import lone_kafka
from segment import bridge
from stack import Stack
from waiting import STILL_S, stretched, until

from stream.codec.avro import all_packaged
from stream.codec.decode import Decoder
from stream.devtools.traffic import traffic

GARBAGE = (b"\xff\x00", b'{"type":"identify","us', b"[1]", b"")
COMMAND = (sys.executable, str(Path(rekey_launcher.__file__)))
SHARE = 120
PATIENT = {"KAFKA__SESSION_TIMEOUT_S": "45"}
"""The group keeps it through the outage; it would begin anew with other clients."""
RECONNECT_S_MAX = 11.0
"""The client's `reconnect.backoff.max.ms`, and a second."""
SHORT = {"KAFKA__SESSION_TIMEOUT_S": stretched(6), "KAFKA__TRANSACTION_TIMEOUT_S": stretched(3)}


class JsonTopic:
    """A topic as Segment's destination fills it: JSON, without keys, all over the partitions."""

    def __init__(self, stack: Stack) -> None:
        self.name = f"{stack.config.topic}.json"
        admin = AdminClient({"bootstrap.servers": stack.bootstrap_servers})
        new = NewTopic(self.name, stack.partitions, 1)
        admin.create_topics([new])[self.name].result()
        self._producer = Producer({"bootstrap.servers": stack.bootstrap_servers})
        self._partitions = cycle(range(stack.partitions))

    def write(self, values: Sequence[bytes | None]) -> None:
        for value in values:
            self._producer.produce(self.name, value, partition=next(self._partitions))
        assert self._producer.flush(STILL_S) == 0


async def until_taken_over(stack: Stack, count: int) -> None:
    async def complete() -> bool:
        return len(await asyncio.to_thread(stack.read, stack.config.topic)) >= count

    await until(complete, "all is taken over", lambda: stack.ends(stack.config.topic))


async def test_a_kill_at_each_call_takes_every_record_over_once(stack: Stack) -> None:
    """Then one freezes inside its transaction until another has its place, and wakes."""
    topic = JsonTopic(stack)
    samples = traffic(events=(len(rekey_launcher.POINTS) + 2) * SHARE, seed=41)
    documents = [sample.value for sample in samples if isinstance(sample.value, dict)]
    values: list[Any] = [json.dumps(document).encode() for document in documents]
    garbage = cycle(GARBAGE)
    for number, point in enumerate(rekey_launcher.POINTS):
        topic.write([*values[number * SHARE : (number + 1) * SHARE], next(garbage), None])
        one = bridge(stack, FAULTS=json.dumps({point: (1, "kill")}))
        one._command = (*COMMAND, "--from-topic", topic.name)
        one.start()
        assert await one.until_ended() == -9, one.text()
    frozen = {"before send offsets": (1, "stop")}
    first = bridge(stack, FAULTS=json.dumps(frozen), **SHORT)
    first._command = (*COMMAND, "--from-topic", topic.name)
    second = bridge(stack, "--from-topic", topic.name, instance="b2", **SHORT)
    topic.write(values[(number + 1) * SHARE :])
    first.start()
    await until(lambda: first.frozen, "the bridge stops itself", first.said)
    second.start()
    await until_taken_over(stack, len(documents))
    first.thaw()
    await asyncio.sleep(1)
    # librdkafka 2.16 may end it itself when it is fenced ("corrupted size"): as good as a kill -9.
    assert first.running.poll() in (None, 75, -signal.SIGABRT)
    topic.write([values[-1]])
    await until_taken_over(stack, len(documents) + 1)
    assert await asyncio.to_thread(second.stop) == 0
    first.end()

    decoder = Decoder(all_packaged())
    written = stack.read(stack.config.topic)
    documents.append(documents[-1])
    ids = Counter(decoder.decode(message.value()).message_id or "" for message in written)
    assert len(written) == len(documents)
    assert {name: count for name, count in ids.items() if "content" not in name} == (
        Counter(d["messageId"] for d in documents if "messageId" in d)
    )
    assert {message.key().decode() for message in written} == {d["userId"] for d in documents}
    letters = [(m, dict(m.headers())) for m in stack.read(stack.config.dead_letter_topic)]
    places = Counter((h["x-origin-partition"], h["x-origin-offset"]) for _, h in letters)
    assert set(places.values()) == {1}
    assert Counter(m.value() for m, _ in letters).keys() == set(GARBAGE)
    assert {(h["x-reason"], h["x-origin-topic"].decode()) for _, h in letters} == {
        (b"invalid_json", topic.name)
    }


async def test_a_restart_while_partitions_are_given_away_leaves_none_without_an_owner(
    stack: Stack,
) -> None:
    """Back within its session, it gets what it had left, and nobody was told of the rest."""
    topic = JsonTopic(stack)
    faults = json.dumps({"before unassign": (1, "kill")})
    first = bridge(stack, FAULTS=faults, **SHORT)
    first._command = (*COMMAND, "--from-topic", topic.name)
    second = bridge(stack, "--from-topic", topic.name, instance="b2", **SHORT)
    first.start()
    await first.until_logged("rebalanced")
    second.start()
    assert await first.until_ended() == -9, first.text()
    first.forget_faults()
    first.start()
    events = [{"type": "track", "event": f"e{n}", "userId": f"u{n}"} for n in range(30)]
    topic.write([json.dumps(event).encode() for event in events])
    await until_taken_over(stack, len(events))
    for one in (first, second):
        assert await asyncio.to_thread(one.stop) == 0
    assert len(stack.read(stack.config.topic)) == len(events)


@pytest.mark.slow
async def test_it_goes_on_after_an_outage(stack: Stack) -> None:
    """Its client waits forever for the connection to the coordinator that it had before."""
    async with lone_kafka(stack, {"broker.session.timeout.ms": "6000"}) as (kafka, own):
        topic = JsonTopic(own)
        one = bridge(own, "--from-topic", topic.name, **{**SHORT, **PATIENT})
        one.start()
        events = [{"type": "track", "event": f"e{n}", "userId": f"u{n}"} for n in range(4)]
        for count, event in enumerate(events, start=1):
            topic.write([json.dumps(event).encode()])
            await until_taken_over(own, count)
            await asyncio.to_thread(kafka.node(1).kill)
            kafka.node(1).start()
            await asyncio.to_thread(kafka.wait_until_ready)
            await asyncio.sleep(RECONNECT_S_MAX)
        assert one.lives
        assert await asyncio.to_thread(one.stop) == 0


async def test_it_refuses_a_topic_that_cannot_be_taken_over(stack: Stack) -> None:
    """Not the input itself, and nothing that the dead letters could not take."""
    admin = AdminClient({"bootstrap.servers": stack.bootstrap_servers})
    large = f"{stack.config.topic}.large"
    new = NewTopic(large, 1, 1, config={"max.message.bytes": "5000000"})
    admin.create_topics([new])[large].result()
    for topic, says in (
        (stack.config.topic, "is the input itself"),
        ("nowhere", "nowhere: missing"),
        (large, "max.message.bytes is below 5065536"),
    ):
        one = bridge(stack, "--from-topic", topic, instance=topic)
        one.start()
        assert await one.until_ended() == 78
        assert says in one.log.read_text()
    broken = {"KAFKA__PROPERTIES": '{"socket.timeout.ms":60000}'}
    one = bridge(stack, "--from-topic", large, instance="broken", **broken)
    one.start()
    assert await one.until_ended() == 78
    assert "socket.timeout.ms is 60000" in one.log.read_text()
