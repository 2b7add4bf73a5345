"""Lag exporter: the group's lag as metrics, independent of the workers.

A worker reports only its own partitions, and nothing after it has died.
"""

import asyncio
import time

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector

from stream.errors import KafkaUnavailableError
from stream.kafka.config import KafkaConfig
from stream.kafka.lag import GroupLag, LagMeter, PartitionLag
from stream.kafka.open_letters import LetterMeter, OpenLetters
from stream.settings import HttpSettings
from stream.settings_loader import bearer_token
from stream.telemetry.http import Check, HealthServer
from stream.telemetry.metrics import KAFKA_UP
from stream.telemetry.process import certificate_gauge, memory_limit_gauge, watch_certificates
from stream.telemetry.status import headroom_s

log = structlog.get_logger()

STATES = ("empty", "stable", "preparing_rebalancing", "completing_rebalancing", "dead", "unknown")
STALLED_S = 60.0


class LagMetrics:
    """All metrics of the exporter and its process, in a separate registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.memory_limit = memory_limit_gauge(self.registry)
        self.certificates = certificate_gauge(self.registry)
        self.kafka_up = Gauge("wootric_kafka_up", KAFKA_UP, registry=self.registry)
        labels = ("topic", "partition")
        self.lag = self._gauge(
            "lag_records", "Unsettled records up to the last stable offset.", *labels
        )
        self.lag_seconds = self._gauge(
            "lag_seconds", "Age of the oldest unsettled record; 0 when caught up.", *labels
        )
        self.committed = self._gauge(
            "committed_offset", "Committed offset; absent before the first commit.", *labels
        )
        self.begin = self._gauge("begin_offset", "First offset of the partition.", *labels)
        self.end = self._gauge("end_offset", "Last stable offset.", *labels)
        self.blocked = self._gauge(
            "blocked_records",
            "Offsets behind the last stable one: an open transaction hides them. Investigate if "
            "the end offset does not move for minutes.",
            *labels,
        )
        self.headroom = self._gauge(
            "retention_headroom_seconds",
            "Seconds until retention.ms may delete the oldest unsettled record; +Inf without such "
            "a limit. Investigate below a few hours.",
            *labels,
        )
        self.out_of_range = self._gauge(
            "offset_out_of_range",
            "1 if the committed offset is no longer in the topic, which pauses the partition.",
            *labels,
        )
        self.paused = self._gauge(
            "paused", "1 while the operator pauses the partition, otherwise 0.", *labels
        )
        self.members = self._gauge("members", "Members of the group. Investigate 0.")
        self.state = self._gauge("state", "1 for the group's current state, otherwise 0.", "state")
        self.dead_letters = self._gauge(
            "dead_letter_offsets",
            "Offset range of the dead-letter and the parked topic; slightly above their records.",
            "topic",
        )
        self.open_letters = self._gauge(
            "dead_letters_open",
            "Dead letters and parked events without a note, at most 100,000 per topic.",
            "topic",
        )
        self.oldest_letter = self._gauge(
            "dead_letters_oldest_seconds",
            "Age of the oldest open dead letter; 0 if there is none.",
            "topic",
        )
        self.letter_headroom = self._gauge(
            "dead_letters_headroom_seconds",
            "Seconds until retention.ms may delete the oldest open dead letter; +Inf without one, "
            "or without a limit.",
            "topic",
        )
        self.measured = self._gauge(
            "measured_timestamp_seconds", "Unix time of the last measurement."
        )
        self.failures = Counter(
            "wootric_group_measure_failures",
            "Measurements that failed because Kafka did not reply.",
            registry=self.registry,
        )
        self._of_partitions = (
            self.lag,
            self.lag_seconds,
            self.committed,
            self.begin,
            self.end,
            self.blocked,
            self.headroom,
            self.out_of_range,
            self.paused,
        )

    def show(self, topic: str, group: GroupLag) -> None:
        """Set the metrics from a measurement; unknown values are removed."""
        for gauge in self._of_partitions:
            gauge.clear()
        for partition in group.partitions:
            self._show_partition(topic, partition, group.retention_ms)
        self.members.set(len(group.members))
        for state in {*STATES, group.state}:
            self.state.labels(state).set(int(state == group.state))
        for name, count in group.kept.items():
            self.dead_letters.labels(name).set(count)
        self.kafka_up.set(int(not group.unanswered))
        self.measured.set(time.time())

    def show_letters(self, topic: str, letters: OpenLetters) -> None:
        """Set the metrics of a topic's open dead letters."""
        age_s = 0.0
        if letters.oldest_ms is not None:
            age_s = max(0.0, time.time() - letters.oldest_ms / 1000)
        retention_ms = -1 if letters.oldest_ms is None else letters.retention_ms
        headroom = headroom_s(retention_ms, age_s)
        self.open_letters.labels(topic).set(letters.count)
        self.oldest_letter.labels(topic).set(age_s)
        if headroom is not None:
            self.letter_headroom.labels(topic).set(headroom)

    def _show_partition(self, topic: str, one: PartitionLag, retention_ms: int | None) -> None:
        headroom = None if one.lag_s is None else headroom_s(retention_ms, one.lag_s)
        values: tuple[float | None, ...] = (
            one.lag,
            one.lag_s,
            one.committed,
            one.begin,
            one.end,
            one.blocked,
            headroom,
            int(one.is_lost),
            int(one.pause is not None),
        )
        for gauge, value in zip(self._of_partitions, values, strict=True):
            if value is not None:
                gauge.labels(topic, one.number).set(value)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"wootric_group_{name}", text, labels, registry=self.registry)


