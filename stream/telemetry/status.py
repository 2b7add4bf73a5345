"""Status of a worker as JSON, with a one-sentence summary for the on-call engineer."""

import itertools
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from prometheus_client import Gauge

from stream import __version__
from stream.engine.lanes import PendingRequest
from stream.engine.partition_task import PartitionTask
from stream.engine.task_manager import TaskManager
from stream.kafka.lag import StableEnds
from stream.kafka.protocol import InputPause, PartitionHalted
from stream.record import Partition
from stream.telemetry.metrics import Metrics

# State of one worker, as shown by health and status


LAST_DEAD_LETTERS = 10
HISTORY_S = 60


@dataclass(frozen=True, slots=True)
class OpenCircuit:
    """An open circuit: reason, and time of opening (monotonic seconds)."""

    reason: str
    since: float


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """Offsets and lag of one partition; ``blocked`` and ``blocked_s`` as in ``PartitionLag``."""

    end: int
    position: int
    committed: int | None
    lag: int
    lag_s: float
    in_flight: int
    blocked: int = 0
    blocked_s: float = 0.0


@dataclass(slots=True)
class WorkerStatus:
    """State of a worker; times are monotonic seconds."""

    started_at: float = field(default_factory=time.monotonic)
    loop_at: float = field(default_factory=time.monotonic)
    joined: bool = False
    draining: bool = False
    halted: dict[Partition, PartitionHalted] = field(default_factory=dict)
    paused: dict[Partition, InputPause] = field(default_factory=dict)
    """The assigned partitions that the operator pauses."""
    circuits: dict[str, OpenCircuit] = field(default_factory=dict)
    settled: Counter[tuple[str, str]] = field(default_factory=Counter)
    consumed: int = 0
    relinquished: int = 0
    partitions: dict[Partition, PartitionStatus] = field(default_factory=dict)
    in_flight: int = 0
    in_doubt: int = 0
    in_doubt_oldest_s: float = 0.0
    throttled_until: float = 0.0
    committed_at: float | None = None
    kafka_silent_s: float = 0.0
    """For how long Kafka has not answered about at least one partition, or at all."""
    dead_letters: deque[dict[str, Any]] = field(
        default_factory=lambda: deque(maxlen=LAST_DEAD_LETTERS)
    )
    history: deque[tuple[float, int, int]] = field(
        default_factory=lambda: deque(maxlen=HISTORY_S + 1)
    )

    @property
    def lag(self) -> int:
        """The number of unsettled records over all partitions of this worker."""
        return sum(state.lag for state in self.partitions.values())

    def note_history(self, now: float) -> None:
        """Add the totals consumed and settled to the history, at most once per second."""
        if not self.history or now - self.history[-1][0] >= 1.0:
            self.history.append((now, self.consumed, self.settled.total()))

    def rates(self) -> list[tuple[float, float]]:
        """Return records consumed and settled per second, oldest first."""
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
NO_COMMIT_S = 30.0
KAFKA_SILENT_S = 15.0
"""Kafka is asked every second; an election of leaders takes seconds."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Instance, group and topic of the worker; ``find_transaction`` returns the commands that find
    an open transaction on one of its partitions.
    """

    instance: str
    group: str
    topic: str
    find_transaction: Callable[[Partition], str] = field(default=lambda _: "", compare=False)


