"""Observer: turns the events of the loop and the sink into metrics, status and log lines."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import structlog

from sink.delivery import Deferred, Delivered, InDoubt, Outcome, Parked, Rejected, Skipped
from stream.engine.checkpoint import Checkpoint, PartitionCheckpoint
from stream.engine.lanes import PendingRequest
from stream.engine.partition_task import PartitionTask
from stream.engine.prepare import PreparedRecord
from stream.engine.task_manager import HaltReason
from stream.kafka.protocol import InputPause, PartitionHalted, Restored
from stream.record import Deliver, Partition, Skip
from stream.telemetry.metrics import LOOP_STATES, Metrics
from stream.telemetry.status import OpenCircuit, StatusGauges, WorkerStatus

if TYPE_CHECKING:
    from stream.telemetry.tracing import Tracer

log = structlog.get_logger()

UNTRACED = nullcontext()
RESTORING_EVERY_S = 5.0
RESOLUTION: dict[type[Outcome], str] = {
    Delivered: "delivered",
    Skipped: "skipped",
    Rejected: "rejected",
    Parked: "parked",
    InDoubt: "in_doubt",
    Deferred: "deferred",
}


class Observer:
    """Updates the metrics and the worker's status; makes no decisions."""

    def __init__(
        self,
        metrics: Metrics,
        worker: WorkerStatus,
        gauges: StatusGauges,
        tracer: "Tracer | None" = None,
    ) -> None:
        self._tracer = tracer
        self._metrics = metrics
        self._worker = worker
        self._gauges = gauges
        self._restoring_at: dict[Partition, float] = {}
        self._consumed: dict[Partition, Any] = {}
        self._settled: dict[tuple[str, str], Any] = {}
        self._requests: dict[tuple[str, str, int | None], Any] = {}
        self._request_seconds: dict[str, Any] = {}
        self._transactions_committed = metrics.transactions.labels("committed")
        self._loop_seconds = {
            state: metrics.event_loop_seconds.labels(state) for state in LOOP_STATES
        }

    # The loop

    @contextmanager
    def busy(self, state: str) -> Iterator[None]:
        """Account the time of a step of the loop to ``state``."""
        began_at = time.perf_counter()
        try:
            yield
        finally:
            took_s = time.perf_counter() - began_at
            self._loop_seconds[state].inc(took_s)
            self._gauges.own_steps_s += took_s

    def consumed(self, prepared: Sequence[PreparedRecord]) -> None:
        """Count records that were admitted."""
        counts: Counter[Partition] = Counter()
        sizes: Counter[Partition] = Counter()
        for event in prepared:
            counts[event.record.partition] += 1
            sizes[event.record.partition] += len(event.record.value or b"")
            if isinstance(event.result, Deliver | Skip):
                for note in event.result.notes:
                    self._metrics.invalid_fields.labels(note).inc()
        for partition, count in counts.items():
            counter = self._consumed.get(partition)
            if counter is None:
                counter = self._metrics.records_consumed.labels(partition.topic, partition.number)
                self._consumed[partition] = counter
            counter.inc(count)
            self._metrics.bytes_consumed.labels(partition.topic).inc(sizes[partition])
            self._worker.consumed += count

    def committed(
        self, checkpoint: Checkpoint, shares: Iterable[PartitionCheckpoint], took_s: float
    ) -> None:
        """Count a committed transaction and the records it settled. ``shares`` are those of
        partitions still owned; records of others are already counted as relinquished.
        """
        self._transactions_committed.inc()
        self._metrics.transaction_seconds.observe(took_s)
        self._worker.committed_at = time.monotonic()
        for share in shares:
            for key, count in share.settled.items():
                counter = self._settled.get(key)
                if counter is None:
                    counter = self._settled[key] = self._metrics.records_settled.labels(*key)
                counter.inc(count)
                self._worker.settled[key] += count
            for letter in share.dead_letters:
                self._worker.dead_letters.append(
                    {
                        "reason": letter.reason,
                        "partition": letter.origin.number,
                        "offset": letter.offset,
                        "failed_at_ms": letter.failed_at_ms,
                    }
                )
        log.debug("committed", sequence=checkpoint.sequence, took_s=took_s)

    def aborted(self, reason: str) -> None:
        """Count an aborted transaction; the next one includes its content."""
        self._metrics.transactions.labels("aborted").inc()
        log.warning("transaction_aborted", reason=reason)

    def delivering(self, request: PendingRequest) -> AbstractContextManager[None]:
        """Return the context manager for a delivery: its span if tracing is on."""
        return UNTRACED if self._tracer is None else self._tracer.delivering(request)

    def delivered(self, request: PendingRequest, outcome: Outcome, now_ms: int) -> None:
        """Record the outcome of a delivery and the latency of its events."""
        if request.in_doubt:
            self._metrics.in_doubt_checks.labels(RESOLUTION[type(outcome)]).inc()
        exemplar = None
        if self._tracer is not None:
            exemplar = self._tracer.exemplar()
            reason = getattr(outcome, "reason", None)
            self._tracer.delivered(request, RESOLUTION[type(outcome)], reason)
        if isinstance(outcome, Delivered):
            for member in request.events:
                latency_s = (now_ms - member.record.timestamp_ms) / 1000
                self._metrics.end_to_end.observe(latency_s, exemplar)
        elif isinstance(outcome, Rejected):
            log.info(
                "rejected",
                reason=outcome.reason,
                status=outcome.status,
                operation=request.require_operation().type,
                request_id=request.request_id,
            )

    def on_in_doubt(self, request: PendingRequest) -> None:
        """Count an attempt with an unknown effect."""
        self._metrics.ambiguous.labels(request.require_operation().type).inc()

    def on_tick(self, now: float) -> None:
        """Record that the loop runs."""
        self._worker.loop_at = now
        self._worker.note_history(now)

    def logged(self, event: str, level: str) -> None:
        """Count a log line."""
        self._metrics.log_events.labels(event, level).inc()

    # The group

    def joined(self) -> None:
        """Record that the worker has joined the group."""
        self._worker.joined = True

    def rebalanced(self, event: str, owned: int) -> None:
        """Count and log a rebalance."""
        self._metrics.rebalances.labels(event).inc()
        self._metrics.partitions.set(owned)
        log.info("rebalanced", change=event, owned=owned)

    def opening(self, partitions: Iterable[Partition]) -> None:
        """Record that partitions were assigned, whose ledger is to be restored."""
        self._gauges.restoring.update(dict.fromkeys(partitions, 0))

    def restoring(self, partition: Partition, entries: int, left: int) -> None:
        """Record the progress of a restore; log it every ``RESTORING_EVERY_S``."""
        self._gauges.restoring[partition] = left
        now = time.monotonic()
        if now >= self._restoring_at.get(partition, 0.0) + RESTORING_EVERY_S:
            self._restoring_at[partition] = now
            log.info("restoring", partition=partition.number, entries=entries, left=left)

    def restored(self, restored: Restored, task: PartitionTask) -> None:
        """Record that a partition was opened."""
        self._gauges.restoring.pop(restored.partition, None)
        self._metrics.restores.labels("warm" if restored.warm else "cold").inc()
        self._metrics.restore_seconds.set(restored.took_s)
        self._metrics.restored_at.set_to_current_time()
        self.released(restored.partition)
        log.info(
            "partition_opened",
            topic=restored.partition.topic,
            partition=restored.partition.number,
            offset=restored.next_offset,
            entries=restored.entries,
            warm=restored.warm,
            in_doubt=len(task.in_doubt),
            took_s=round(restored.took_s, 3),
        )

    def closed(self, partition: Partition, relinquished: int) -> None:
        """Record that a partition is no longer owned."""
        self._gauges.restoring.pop(partition, None)
        self._metrics.records_relinquished.inc(relinquished)
        self._worker.relinquished += relinquished
        self.released(partition)
        if self._worker.paused.pop(partition, None) is not None:
            self._count_halted()

    def halted(self, partition: Partition, reason: HaltReason, detail: str) -> None:
        """Record and log that a partition is paused."""
        self._gauges.restoring.pop(partition, None)
        self._worker.halted[partition] = PartitionHalted(partition, reason, detail)
        self._count_halted()
        log.error(
            "partition_halted", partition=partition.number, reason=reason.value, detail=detail
        )

    def on_dead_letter_limit(self, partition: Partition, pause_s: float) -> None:
        """Report a pause because most of the last events became dead letters."""
        detail = (
            "most of its last events became dead letters; check their reasons: "
            f"it resumes automatically after {pause_s:g} s"
        )
        self.halted(partition, HaltReason.DEAD_LETTERS, detail)

    def on_offset_gap(self, partition: Partition, offset: int) -> None:
        """Report a pause because too many records were read after an unsettled one."""
        detail = (
            f"too many records were read after the unsettled offset {offset}: "
            "it resumes automatically when that offset is settled"
        )
        self.halted(partition, HaltReason.OFFSET_GAP, detail)

    def on_schema_wait(self, partition: Partition, reason: HaltReason, detail: str) -> None:
        """Report, once per reason, that a partition waits for a schema."""
        known = self._worker.halted.get(partition)
        if known is None or known.reason is not reason:
            self.halted(partition, reason, f"{detail}: it resumes automatically")

    def released(self, partition: Partition) -> None:
        """Report that a partition has resumed, if it was paused."""
        if self._worker.halted.pop(partition, None) is not None:
            self._count_halted()
            log.info("partition_resumed", partition=partition.number)

    def on_input_pause(self, partition: Partition, pause: InputPause | None) -> None:
        """Record the operator's pause of a partition, or its end; log a change."""
        before = self._worker.paused.get(partition)
        if pause == before:
            return
        if pause is None:
            del self._worker.paused[partition]
            log.info("input_resumed", partition=partition.number)
        else:
            self._worker.paused[partition] = pause
            log.info("input_paused", partition=partition.number, since=pause.since)
        self._count_halted()

    def on_end_offset(self, partition: Partition, end: int, log_end: int) -> None:
        """Record a partition's last stable offset and the end of its log."""
        self._gauges.note_ends(partition, end, log_end)

    def on_kafka_answer(self) -> None:
        """Record that Kafka answers."""
        self._gauges.note_answer()

    def on_retention(self, retention_ms: int) -> None:
        """Record the input's retention."""
        self._gauges.retention_ms = retention_ms

    def _count_halted(self) -> None:
        counts = Counter(halted.reason for halted in self._worker.halted.values())
        counts[HaltReason.PAUSED] = len(self._worker.paused)
        for reason in HaltReason:
            self._metrics.partitions_halted.labels(reason.value).set(counts[reason])

    # The sink

    def request_finished(
        self, operation: str, outcome: str, status: int | None, seconds: float
    ) -> None:
        """Count a request."""
        key = operation, outcome, status
        counter = self._requests.get(key)
        if counter is None:
            code = "none" if status is None else str(status)
            counter = self._requests[key] = self._metrics.requests.labels(operation, outcome, code)
        counter.inc()
        exemplar = None
        if self._tracer is not None:
            exemplar = self._tracer.exemplar()
            self._tracer.request_finished(operation, outcome, status, seconds)
        duration = self._request_seconds.get(operation)
        if duration is None:
            duration = self._metrics.request_seconds.labels(operation)
            self._request_seconds[operation] = duration
        duration.observe(seconds, exemplar)

    def throttled(self, wait_s: float) -> None:
        """Count and log a reply that asked to wait."""
        self._metrics.throttled.inc()
        self._worker.throttled_until = time.monotonic() + wait_s
        log.info("throttled", wait_s=round(wait_s, 3))

    def circuit_changed(self, name: str, is_open: bool, reason: str) -> None:
        """Record and log that a circuit opened or closed."""
        before = self._worker.circuits.get(name)
        if before is not None:
            self._metrics.circuit_open.labels(name, before.reason).set(0)
        if is_open:
            self._metrics.circuit_open.labels(name, reason).set(1)
            self._worker.circuits[name] = OpenCircuit(reason, time.monotonic())
            self._metrics.circuit_opened.labels(name, reason).inc()
            log.error("circuit_opened", circuit=name, reason=reason)
        else:
            self._worker.circuits.pop(name, None)
            log.info("circuit_closed", circuit=name)


