"""The demo's worker, publisher and webhook sender."""

import asyncio
import hashlib
import hmac
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from threading import Event

import aiohttp
import orjson
from confluent_kafka import Message, Producer

from stream.devtools.kafka_node import GuardedGroup
from stream.devtools.traffic import Sample
from stream.errors import StartupError
from stream.kafka.config import KafkaConfig, plain_producer
from stream.kafka.producer import record_of
from stream.kafka.reader import TopicReader
from stream.record import Partition, Record
from stream.settings_loader import variables

KAFKA_ACCESS = frozenset(
    f"KAFKA__{name}{end}"
    for name in ("PROPERTIES", "SASL_USERNAME", "SASL_PASSWORD")
    for end in ("", "_FILE")
)
STOP_S_MAX = 60
LOG_LINES_SHOWN = 15


class Worker:
    """One worker that keeps its identity across restarts."""

    def __init__(
        self, config: KafkaConfig, wootric: str, http_port: int, group: GuardedGroup, log: Path
    ) -> None:
        self._command = command(config, wootric, http_port)
        self._group = group
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether the process is running."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it."""
        self._process = self._group.start(self._command, log=self._log)

    def kill(self) -> None:
        """Kill it with -9 and wait for its end."""
        assert self._process is not None  # noqa: S101
        self._process.kill()
        self._process.wait()

    def stop(self) -> int | None:
        """Stop it with SIGTERM; return its exit code, None if it did not exit in a minute."""
        assert self._process is not None  # noqa: S101
        self._process.terminate()
        try:
            return self._process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            return None

    def tail(self) -> str:
        """Return the last lines of its log."""
        lines = self._log.read_text(errors="replace").splitlines()
        return "\n".join(lines[-LOG_LINES_SHOWN:])


def command(config: KafkaConfig, wootric: str, http_port: int) -> list[str]:
    """Return the worker's command line.

    Settings of a real account are removed from the environment. Only Kafka's access settings
    stay, if the demo uses them, since a password on the command line would be visible in the
    process list. The waits are short, so that a lost reply is resolved quickly.
    """
    settings = {
        "KAFKA__BOOTSTRAP_SERVERS": config.bootstrap_servers,
        "KAFKA__GROUP_ID": config.group_id,
        "KAFKA__INSTANCE_ID": config.instance_id,
        "KAFKA__TOPIC": config.topic,
        "WOOTRIC__ACCOUNT_TOKEN": "NPS-demodemo",
        "WOOTRIC__CLIENT_ID": "demo",
        "WOOTRIC__CLIENT_SECRET": "demo",
        "WOOTRIC__API_URL": wootric,
        "WOOTRIC__PIXEL_URL": f"{wootric}/pixel.gif",
        "WOOTRIC__IN_FLIGHT_MAX": "64",
        "WOOTRIC__REQUEST_TIMEOUT_S": "2",
        "WOOTRIC__QUIET_PERIOD_S": "2.5",  # more than the emulator's queue takes
        "WOOTRIC__LEASE_S": "2",
        "HTTP__HOST": "127.0.0.1",
        "HTTP__PORT": str(http_port),
    }
    kept = set(KAFKA_ACCESS) if config.properties else set()
    removed = [part for name in variables() if name not in kept for part in ("-u", name)]
    given = [f"{name}={value}" for name, value in settings.items()]
    return ["env", *removed, *given, sys.executable, "-m", "stream", "run"]


# Publishing of the demo's events, and their positions in Kafka


RATE = 2_000
"""Events per second of a demo with a duration: a rate that the service can sustain."""

CHUNK = 100
FLUSH_S_MAX = 60
PAUSE_S = 0.02


class Publisher:
    """Publishes samples in a separate thread; its attributes may be read meanwhile."""

    def __init__(
        self,
        config: KafkaConfig,
        samples: Iterator[Sample],
        *,
        events: int,
        seconds: float | None,
    ) -> None:
        self.records: list[Record] = []
        """The acknowledged records, in the order of their acknowledgements."""
        self.count = 0
        self.limit = 0
        """The number of events that may be published by now, without a duration."""
        self._topic = config.topic
        self._producer = Producer(plain_producer(config))
        self._samples = samples
        self._events = events
        self._seconds = seconds
        self._stopped = Event()
        self._failure = ""

    def stop(self) -> None:
        """Stop the thread soon, even if events are left to publish."""
        self._stopped.set()

    def run(self) -> None:
        """Publish until the samples or the duration end.

        Raises:
            StartupError: Kafka did not acknowledge all events.
        """
        began = time.monotonic()
        while not self._stopped.is_set() and not self._over(began):
            if not self._may_publish(began):
                self._producer.poll(PAUSE_S)
                continue
            for sample in islice(self._samples, CHUNK):
                self._publish(sample)
            self._producer.poll(0)
        if self._stopped.is_set():
            return
        left = self._producer.flush(FLUSH_S_MAX)
        if left or self._failure:
            why = self._failure or f"{left} were not acknowledged in {FLUSH_S_MAX} s"
            raise StartupError(f"Kafka did not acknowledge the events: {why}", exit_code=69)

    def _over(self, began: float) -> bool:
        if self._seconds is None:
            return self.count >= self._events
        return time.monotonic() - began > self._seconds

    def _may_publish(self, began: float) -> bool:
        if self._seconds is None:
            return self.count < self.limit
        return self.count < RATE * (time.monotonic() - began)

    def _publish(self, sample: Sample) -> None:
        key: bytes | None = None
        value = sample.value
        if isinstance(value, dict):
            key, value = record_of(orjson.dumps(value))
        acknowledged = partial(self._acknowledged, key, value)
        while not self._stopped.is_set():
            try:
                self._producer.produce(self._topic, key=key, value=value, on_delivery=acknowledged)
            except BufferError:
                self._producer.poll(0.1)
            else:
                self.count += 1
                return

    def _acknowledged(
        self, key: bytes | None, value: bytes | None, error: object, message: Message
    ) -> None:
        number, offset = message.partition(), message.offset()
        if error is not None or number is None or offset is None:
            self._failure = str(error)
            return
        _, timestamp_ms = message.timestamp()
        self.records.append(
            Record(Partition(self._topic, number), offset, timestamp_ms, key, value)
        )