def status(worker: WorkerStatus, identity: Identity) -> dict[str, Any]:
    """Return the status document, without personal data."""
    now = time.monotonic()
    settled: dict[str, dict[str, int]] = {}
    for (outcome, reason), count in sorted(worker.settled.items()):
        settled.setdefault(outcome, {})[reason or "-"] = count
    history = worker.rates()
    recent = history[-RATE_S:]
    level, summary = verdict(worker, now)
    return {
        "verdict": level,
        "summary": summary,
        "version": __version__,
        "instance": identity.instance,
        "group": identity.group,
        "topic": identity.topic,
        "up_s": round(now - worker.started_at, 1),
        "joined": worker.joined,
        "draining": worker.draining,
        "consumed": worker.consumed,
        "settled": settled,
        "in_flight": worker.in_flight,
        "relinquished": worker.relinquished,
        "in_doubt": worker.in_doubt,
        "in_doubt_oldest_s": round(worker.in_doubt_oldest_s, 1),
        "circuits_open": {
            name: {"reason": opened.reason, "for_s": round(now - opened.since, 1)}
            for name, opened in worker.circuits.items()
        },
        "kafka_silent_s": round(worker.kafka_silent_s, 1),
        "throttled_s": round(max(0.0, worker.throttled_until - now), 1),
        "consumed_per_s": round(sum(rate for rate, _ in recent) / max(1, len(recent)), 1),
        "settled_per_s": round(sum(rate for _, rate in recent) / max(1, len(recent)), 1),
        "settled_per_s_history": [round(rate, 1) for _, rate in history],
        "partitions": {
            str(partition.number): _partition(state)
            for partition, state in sorted(worker.partitions.items())
        },
        "blocked_by_transaction": {
            str(partition.number): {
                "records": state.blocked,
                "for_s": round(state.blocked_s, 1),
                "find": identity.find_transaction(partition),
            }
            for partition, state in sorted(worker.partitions.items())
            if state.blocked_s > 0
        },
        "halted": {
            str(partition.number): {"reason": halted.reason, "detail": halted.detail}
            for partition, halted in sorted(worker.halted.items())
        },
        "paused": {
            str(partition.number): {"since": pause.since}
            for partition, pause in sorted(worker.paused.items())
        },
        "last_dead_letters": list(worker.dead_letters),
    }


def _partition(state: PartitionStatus) -> dict[str, Any]:
    return {
        "committed": state.committed,
        "position": state.position,
        "end": state.end,
        "lag": state.lag,
        "lag_s": round(state.lag_s, 1),
        "in_flight": state.in_flight,
        "blocked": state.blocked,
    }


def verdict(worker: WorkerStatus, now: float) -> tuple[str, str]:
    """Return ``bad``, ``warn`` or ``ok``, and the most urgent message."""
    return next(itertools.chain(_problems(worker, now), _warnings(worker, now), _healthy(worker)))


def _problems(worker: WorkerStatus, now: float) -> Iterator[tuple[str, str]]:
    if worker.kafka_silent_s > KAFKA_SILENT_S:
        yield "bad", f"Kafka has not answered for {lasting(worker.kafka_silent_s)}"
    for name, opened in sorted(worker.circuits.items()):
        what = "No page view is sent" if name == "pixel" else "Nothing is sent to Wootric's API"
        yield "bad", f"{what}: {opened.reason}, for {lasting(now - opened.since)}"
    if worker.halted:
        reasons = ", ".join(sorted({halted.reason.value for halted in worker.halted.values()}))
        yield "bad", f"{counted(len(worker.halted), 'partition')} paused: {reasons}"
    since = worker.started_at if worker.committed_at is None else worker.committed_at
    if worker.in_flight and not worker.paused and now - since > NO_COMMIT_S:
        yield "bad", f"Events are in flight, and nothing was committed for {lasting(now - since)}"
    if blocked := [one for one in worker.partitions.values() if one.blocked_s > BEHIND_S]:
        yield "bad", blocked_by_transaction([(one.blocked, one.blocked_s) for one in blocked])


def _warnings(worker: WorkerStatus, now: float) -> Iterator[tuple[str, str]]:
    if worker.draining:
        yield "warn", "Shutting down after the requests in flight"
    if not worker.joined:
        yield "warn", "Waiting for an assignment from the group"
    if worker.paused:
        yield "warn", paused_by_operator(worker.paused.values())
    if worker.throttled_until > now:
        wait_s = worker.throttled_until - now
        yield "warn", f"Wootric asked to wait: {lasting(wait_s)} from now"
    lag_s = max((state.lag_s for state in worker.partitions.values()), default=0.0)
    if lag_s > BEHIND_S:
        yield "warn", f"Flowing, {lasting(lag_s)} behind: {counted(worker.lag, 'event')} to go"
    if worker.in_doubt:
        in_doubt = counted(worker.in_doubt, "event")
        yield "warn", f"Flowing; {in_doubt} in doubt, oldest {lasting(worker.in_doubt_oldest_s)}"


