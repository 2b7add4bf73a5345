"""The observer: what the loop and the sink tell becomes metrics, health and log lines."""

import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog

from sink.delivery import Delivered, Outcome
from stream.checkpoint import Checkpoint
from stream.flow import Flow
from stream.judge import Judged
from stream.kafka.messages import Halted, HaltReason, Restored
from stream.partition_flow import PartitionFlow
from stream.record import Partition
from stream.telemetry.metrics import Metrics
from stream.transform import Deliver
from stream.work import Work

log = structlog.get_logger()

BEAT_S = 0.25
LAST_LETTERS = 10


@dataclass(slots=True)
class Vitals:
    """What health and status are answered from. Times are monotonic seconds."""

    started_at: float = field(default_factory=time.monotonic)
    beat_at: float = field(default_factory=time.monotonic)
    joined: bool = False
    draining: bool = False
    halted: dict[Partition, Halted] = field(default_factory=dict)
    circuits: dict[str, str] = field(default_factory=dict)
    settled: Counter[tuple[str, str]] = field(default_factory=Counter)
    consumed: int = 0
    relinquished: int = 0
    lag: dict[Partition, int] = field(default_factory=dict)
    in_flight: int = 0
    in_doubt: int = 0
    letters: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=LAST_LETTERS))


class Observer:
    """Keeps the metrics and the vitals; never decides anything."""

    def __init__(self, metrics: Metrics, vitals: Vitals) -> None:
        self._metrics = metrics
        self._vitals = vitals
        self._consumed: dict[Partition, Any] = {}
        self._settled: dict[tuple[str, str], Any] = {}
        self._behind_since: dict[Partition, float] = {}
        self._beat_at = 0.0
        self._loop_seconds = {
            state: metrics.loop_seconds.labels(state) for state in ("admit", "checkpoint", "settle")
        }

    # The loop

    @contextmanager
    def busy(self, state: str) -> Iterator[None]:
        """Account the time of a step of the loop."""
        began_at = time.perf_counter()
        try:
            yield
        finally:
            self._loop_seconds[state].inc(time.perf_counter() - began_at)

    def consumed(self, judged: Sequence[Judged]) -> None:
        """Count records that were admitted."""
        counts: Counter[Partition] = Counter()
        for event in judged:
            counts[event.record.partition] += 1
            if isinstance(event.verdict, Deliver):
                for note in event.verdict.notes:
                    self._metrics.values_left_out.labels(note).inc()
        for partition, count in counts.items():
            counter = self._consumed.get(partition)
            if counter is None:
                counter = self._metrics.records_consumed.labels(partition.topic, partition.number)
                self._consumed[partition] = counter
            counter.inc(count)
            self._vitals.consumed += count

    def committed(self, checkpoint: Checkpoint, took_s: float) -> None:
        """Count a committed transaction and what it settled."""
        self._metrics.transactions.labels("committed").inc()
        self._metrics.transaction_seconds.observe(took_s)
        for share in checkpoint.shares.values():
            for key, count in share.settled.items():
                counter = self._settled.get(key)
                if counter is None:
                    counter = self._settled[key] = self._metrics.records_settled.labels(*key)
                counter.inc(count)
                self._vitals.settled[key] += count
            for letter in share.dead_letters:
                self._vitals.letters.append(
                    {
                        "reason": letter.reason,
                        "partition": letter.origin.number,
                        "offset": letter.offset,
                        "failed_at_ms": letter.failed_at_ms,
                    }
                )
        log.debug("committed", sequence=checkpoint.sequence, took_s=took_s)

    def aborted(self, reason: str) -> None:
        """Count a transaction that came to nothing; its content is in the next one."""
        self._metrics.transactions.labels("aborted").inc()
        log.warning("transaction_aborted", reason=reason)

    def delivered(self, work: Work, outcome: Outcome, now_ms: int) -> None:
        """Note how long the events of a delivery were on their way."""
        if isinstance(outcome, Delivered):
            for member in work.members:
                self._metrics.end_to_end.observe((now_ms - member.record.timestamp_ms) / 1000)

    def ambiguous(self, work: Work) -> None:
        """Count an attempt whose effect is unknown."""
        self._metrics.ambiguous.labels(work.planned.type).inc()

    def beat(self, flow: Flow, now: float) -> None:
        """Note that the loop turns, and now and then what is under way."""
        self._vitals.beat_at = now
        if now < self._beat_at:
            return
        self._beat_at = now + BEAT_S
        in_doubt = [work for part in flow.partitions.values() for work in part.in_doubt]
        events = sum(len(work.members) + len(work.expected) for work in in_doubt)
        oldest = min((work.in_doubt_since for work in in_doubt), default=now)
        self._vitals.in_flight = flow.unsettled
        self._vitals.in_doubt = events
        self._metrics.records_in_flight.set(flow.unsettled)
        self._metrics.in_doubt.set(events)
        self._metrics.in_doubt_age.set(max(0.0, now - oldest))
        self._metrics.requests_in_flight.set(flow.under_way)
        self._metrics.ledger_entries.set(
            sum(len(part.unsaved.state) for part in flow.partitions.values())
        )

    # The group

    def joined(self) -> None:
        """Note that the group has us: ready, once and for all."""
        self._vitals.joined = True

    def rebalanced(self, event: str, owned: int) -> None:
        """Note a rebalance."""
        self._metrics.rebalances.labels(event).inc()
        self._metrics.partitions.set(owned)
        log.info("rebalanced", change=event, owned=owned)

    def restored(self, restored: Restored, flow: PartitionFlow) -> None:
        """Note that a partition was opened."""
        self._metrics.restore_seconds.set(restored.took_s)
        self.released(restored.partition)
        log.info(
            "partition_opened",
            topic=restored.partition.topic,
            partition=restored.partition.number,
            offset=restored.next_offset,
            entries=restored.entries,
            in_doubt=len(flow.in_doubt),
            took_s=round(restored.took_s, 3),
        )

    def closed(self, partition: Partition, relinquished: int) -> None:
        """Note that a partition is not ours any more."""
        self._metrics.records_relinquished.inc(relinquished)
        self._vitals.relinquished += relinquished
        self._vitals.lag.pop(partition, None)
        self.released(partition)
        for gauge in (self._metrics.lag_records, self._metrics.lag_seconds):
            labels = (partition.topic, str(partition.number))
            if labels in gauge._metrics:
                gauge.remove(*labels)

    def halted(self, partition: Partition, reason: HaltReason, detail: str) -> None:
        """Say that a partition stands still until somebody acts."""
        self._vitals.halted[partition] = Halted(partition, reason, detail)
        self._count_halted()
        log.error(
            "partition_halted", partition=partition.number, reason=reason.value, detail=detail
        )

    def braked(self, partition: Partition, pause_s: float) -> None:
        """Say that most of the last events became dead letters."""
        detail = (
            "most of its last events became dead letters; look at their reasons: "
            f"it goes on by itself after {pause_s:g} s"
        )
        self.halted(partition, HaltReason.DEAD_LETTERS, detail)

    def released(self, partition: Partition) -> None:
        """Say that a partition goes on."""
        if self._vitals.halted.pop(partition, None) is not None:
            self._count_halted()
            log.info("partition_goes_on", partition=partition.number)

    def ended(self, partition: Partition, end: int, flow: PartitionFlow | None) -> None:
        """Take over a partition's last stable offset."""
        if flow is None:
            return
        lag = max(0, end - flow.offsets.watermark)
        self._vitals.lag[partition] = lag
        self._metrics.lag_records.labels(partition.topic, partition.number).set(lag)
        self._metrics.lag_seconds.labels(partition.topic, partition.number).set(
            self._lag_seconds(partition, lag, flow.offsets.oldest_ms)
        )

    def _lag_seconds(self, partition: Partition, lag: int, oldest_ms: int | None) -> float:
        now = time.time()
        if lag == 0:
            self._behind_since.pop(partition, None)
            return 0.0
        if oldest_ms is not None:
            return max(0.0, now - oldest_ms / 1000)
        return now - self._behind_since.setdefault(partition, now)

    def _count_halted(self) -> None:
        counts = Counter(halted.reason for halted in self._vitals.halted.values())
        for reason in HaltReason:
            self._metrics.partitions_halted.labels(reason.value).set(counts[reason])

    # The sink

    def request_finished(
        self, operation: str, outcome: str, status: int | None, seconds: float
    ) -> None:
        """Count a request."""
        code = "none" if status is None else str(status)
        self._metrics.requests.labels(operation, outcome, code).inc()
        self._metrics.request_seconds.labels(operation).observe(seconds)

    def throttled(self, wait_s: float) -> None:
        """Count an answer that asked to wait."""
        self._metrics.throttled.inc()
        log.info("throttled", wait_s=round(wait_s, 3))

    def circuit_changed(self, name: str, is_open: bool, reason: str) -> None:
        """Say that nothing is sent any more, or again."""
        self._metrics.circuit_open.labels(name).set(int(is_open))
        if is_open:
            self._vitals.circuits[name] = reason
            log.error("circuit_opened", circuit=name, reason=reason)
        else:
            self._vitals.circuits.pop(name, None)
            log.info("circuit_closed", circuit=name)