# The demo's events as signed webhooks to a bridge, and their records in Kafka


SENDERS = 16
TIMEOUT_S = 5
"""Segment's own timeout."""
AGAIN_S = 0.2
FLUSH_S = 30
SECRET = "a-secret-of-the-demo"  # noqa: S105


class DemoBridge:
    """`wootric-stream bridge` as a process of the demo."""

    def __init__(
        self, config: KafkaConfig, ports: Sequence[int], group: GuardedGroup, log: Path
    ) -> None:
        port, http_port = ports
        self.url = f"http://127.0.0.1:{port}/v1/events"
        self._log = log
        settings = {
            "KAFKA__BOOTSTRAP_SERVERS": config.bootstrap_servers,
            "KAFKA__TOPIC": config.topic,
            "KAFKA__INSTANCE_ID": "demo-bridge",
            "BRIDGE__HOST": "127.0.0.1",
            "BRIDGE__PORT": str(port),
            "BRIDGE__SHARED_SECRET": SECRET,
            "HTTP__HOST": "127.0.0.1",
            "HTTP__PORT": str(http_port),
        }
        kept = set(KAFKA_ACCESS) if config.properties else set()
        removed = [part for name in variables() if name not in kept for part in ("-u", name)]
        given = [f"{name}={value}" for name, value in settings.items()]
        command = ["env", *removed, *given, sys.executable, "-m", "stream", "bridge"]
        self._process = group.start(command, log=log)

    def check(self) -> None:
        """Raise StartupError if the process has ended."""
        if self._process.poll() is not None:
            lines = self._log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
            raise StartupError("the bridge ended:\n" + "\n".join(lines), exit_code=69)


class WebhookPublisher:
    """Sends samples as Segment does, in a separate thread: one event per request, several
    concurrently, each retried until it is accepted.

    Samples that cannot be webhooks (bytes that are not JSON, null values) are written to the topic
    directly, as by another producer. After ``run``, ``records`` has the records in Kafka.
    """

    def __init__(
        self,
        config: KafkaConfig,
        samples: Iterator[Sample],
        bridge: DemoBridge,
        *,
        events: int,
        seconds: float | None,
    ) -> None:
        self.records: list[Record] = []
        self.count = 0
        self.limit = 0
        """The number of events that may be sent by now, without a duration."""
        self._config = config
        self._samples = samples
        self._bridge = bridge
        self._events = events
        self._seconds = seconds
        self._stopped = Event()

    def stop(self) -> None:
        """Stop the thread soon, even if events are left to send."""
        self._stopped.set()

    def run(self) -> None:
        """Send until the samples or the duration end.

        Raises:
            StartupError: the bridge has ended, or Kafka did not acknowledge a direct write.
        """
        asyncio.run(self._run())
        if not self._stopped.is_set():
            self.records = read_back(self._config)

    async def _run(self) -> None:
        producer = Producer(plain_producer(self._config))
        began = time.monotonic()
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while not self._stopped.is_set() and not self._over(began):
                if not self._may_send(began):
                    await asyncio.sleep(PAUSE_S)
                    continue
                chunk = list(islice(self._samples, CHUNK))
                documents = [s.value for s in chunk if isinstance(s.value, dict)]
                for sample in chunk:
                    if not isinstance(sample.value, dict):
                        producer.produce(self._config.topic, sample.value)
                bodies = iter([orjson.dumps(document) for document in documents])
                await asyncio.gather(*(self._send(session, bodies) for _ in range(SENDERS)))
                self.count += len(chunk)
        if await asyncio.to_thread(producer.flush, FLUSH_S):
            raise StartupError("Kafka did not acknowledge all records", exit_code=69)

    async def _send(self, session: aiohttp.ClientSession, bodies: Iterator[bytes]) -> None:
        for body in bodies:
            signature = hmac.new(SECRET.encode(), body, hashlib.sha1).hexdigest()
            headers = {"Content-Type": "application/json", "X-Signature": signature}
            while not self._stopped.is_set():
                with suppress(aiohttp.ClientError, TimeoutError):
                    async with session.post(self._bridge.url, data=body, headers=headers) as reply:
                        if reply.status == 200:
                            break
                        if reply.status != 503:
                            text = f"the bridge rejected an event with {reply.status}"
                            raise StartupError(text, exit_code=69)
                self._bridge.check()
                await asyncio.sleep(AGAIN_S)

    def _over(self, began: float) -> bool:
        if self._seconds is None:
            return self.count >= self._events
        return time.monotonic() - began > self._seconds

    def _may_send(self, began: float) -> bool:
        if self._seconds is None:
            return self.count < self.limit
        return self.count < RATE * (time.monotonic() - began)


def read_back(config: KafkaConfig) -> list[Record]:
    """Return the records of the input, by partition and offset."""
    survey = TopicReader(config)
    try:
        return list(survey.read(config.topic))
    finally:
        survey.close()