# The sink's account, rate and identities


class SinkObserver:
    """Updates metrics from the sink's callbacks; makes no decisions. ``by_client``: tokens are
    requested with a client id, not with a user name.
    """

    def __init__(self, metrics: Metrics, *, by_client: bool) -> None:
        self._metrics = metrics
        self._by_client = by_client
        self._refused: tuple[str, int] | None = None

    def token_refused(self, error: str, status: int) -> None:
        """Count refused credentials, and log them when the error changes."""
        self._metrics.token_refusals.labels(error).inc()
        if self._refused != (error, status):
            self._refused = (error, status)
            log.error(
                "credentials_refused",
                error=error,
                status=status,
                look_at=credential_hint(error, status, by_client=self._by_client),
                effect="nothing is sent, no event is lost; retried until accepted",
            )

    def token_refreshed(self, granted: bool) -> None:
        """Count a token request, and log that the credentials are accepted again."""
        self._metrics.tokens.labels("granted" if granted else "refused").inc()
        if granted and self._refused is not None:
            self._refused = None
            log.info("credentials_accepted")

    def concurrency_changed(self, host: str, limit: int) -> None:
        """Set the limit of concurrent requests."""
        self._metrics.concurrency_limit.labels(host).set(limit)

    def allowance_changed(self, host: str, remaining: int, limit: int) -> None:
        """Set the account's remaining quota."""
        self._metrics.rate_remaining.labels(host).set(remaining)
        self._metrics.rate_limit.labels(host).set(limit)

    def pace_changed(self, requests_per_minute: float) -> None:
        """Set this worker's share of the rate."""
        self._metrics.rate_share.set(requests_per_minute)

    def identity_conflict(self, kind: str, request_id: str) -> None:
        """Count and log an identity conflict; the events' receipts contain the request id."""
        self._metrics.identity_conflicts.labels(kind).inc()
        log.info("identity_conflict", kind=kind, request_id=request_id)


# Settings to check when Wootric issues no token


CLIENT = "WOOTRIC__CLIENT_ID and WOOTRIC__CLIENT_SECRET"
LOGIN = "WOOTRIC__USERNAME and WOOTRIC__PASSWORD"
ADDRESS = "WOOTRIC__API_URL and the region in WOOTRIC__ACCOUNT_TOKEN"

_CREDENTIAL_ERRORS = frozenset(
    {"invalid_client", "unauthorized_client", "invalid_grant", "access_denied"}
)
_NOT_FOUND = frozenset({301, 302, 307, 308, 404, 405})


def credential_hint(error: str, status: int, *, by_client: bool) -> str:
    """Return the settings that may be wrong, by OAuth error and HTTP status.

    ``by_client``: the token was requested with a client id, not with a user name.
    """
    credentials = (
        CLIENT if by_client else f"{LOGIN}, and that they belong to WOOTRIC__ACCOUNT_TOKEN"
    )
    if error in _CREDENTIAL_ERRORS:
        return credentials
    if status in _NOT_FOUND:
        return ADDRESS
    return f"{credentials}; {ADDRESS}"
