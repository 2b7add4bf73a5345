"""The real thing for tests: topics on a real Kafka, workers as processes, Wootric's emulator."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import forked
import psutil
from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec
from waiting import STILL_S, stretched, until, until_now

from sink.wootric.emulator import Emulator
from stream.kafka import config as settings
from stream.kafka.config import KafkaConfig
from stream.kafka.publish import record_of
from stream.kafka.reading import chunks
from stream.kafka.topics import create
from stream.ledger_codec import Entry, decode
from stream.record import Partition, Record

DAY_S = 86_400
RUN = (sys.executable, "-m", "stream", "run")


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


class Worker:
    """One `wootric-stream run`, as a process of its own."""

    def __init__(
        self,
        environment: Mapping[str, str],
        log: Path,
        command: Sequence[str] = RUN,
        *,
        forks: bool = True,
    ) -> None:
        self._command = command
        self._forks = forks and "CLOCK" not in environment  # it is set before any import
        self.port = free_port()
        self._environment = {**os.environ, **environment, "HTTP__PORT": str(self.port)}
        self._environment["HTTP__HOST"] = "127.0.0.1"
        self.log = log
        self.process: subprocess.Popen[bytes] | forked.Forked | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            if self._forks:
                self.process = forked.Forked(self._command, self._environment, log.fileno())
            else:
                self.process = subprocess.Popen(self._command, env=self._environment, stderr=log)

    def forget_faults(self) -> None:
        """Let its next start be without the faults that were ordered for its first."""
        self._environment.pop("FAULTS", None)

    @property
    def running(self) -> subprocess.Popen[bytes] | forked.Forked:
        assert self.process is not None
        return self.process

    def kill(self) -> None:
        self.running.send_signal(signal.SIGKILL)
        self.running.wait()

    def freeze(self) -> None:
        """Stop it with SIGSTOP: its connections stay open and nothing happens."""
        self.running.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.running.send_signal(signal.SIGCONT)

    @property
    def frozen(self) -> bool:
        return psutil.Process(self.running.pid).status() == psutil.STATUS_STOPPED

    def stop(self) -> int:
        """End it with SIGTERM; return its exit code."""
        self.running.send_signal(signal.SIGTERM)
        return self.running.wait(STILL_S)

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()

    async def get(self, path: str) -> tuple[int, str]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.port}{path}") as reply,
        ):
            return reply.status, await reply.text()

    async def until_ready(self) -> None:
        """Return once the group has taken it in."""

        async def ready() -> bool:
            with suppress(aiohttp.ClientConnectionError):
                return (await self.get("/readyz"))[0] == 200
            return False

        await until(ready, f"{self.log.stem} is ready", self.said)

    async def metrics(self) -> dict[str, float]:
        """The metrics by their name with labels."""
        _, text = await self.get("/metrics")
        lines = (line for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}

    async def until_logged(self, event: str) -> None:
        """Return once it has logged an event."""
        await until(lambda: event in self.text(), f"{self.log.stem} logs {event}", self.said)

    async def until_ended(self) -> int:
        """Return its exit code, once it has ended."""
        await until(lambda: self.running.poll() is not None, f"{self.log.stem} ends", self.said)
        assert self.running.returncode is not None
        return self.running.returncode

    def text(self) -> str:
        """What it has logged."""
        return self.log.read_text() if self.log.exists() else ""

    def said(self) -> set[str]:
        """The events that it has logged, each once: what is only repeated is no progress."""
        return {line["event"] for line in self.logged()}

    def logged(self) -> list[dict[str, Any]]:
        lines = self.text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line[-1] == "}"]


@dataclass
class Stack:
    """Topics of one test, and the workers and the Wootric that belong to it."""

    bootstrap_servers: str
    wootric: Emulator
    folder: Path
    partitions: int = 3
    settings: dict[str, str] = field(default_factory=dict)
    forks: bool = True
    """Whether workers begin as forks; where a start or memory is measured they must not."""

    def __post_init__(self) -> None:
        name = f"t{uuid.uuid4().hex[:10]}"
        self.config = KafkaConfig(
            bootstrap_servers=self.bootstrap_servers,
            group_id=name,
            instance_id="test",
            topic=f"{name}.events",
            ledger_topic=f"{name}.events.wootric.ledger",
            dead_letter_topic=f"{name}.events.wootric.dlq",
            parked_topic=f"{name}.events.wootric.parked",
        )
        self.published: list[Record] = []
        """What Kafka has of what was published, in the order of the acknowledgements."""
        self._workers: list[Worker] = []
        self._committed: dict[int, int] = {}
        self._producer = Producer(
            {
                "bootstrap.servers": self.bootstrap_servers,
                "partitioner": "murmur2_random",
                "linger.ms": 5,
                "enable.idempotence": True,  # or a retry changes the order
            }
        )
        self.admin = AdminClient({"bootstrap.servers": self.bootstrap_servers})
        """One for all: what is asked of a client that nobody holds is never answered."""

    def create_topics(self) -> None:
        create(
            self.config,
            partitions=self.partitions,
            replication_factor=None,
            dedupe_window_s=7 * DAY_S,
        )

    def environment(self, instance: str) -> dict[str, str]:
        return {
            "KAFKA__BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "KAFKA__GROUP_ID": self.config.group_id,
            "KAFKA__TOPIC": self.config.topic,
            "KAFKA__INSTANCE_ID": instance,
            "WOOTRIC__ACCOUNT_TOKEN": "NPS-0a1b2c3d",
            "WOOTRIC__CLIENT_ID": "a-client",
            "WOOTRIC__CLIENT_SECRET": "a-secret-of-tests",
            "WOOTRIC__API_URL": self.wootric.url,
            "WOOTRIC__PIXEL_URL": self.wootric.pixel_url,
            "WOOTRIC__REQUEST_TIMEOUT_S": stretched(2),
            "WOOTRIC__QUIET_PERIOD_S": stretched(0.5),
            "WOOTRIC__LEASE_S": stretched(2),
            **self.settings,
        }

    def worker(
        self, instance: str = "w1", *, command: Sequence[str] = RUN, **settings: str
    ) -> Worker:
        """Return a worker that is not started yet."""
        log = self.folder / f"{instance}.log"
        environment = {**self.environment(instance), **settings}
        worker = Worker(environment, log, command, forks=self.forks)
        self._workers.append(worker)
        return worker

    def publish(
        self,
        documents: Iterable[Mapping[str, Any] | bytes | None],
        *,
        partition: int = -1,
        producer: Producer | None = None,
    ) -> int:
        """Publish Segment events, and raw values as they are; return how many.

        Without ``partition`` the key chooses it, without ``producer`` our own is taken.
        """
        producer = producer or self._producer
        count = 0

        def acknowledged(key: bytes | None, value: bytes | None, error: Any, at: Message) -> None:
            assert error is None, error
            partition = Partition(self.config.topic, at.partition())
            self.published.append(Record(partition, at.offset(), at.timestamp()[1], key, value))

        for document in documents:
            key: bytes | None = None
            value: bytes | None = None
            if isinstance(document, Mapping):
                key, value = record_of(json.dumps(document).encode())
            else:
                value = document
            while True:
                try:
                    producer.produce(
                        self.config.topic,
                        key=key,
                        value=value,
                        partition=partition,
                        on_delivery=partial(acknowledged, key, value),
                    )
                except BufferError:
                    producer.poll(0.1)
                else:
                    break
            count += 1
        assert producer.flush(STILL_S) == 0
        if any(record.offset is None for record in self.published):
            self.published = self._read_input()
        return count

    def _read_input(self) -> list[Record]:
        """What Kafka has. Of a record that it got twice a producer learns no offset."""
        return [
            Record(
                Partition(self.config.topic, message.partition()),
                message.offset(),
                message.timestamp()[1],
                message.key(),
                message.value(),
            )
            for message in self.read(self.config.topic)
        ]

    def ends(self, topic: str, *, stable: bool = True) -> dict[int, int]:
        """The last stable offsets of a topic, or where it ends with open transactions."""
        asked = {TopicPartition(topic, p): OffsetSpec.latest() for p in range(self.partitions)}
        level = IsolationLevel.READ_COMMITTED if stable else IsolationLevel.READ_UNCOMMITTED
        self.admin.list_topics(topic, timeout=10)  # it looks for new leaders only when told to
        answers = self.admin.list_offsets(asked, isolation_level=level)
        return {tp.partition: answer.result().offset for tp, answer in answers.items()}

    def committed(self) -> dict[int, int]:
        """The group's offsets, by partition; a negative one where there is none."""
        asked = [TopicPartition(self.config.topic, p) for p in range(self.partitions)]
        group = ConsumerGroupTopicPartitions(self.config.group_id, asked)
        (answer,) = self.admin.list_consumer_group_offsets([group]).values()
        return {tp.partition: tp.offset for tp in answer.result().topic_partitions}

    def rewind(self) -> None:
        """Set the group's offsets back to the beginning, as an operator would."""
        self.set_offsets(dict.fromkeys(range(self.partitions), 0))

    def set_offsets(self, wanted: Mapping[int, int]) -> None:
        """Set the group's offsets by hand, by partition."""
        consumer = Consumer(
            {"bootstrap.servers": self.bootstrap_servers, "group.id": self.config.group_id}
        )
        offsets = [TopicPartition(self.config.topic, p, offset) for p, offset in wanted.items()]

        def done() -> bool:
            try:
                consumer.commit(offsets=offsets, asynchronous=False)
            except KafkaException:  # a static member that has left is there for its session
                return False
            return True

        until_now(done, "the group is empty")
        consumer.close()

    def caught_up(self) -> bool:
        try:
            ends = self.ends(self.config.topic)
            committed = self._committed = self.committed()
        except KafkaException:  # a new topic's leader is not everywhere known yet
            return False
        return all(committed[p] >= end for p, end in ends.items() if end > 0)

    async def until_caught_up(self, *, may_end: Collection[int] = (0, -9)) -> None:
        """Return once every event is settled in a committed transaction.

        A worker that ends by itself with another code than ``may_end`` is a failure.
        """

        async def caught_up() -> bool:
            for worker in self._workers:
                if worker.process is not None and worker.process.poll() not in (None, *may_end):
                    raise AssertionError(f"a worker ended:\n{worker.text()[-3000:]}")
            return await asyncio.to_thread(self.caught_up)

        await until(caught_up, "all is settled", self.moved)

    def moved(self) -> object:
        """What changes as long as the workers make progress."""
        said = {worker.log.stem: worker.said() for worker in self._workers}
        return len(self.wootric.state.effects), self._committed, said

    def read(self, topic: str) -> list[Message]:
        """All committed records of a topic, by partition and offset."""
        numbers = range(self.partitions)
        consumer = Consumer(settings.reader(self.config))
        try:
            found = chunks(consumer, topic, dict.fromkeys(numbers, 0), self.ends(topic))
            return [message for chunk in found for message in chunk.messages]
        finally:
            consumer.close()

    def ledger(self) -> dict[tuple[int, str], Entry]:
        """The ledger's fold, by partition and key."""
        fold: dict[tuple[int, str], Entry] = {}
        for message in self.read(self.config.ledger_topic):
            name = (message.partition(), message.key().decode())
            if message.value() is None:
                fold.pop(name, None)
            else:
                fold[name] = decode(message.value())
        return fold

    def end(self) -> None:
        for worker in self._workers:
            worker.end()
        del self.admin  # while the broker is there: see stream.kafka.group
