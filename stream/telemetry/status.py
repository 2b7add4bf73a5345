"""The status of a worker as JSON, with the one sentence that an on-call engineer wants first."""

import asyncio
import itertools
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from prometheus_client import Gauge, Histogram

from stream import __version__
from stream.engine.lanes import PendingRequest
from stream.engine.partition_task import PartitionTask
from stream.engine.task_manager import TaskManager
from stream.kafka.protocol import PartitionHalted
from stream.record import Partition
from stream.telemetry.metrics import Metrics

# What health and status are answered from: the state of one worker, as it stands now


LAST_LETTERS = 10
HISTORY_S = 60


@dataclass(frozen=True, slots=True)
class OpenCircuit:
    """An open circuit: why, and since when (monotonic seconds)."""

    reason: str
    since: float


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """Where a partition stands: its offsets, and how far behind it is."""

    end: int
    position: int
    committed: int | None
    lag: int
    lag_s: float
    in_flight: int


@dataclass(slots=True)
class WorkerStatus:
    """Times are monotonic seconds."""

    started_at: float = field(default_factory=time.monotonic)
    beat_at: float = field(default_factory=time.monotonic)
    joined: bool = False
    draining: bool = False
    halted: dict[Partition, PartitionHalted] = field(default_factory=dict)
    circuits: dict[str, OpenCircuit] = field(default_factory=dict)
    settled: Counter[tuple[str, str]] = field(default_factory=Counter)
    consumed: int = 0
    relinquished: int = 0
    standings: dict[Partition, PartitionStatus] = field(default_factory=dict)
    in_flight: int = 0
    in_doubt: int = 0
    in_doubt_oldest_s: float = 0.0
    throttled_until: float = 0.0
    committed_at: float | None = None
    letters: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=LAST_LETTERS))
    history: deque[tuple[float, int, int]] = field(
        default_factory=lambda: deque(maxlen=HISTORY_S + 1)
    )

    @property
    def lag(self) -> int:
        """How many records are not settled, over all partitions of this worker."""
        return sum(standing.lag for standing in self.standings.values())

    def note_history(self, now: float) -> None:
        """Keep what was consumed and settled by now, once a second at most."""
        if not self.history or now - self.history[-1][0] >= 1.0:
            self.history.append((now, self.consumed, self.settled.total()))

    def rates(self) -> list[tuple[float, float]]:
        """Return records consumed and settled per second, the oldest second first."""
        points = list(self.history)
        return [
            (
                (later[1] - earlier[1]) / (later[0] - earlier[0]),
                (later[2] - earlier[2]) / (later[0] - earlier[0]),
            )
            for earlier, later in pairwise(points)
        ]


BEHIND_S = 60.0
RATE_S = 10
STANDSTILL_S = 30.0


@dataclass(frozen=True, slots=True)
class Identity:
    """Which worker speaks."""

    instance: str
    group: str
    topic: str


def status(vitals: WorkerStatus, identity: Identity) -> dict[str, Any]:
    """Return the status; nothing in it is personal."""
    now = time.monotonic()
    settled: dict[str, dict[str, int]] = {}
    for (outcome, reason), count in sorted(vitals.settled.items()):
        settled.setdefault(outcome, {})[reason or "-"] = count
    history = vitals.rates()
    recent = history[-RATE_S:]
    level, says = verdict(vitals, now)
    return {
        "verdict": level,
        "says": says,
        "version": __version__,
        "instance": identity.instance,
        "group": identity.group,
        "topic": identity.topic,
        "up_s": round(now - vitals.started_at, 1),
        "joined": vitals.joined,
        "draining": vitals.draining,
        "consumed": vitals.consumed,
        "settled": settled,
        "in_flight": vitals.in_flight,
        "relinquished": vitals.relinquished,
        "in_doubt": vitals.in_doubt,
        "in_doubt_oldest_s": round(vitals.in_doubt_oldest_s, 1),
        "circuits_open": {
            name: {"reason": opened.reason, "for_s": round(now - opened.since, 1)}
            for name, opened in vitals.circuits.items()
        },
        "throttled_s": round(max(0.0, vitals.throttled_until - now), 1),
        "consumed_per_s": round(sum(rate for rate, _ in recent) / max(1, len(recent)), 1),
        "settled_per_s": round(sum(rate for _, rate in recent) / max(1, len(recent)), 1),
        "settled_per_s_history": [round(rate, 1) for _, rate in history],
        "partitions": {
            str(partition.number): _partition(standing)
            for partition, standing in sorted(vitals.standings.items())
        },
        "halted": {
            str(partition.number): {"reason": halted.reason, "detail": halted.detail}
            for partition, halted in sorted(vitals.halted.items())
        },
        "last_dead_letters": list(vitals.letters),
    }