class LagExporter:
    """Measures every ``every_s`` seconds until cancelled."""

    def __init__(self, config: KafkaConfig, *, every_s: float) -> None:
        self._topic = config.topic
        self._meter = LagMeter(config)
        self._letters = LetterMeter(config, self._meter.group)
        self._every_s = every_s
        self._metrics = LagMetrics()
        watch_certificates(self._metrics.certificates, config.properties)
        self._measured = False
        self._failures = 0
        self._tried_at = time.monotonic()

    async def run(self, http: HttpSettings) -> None:
        """Measure and serve until cancelled.

        Raises:
            StartupError: the port cannot be used.
        """
        checks = {"/livez": self._live, "/readyz": self._ready, "/startupz": self._ready}
        server = HealthServer(self._metrics.registry, checks, bearer_token=bearer_token(http))
        await server.start(http.host, http.port)
        log.info("lag_exporter_started", topic=self._topic)
        try:
            while True:
                await self._measure()
                await asyncio.sleep(self._every_s)
        finally:
            await server.close()

    async def _measure(self) -> None:
        self._tried_at = time.monotonic()
        try:
            group = await asyncio.to_thread(self._meter.measure)
        except KafkaUnavailableError as error:
            self._failures += 1
            self._metrics.failures.inc()
            self._metrics.kafka_up.set(0)
            log.warning("lag_not_measured", error=str(error), failures=self._failures)
        else:
            self._measured = True
            self._failures = 0
            self._metrics.show(self._topic, group)
            await self._measure_letters()

    async def _measure_letters(self) -> None:
        try:
            found = await asyncio.to_thread(self._letters.measure)
        except KafkaUnavailableError as error:
            log.warning("dead_letters_not_measured", error=str(error))
        else:
            for topic, letters in found.items():
                self._metrics.show_letters(topic, letters)

    def _live(self) -> list[Check]:
        """Check that measuring is attempted; an outage of Kafka must not restart the exporter."""
        age_s = time.monotonic() - self._tried_at
        alive = age_s < self._every_s + STALLED_S
        return [Check("measuring", alive, f"last attempt {age_s:.1f} s ago")]

    def _ready(self) -> list[Check]:
        return [Check("measured", self._measured, "the group has been measured")]
