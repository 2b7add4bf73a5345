"""The demo's events as signed webhooks into a bridge, and where Kafka has them at the end."""

import asyncio
import hashlib
import hmac
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from threading import Event

import aiohttp
import orjson
from confluent_kafka import Producer

from stream.devtools.demo_processes import KAFKA_ACCESS, LOG_LINES_SHOWN
from stream.devtools.guard import GuardedGroup
from stream.devtools.publisher import CHUNK, RATE
from stream.devtools.traffic import Sample
from stream.errors import StartupError
from stream.kafka.config import KafkaConfig, plain_producer
from stream.kafka.reader import Survey
from stream.record import Record
from stream.settings_loader import variables

SENDERS = 16
TIMEOUT_S = 5
"""Segment waits no longer."""
AGAIN_S = 0.2
PAUSE_S = 0.02
FLUSH_S = 30
SECRET = "of-the-demo"  # noqa: S105


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
        """Raises StartupError when it has ended."""
        if self._process.poll() is not None:
            lines = self._log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
            raise StartupError("the bridge ended:\n" + "\n".join(lines), exit_code=69)


class WebhookPublisher:
    """Sends samples as Segment does, from a thread of its own: one event a request, several at
    once, each again until it is taken.

    What cannot be a webhook (bytes that are no JSON, null values) is written to the topic
    directly, as somebody else's. ``records`` is what Kafka has, once ``run`` has returned.
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
        """How many events may be sent by now, where there is no length."""
        self._config = config
        self._samples = samples
        self._bridge = bridge
        self._events = events
        self._seconds = seconds
        self._stopped = Event()

    def stop(self) -> None:
        """Let the thread end soon, whatever is left to send."""
        self._stopped.set()

    def run(self) -> None:
        """Send until the samples, or the seconds, are over.

        Raises:
            StartupError: the bridge has ended, or Kafka did not take what was written directly.
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
            raise StartupError("Kafka did not take all records", exit_code=69)

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
                            text = f"the bridge refused an event with {reply.status}"
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
    """Return what the input holds, by partition and offset."""
    survey = Survey(config)
    try:
        return list(survey.read(config.topic))
    finally:
        survey.close()