def _partition(standing: PartitionStatus) -> dict[str, Any]:
    return {
        "committed": standing.committed,
        "position": standing.position,
        "end": standing.end,
        "lag": standing.lag,
        "lag_s": round(standing.lag_s, 1),
        "in_flight": standing.in_flight,
    }


def verdict(vitals: WorkerStatus, now: float) -> tuple[str, str]:
    """Return ``bad``, ``warn`` or ``ok``, and the most urgent thing to say."""
    return next(itertools.chain(_standstill(vitals, now), _worries(vitals, now), _fine(vitals)))


def _standstill(vitals: WorkerStatus, now: float) -> Iterator[tuple[str, str]]:
    for name, opened in sorted(vitals.circuits.items()):
        what = "No page view is sent" if name == "pixel" else "Nothing is sent to Wootric's API"
        yield "bad", f"{what}: {opened.reason}, for {lasting(now - opened.since)}"
    if vitals.halted:
        reasons = ", ".join(sorted({halted.reason.value for halted in vitals.halted.values()}))
        yield "bad", f"{counted(len(vitals.halted), 'partition')} at a standstill: {reasons}"
    since = vitals.started_at if vitals.committed_at is None else vitals.committed_at
    if vitals.in_flight and now - since > STANDSTILL_S:
        yield "bad", f"Events are in flight, and nothing was committed for {lasting(now - since)}"


def _worries(vitals: WorkerStatus, now: float) -> Iterator[tuple[str, str]]:
    if vitals.draining:
        yield "warn", "Finishing what is under way, then leaving"
    if not vitals.joined:
        yield "warn", "Waiting for the group to take this worker in"
    if vitals.throttled_until > now:
        wait_s = vitals.throttled_until - now
        yield "warn", f"Wootric asked to wait: {lasting(wait_s)} from now"
    lag_s = max((standing.lag_s for standing in vitals.standings.values()), default=0.0)
    if lag_s > BEHIND_S:
        yield "warn", f"Flowing, {lasting(lag_s)} behind: {counted(vitals.lag, 'event')} to go"
    if vitals.in_doubt:
        doubt = counted(vitals.in_doubt, "event")
        yield "warn", f"Flowing; {doubt} in doubt, oldest {lasting(vitals.in_doubt_oldest_s)}"