def _healthy(worker: WorkerStatus) -> Iterator[tuple[str, str]]:
    if not worker.partitions:
        yield "ok", "Standby: the group assigned no partition to this worker"
    lag = counted(worker.lag, "event")
    yield "ok", f"Flowing, {lag} under way" if worker.lag else "Caught up"


def blocked_by_transaction(partitions: Sequence[tuple[int, float]]) -> str:
    """Return the message about blocked partitions: offsets and seconds of each."""
    records, longest_s = sum(one for one, _ in partitions), max(one for _, one in partitions)
    return (
        f"{counted(len(partitions), 'partition')} blocked by an open transaction for "
        f"{lasting(longest_s)}: {counted(records, 'record')} cannot be read"
    )


def paused_by_operator(pauses: Collection[InputPause]) -> str:
    """Return the message about the operator's pauses, with the first one's time."""
    first = min(pauses, key=lambda pause: pause.since_ms or 0)
    return (
        f"{counted(len(pauses), 'partition')} paused by the operator since {first.since}: "
        "`wootric-stream resume` ends it"
    )


def counted(number: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def lasting(seconds: float) -> str:
    """Return a duration as text in its largest suitable unit."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


# Gauges that are read from the tasks at the moment of the scrape, not maintained separately.
#
# A scrape runs on the event loop, between two steps of the tasks. Therefore records consumed,
# settled, relinquished and in flight add up in every scrape.


class StatusGauges:
    """Sets the gauges and the worker's status from the tasks.

    ``polled_at`` returns the time of the last poll (monotonic seconds). Other components set
    ``retention_ms`` (the input's, negative without a limit), ``own_steps_s`` (time in the loop's
    own steps since the last refresh), ``restoring`` (records yet to read, as far as known, of each
    partition whose ledger is being restored) and ``rate_limited`` (whether the rate limit lets no
    request start now).
    """

    def __init__(
        self,
        metrics: Metrics,
        worker: WorkerStatus,
        tasks: TaskManager,
        *,
        records_limit: int,
        bytes_limit: int,
        polled_at: Callable[[], float],
    ) -> None:
        self._metrics = metrics
        self._worker = worker
        self._tasks = tasks
        self._polled_at = polled_at
        self._ends: dict[Partition, tuple[int, int, float]] = {}
        self._stable_ends = StableEnds[Partition]()
        self.retention_ms: int | None = None
        self.own_steps_s = 0.0
        self.restoring: dict[Partition, int] = {}
        self.rate_limited: Callable[[], bool] = lambda: False
        self._answered_at = time.monotonic()
        self._answers: dict[Partition, float] = {}
        self._loop_until = time.perf_counter()
        self._cpu_until = time.thread_time()
        self._behind_since: dict[Partition, float] = {}
        metrics.records_in_flight_limit.set(records_limit)
        metrics.bytes_in_flight_limit.set(bytes_limit)

    def note_ends(self, partition: Partition, stable: int, log_end: int) -> None:
        """Note a partition's last stable offset and the end of its log."""
        self.note_answer()
        self._answers[partition] = self._answered_at
        blocked_s = self._stable_ends.note(partition, stable, log_end)
        self._ends[partition] = (stable, log_end - stable, blocked_s)

    def note_answer(self) -> None:
        """Note that Kafka answers."""
        self._answered_at = time.monotonic()

    def refresh(self) -> None:
        """Read all values again."""
        metrics, worker, tasks = self._metrics, self._worker, self._tasks
        now = time.monotonic()
        worker.in_flight = tasks.unsettled
        metrics.records_in_flight.set(worker.in_flight)
        metrics.bytes_in_flight.set(tasks.unsettled_bytes)
        metrics.records_unaccounted.set(
            worker.consumed - worker.settled.total() - worker.relinquished - worker.in_flight
        )
        metrics.requests_in_flight.set(tasks.under_way)
        states = [part.uncommitted.state for part in tasks.partitions.values()]
        metrics.ledger_entries.set(sum(map(len, states)))
        metrics.state_bytes.set(sum(state.disk_bytes for state in states))
        metrics.restore_left.set(sum(self.restoring.values()))
        metrics.polled.set(time.time() - (now - self._polled_at()))
        metrics.rate_limited.set(int(self.rate_limited()))
        worker.kafka_silent_s = now - min(
            (self._answers.setdefault(partition, now) for partition in tasks.partitions),
            default=self._answered_at,
        )
        metrics.kafka_up.set(int(worker.kafka_silent_s <= KAFKA_SILENT_S))
        self._refresh_in_doubt(now)
        self._account_loop_time()
        self._remove_partitions(set(worker.partitions) - set(tasks.partitions))
        for partition, part in tasks.partitions.items():
            state = self._partition_status(partition, part)
            worker.partitions[partition] = state
            self._set_gauges(partition, state)

    def _refresh_in_doubt(self, now: float) -> None:
        requests: list[PendingRequest] = [
            request for part in self._tasks.partitions.values() for request in part.in_doubt
        ]
        oldest = min(
            (one.in_doubt_since for one in requests if one.in_doubt_since is not None), default=now
        )
        self._worker.in_doubt = sum(
            len(request.events) + len(request.expected) for request in requests
        )
        self._worker.in_doubt_oldest_s = max(0.0, now - oldest)
        self._metrics.in_doubt.set(self._worker.in_doubt)
        self._metrics.in_doubt_age.set(self._worker.in_doubt_oldest_s)

    def _account_loop_time(self) -> None:
        """Split the loop's remaining time into other work (by CPU time) and idle time."""
        states = self._metrics.event_loop_seconds
        now, cpu = time.perf_counter(), time.thread_time()
        elapsed, worked = now - self._loop_until, cpu - self._cpu_until
        self._loop_until, self._cpu_until = now, cpu
        known, self.own_steps_s = self.own_steps_s, 0.0
        other = min(max(0.0, worked - known), max(0.0, elapsed - known))
        states.labels("other").inc(other)
        states.labels("idle").inc(max(0.0, elapsed - known - other))

    def _partition_status(self, partition: Partition, part: PartitionTask) -> PartitionStatus:
        position, watermark = part.offsets.next_offset, part.offsets.commit_offset
        stable, blocked, blocked_s = self._ends.get(partition, (0, 0, 0.0))
        end = max(position, stable)
        lag = end - watermark
        return PartitionStatus(
            end=end,
            position=position,
            committed=part.committed_offset,
            lag=lag,
            lag_s=self._lag_seconds(partition, lag, part.offsets.oldest_ms),
            in_flight=part.unsettled,
            blocked=blocked,
            blocked_s=blocked_s,
        )

    def _lag_seconds(self, partition: Partition, lag: int, oldest_ms: int | None) -> float:
        """Return the age of the oldest unsettled record; for an unread one, the time for which it
        has been waiting as far as this worker knows.
        """
        now = time.time()
        if lag == 0:
            self._behind_since.pop(partition, None)
            return 0.0
        if oldest_ms is not None:
            return max(0.0, now - oldest_ms / 1000)
        return now - self._behind_since.setdefault(partition, now)

    def _set_gauges(self, partition: Partition, state: PartitionStatus) -> None:
        metrics = self._metrics
        values: dict[Gauge, float | None] = {
            metrics.lag_records: state.lag,
            metrics.lag_seconds: state.lag_s,
            metrics.committed_offset: state.committed,
            metrics.position: state.position,
            metrics.end_offset: state.end,
            metrics.blocked_records: state.blocked,
            metrics.headroom: headroom_s(self.retention_ms, state.lag_s),
            metrics.paused: int(partition in self._worker.paused),
        }
        for gauge, value in values.items():
            if value is not None:
                gauge.labels(partition.topic, partition.number).set(value)

    def _remove_partitions(self, partitions: Iterable[Partition]) -> None:
        """Remove the gauges of partitions that another worker owns now."""
        for partition in partitions:
            del self._worker.partitions[partition]
            self._ends.pop(partition, None)
            self._answers.pop(partition, None)
            self._stable_ends.forget(partition)
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