def _fine(vitals: WorkerStatus) -> Iterator[tuple[str, str]]:
    if not vitals.standings:
        yield "ok", "A spare: the group has given this worker no partition"
    under_way = counted(vitals.lag, "event")
    yield "ok", f"Flowing, {under_way} under way" if vitals.lag else "Caught up"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def lasting(seconds: float) -> str:
    """Return a duration as people say it."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


# Gauges that are true at the moment of the scrape: taken from the flow, not kept beside it.
#
# A scrape is answered on the event loop, between two steps of the flow. So what is consumed,
# settled, relinquished and in flight adds up in every one of them.


class StatusGauges:
    """Fills the gauges and the vitals from the flow.

    ``polled_at`` gives when the group was last polled (monotonic seconds). What the flow does
    not know is told by whoever does: ``ends`` has the last stable offsets, ``retention_ms`` is
    the input's, negative where nothing is ever deleted, ``stepped_s`` is the time that was spent
    in the loop's own steps since the last refresh, and ``restoring`` what restores have to read.
    """

    def __init__(
        self,
        metrics: Metrics,
        vitals: WorkerStatus,
        flow: TaskManager,
        *,
        records_limit: int,
        bytes_limit: int,
        polled_at: Callable[[], float],
    ) -> None:
        self._metrics = metrics
        self._vitals = vitals
        self._flow = flow
        self._polled_at = polled_at
        self.ends: dict[Partition, int] = {}
        self.retention_ms: int | None = None
        self.stepped_s = 0.0
        self.restoring: dict[Partition, int] = {}
        self._loop_until = time.perf_counter()
        self._cpu_until = time.thread_time()
        self._behind_since: dict[Partition, float] = {}
        metrics.records_in_flight_limit.set(records_limit)
        metrics.bytes_in_flight_limit.set(bytes_limit)

    def refresh(self) -> None:
        """Take everything anew."""
        metrics, vitals, flow = self._metrics, self._vitals, self._flow
        now = time.monotonic()
        vitals.in_flight = flow.unsettled
        metrics.records_in_flight.set(vitals.in_flight)
        metrics.bytes_in_flight.set(flow.unsettled_bytes)
        metrics.records_unaccounted.set(
            vitals.consumed - vitals.settled.total() - vitals.relinquished - vitals.in_flight
        )
        metrics.requests_in_flight.set(flow.under_way)
        states = [part.uncommitted.state for part in flow.partitions.values()]
        metrics.ledger_entries.set(sum(map(len, states)))
        metrics.state_bytes.set(sum(state.disk_bytes for state in states))
        metrics.state_unwritten.set(sum(state.unwritten for state in states))
        metrics.restore_left.set(sum(self.restoring.values()))
        metrics.polled.set(time.time() - (now - self._polled_at()))
        self._doubt(now)
        self._budget()
        self._leave(set(vitals.standings) - set(flow.partitions))
        for partition, part in flow.partitions.items():
            standing = self._standing(partition, part, self.ends.get(partition))
            vitals.standings[partition] = standing
            self._show(partition, standing)

    def _doubt(self, now: float) -> None:
        works: list[PendingRequest] = [
            work for part in self._flow.partitions.values() for work in part.in_doubt
        ]
        oldest = min((work.in_doubt_since for work in works), default=now)
        self._vitals.in_doubt = sum(len(work.events) + len(work.expected) for work in works)
        self._vitals.in_doubt_oldest_s = max(0.0, now - oldest)
        self._metrics.in_doubt.set(self._vitals.in_doubt)
        self._metrics.in_doubt_age.set(self._vitals.in_doubt_oldest_s)

    def _budget(self) -> None:
        """Share the loop's time out: what is not our own steps is other work, or idleness."""
        states = self._metrics.event_loop_seconds
        now, cpu = time.perf_counter(), time.thread_time()
        elapsed, worked = now - self._loop_until, cpu - self._cpu_until
        self._loop_until, self._cpu_until = now, cpu
        known, self.stepped_s = self.stepped_s, 0.0
        other = min(max(0.0, worked - known), max(0.0, elapsed - known))
        states.labels("other").inc(other)
        states.labels("idle").inc(max(0.0, elapsed - known - other))

    def _standing(
        self, partition: Partition, part: PartitionTask, end: int | None
    ) -> PartitionStatus:
        position, watermark = part.offsets.next_offset, part.offsets.commit_offset
        end = max(position, end or 0)
        lag = end - watermark
        return PartitionStatus(
            end=end,
            position=position,
            committed=part.committed_offset,
            lag=lag,
            lag_s=self._lag_seconds(partition, lag, part.offsets.oldest_ms),
            in_flight=part.unsettled,
        )

    def _lag_seconds(self, partition: Partition, lag: int, oldest_ms: int | None) -> float:
        """Return the age of the oldest record that is not settled; of one that was not read
        yet only is known for how long it has waited.
        """
        now = time.time()
        if lag == 0:
            self._behind_since.pop(partition, None)
            return 0.0
        if oldest_ms is not None:
            return max(0.0, now - oldest_ms / 1000)
        return now - self._behind_since.setdefault(partition, now)

    def _show(self, partition: Partition, standing: PartitionStatus) -> None:
        metrics = self._metrics
        values: dict[Gauge, float | None] = {
            metrics.lag_records: standing.lag,
            metrics.lag_seconds: standing.lag_s,
            metrics.committed_offset: standing.committed,
            metrics.position: standing.position,
            metrics.end_offset: standing.end,
            metrics.headroom: headroom_s(self.retention_ms, standing.lag_s),
        }
        for gauge, value in values.items():
            if value is not None:
                gauge.labels(partition.topic, partition.number).set(value)

    def _leave(self, partitions: Iterable[Partition]) -> None:
        """Show nothing of partitions that are not ours any more: another worker does."""
        for partition in partitions:
            del self._vitals.standings[partition]
            self.ends.pop(partition, None)
            self._behind_since.pop(partition, None)
            for gauge in self._metrics.of_partitions:
                gauge.remove_by_labels(
                    {"topic": partition.topic, "partition": str(partition.number)}
                )


def headroom_s(retention_ms: int | None, age_s: float) -> float | None:
    """Return the seconds until retention may delete a record of this age; None if unknown."""
    if retention_ms is None:
        return None
    return math.inf if retention_ms < 0 else retention_ms / 1000 - age_s


# The event loop's pulse: how much later than planned it turns


EVERY_S = 0.25


class LoopLagProbe:
    """Measures until closed."""

    def __init__(self, lag: Histogram) -> None:
        self._lag = lag
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(EVERY_S, self._beat, self._loop.time() + EVERY_S)

    def close(self) -> None:
        """Stop measuring."""
        self._timer.cancel()

    def _beat(self, planned: float) -> None:
        now = self._loop.time()
        self._lag.observe(max(0.0, now - planned))
        self._timer = self._loop.call_later(EVERY_S, self._beat, now + EVERY_S)
