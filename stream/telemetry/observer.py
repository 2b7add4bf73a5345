"""The observer: what the loop and the sink tell becomes metrics, health and log lines."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import structlog

from sink.wootric.delivery import Deferred, Delivered, InDoubt, Outcome, Parked, Rejected, Skipped
from stream.engine.checkpoint import Checkpoint, PartitionCheckpoint
from stream.engine.lanes import PendingRequest
from stream.engine.partition_task import PartitionTask
from stream.engine.prepare import PreparedRecord
from stream.engine.task_manager import HaltReason
from stream.kafka.protocol import PartitionHalted, Restored
from stream.record import Partition
from stream.telemetry.metrics import LOOP_STATES, Metrics
from stream.telemetry.status import OpenCircuit, StatusGauges, WorkerStatus
from stream.transform import Deliver

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
    """Keeps the metrics and the vitals; never decides anything."""

    def __init__(
        self,
        metrics: Metrics,
        vitals: WorkerStatus,
        gauges: StatusGauges,
        tracer: "Tracer | None" = None,
    ) -> None:
        self._tracer = tracer
        self._metrics = metrics
        self._vitals = vitals
        self._gauges = gauges
        self._restoring_at: dict[Partition, float] = {}
        self._consumed: dict[Partition, Any] = {}
        self._settled: dict[tuple[str, str], Any] = {}
        self._loop_seconds = {
            state: metrics.event_loop_seconds.labels(state) for state in LOOP_STATES
        }

    # The loop

    @contextmanager
    def busy(self, state: str) -> Iterator[None]:
        """Account the time of a step of the loop."""
        began_at = time.perf_counter()
        try:
            yield
        finally:
            took_s = time.perf_counter() - began_at
            self._loop_seconds[state].inc(took_s)
            self._gauges.stepped_s += took_s

    def consumed(self, judged: Sequence[PreparedRecord]) -> None:
        """Count records that were admitted."""
        counts: Counter[Partition] = Counter()
        sizes: Counter[Partition] = Counter()
        for event in judged:
            counts[event.record.partition] += 1
            sizes[event.record.partition] += len(event.record.value or b"")
            if isinstance(event.result, Deliver):
                for note in event.result.notes:
                    self._metrics.invalid_fields.labels(note).inc()
        for partition, count in counts.items():
            counter = self._consumed.get(partition)
            if counter is None:
                counter = self._metrics.records_consumed.labels(partition.topic, partition.number)
                self._consumed[partition] = counter
            counter.inc(count)
            self._metrics.bytes_consumed.labels(partition.topic).inc(sizes[partition])
            self._vitals.consumed += count

    def committed(
        self, checkpoint: Checkpoint, shares: Iterable[PartitionCheckpoint], took_s: float
    ) -> None:
        """Count a committed transaction, and what it settled of the partitions that are ours
        still: what was relinquished in the meantime is counted so already.
        """
        self._metrics.transactions.labels("committed").inc()
        self._metrics.transaction_seconds.observe(took_s)
        self._vitals.committed_at = time.monotonic()
        for share in shares:
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

    def delivering(self, work: PendingRequest) -> AbstractContextManager[None]:
        """Return what goes around a delivery: its span, if there is one."""
        return UNTRACED if self._tracer is None else self._tracer.delivering(work)

    def delivered(self, work: PendingRequest, outcome: Outcome, now_ms: int) -> None:
        """Note how long the events of a delivery were on their way, and how it ended."""
        if work.in_doubt:
            self._metrics.in_doubt_checks.labels(RESOLUTION[type(outcome)]).inc()
        exemplar = None
        if self._tracer is not None:
            exemplar = self._tracer.exemplar()
            reason = getattr(outcome, "reason", None)
            self._tracer.delivered(work, RESOLUTION[type(outcome)], reason)
        if isinstance(outcome, Delivered):
            for member in work.events:
                latency_s = (now_ms - member.record.timestamp_ms) / 1000
                self._metrics.end_to_end.observe(latency_s, exemplar)
        elif isinstance(outcome, Rejected):
            log.info(
                "rejected",
                reason=outcome.reason,
                status=outcome.status,
                operation=work.require_operation().type,
                request_id=work.request_id,
            )

    def on_in_doubt(self, work: PendingRequest) -> None:
        """Count an attempt whose effect is unknown."""
        self._metrics.ambiguous.labels(work.require_operation().type).inc()

    def on_tick(self, now: float) -> None:
        """Note that the loop turns."""
        self._vitals.beat_at = now
        self._vitals.note_history(now)

    def logged(self, event: str, level: str) -> None:
        """Count a log line."""
        self._metrics.log_events.labels(event, level).inc()

    # The group

    def joined(self) -> None:
        """Note that the group has us: ready, once and for all."""
        self._vitals.joined = True

    def rebalanced(self, event: str, owned: int) -> None:
        """Note a rebalance."""
        self._metrics.rebalances.labels(event).inc()
        self._metrics.partitions.set(owned)
        log.info("rebalanced", change=event, owned=owned)

    def restoring(self, partition: Partition, entries: int, left: int) -> None:
        """Note how far a restore is; say so now and then."""
        self._gauges.restoring[partition] = left
        now = time.monotonic()
        if now >= self._restoring_at.get(partition, 0.0) + RESTORING_EVERY_S:
            self._restoring_at[partition] = now
            log.info("restoring", partition=partition.number, entries=entries, left=left)

    def restored(self, restored: Restored, flow: PartitionTask) -> None:
        """Note that a partition was opened."""
        self._gauges.restoring.pop(restored.partition, None)
        self._metrics.restores.labels("warm" if restored.warm else "cold").inc()
        self._metrics.restore_seconds.set(restored.took_s)
        self.released(restored.partition)
        log.info(
            "partition_opened",
            topic=restored.partition.topic,
            partition=restored.partition.number,
            offset=restored.next_offset,
            entries=restored.entries,
            warm=restored.warm,
            in_doubt=len(flow.in_doubt),
            took_s=round(restored.took_s, 3),
        )

    def closed(self, partition: Partition, relinquished: int) -> None:
        """Note that a partition is not ours any more."""
        self._gauges.restoring.pop(partition, None)
        self._metrics.records_relinquished.inc(relinquished)
        self._vitals.relinquished += relinquished
        self.released(partition)

    def halted(self, partition: Partition, reason: HaltReason, detail: str) -> None:
        """Say that a partition stands still until somebody acts."""
        self._vitals.halted[partition] = PartitionHalted(partition, reason, detail)
        self._count_halted()
        log.error(
            "partition_halted", partition=partition.number, reason=reason.value, detail=detail
        )

    def on_dead_letter_limit(self, partition: Partition, pause_s: float) -> None:
        """Say that most of the last events became dead letters."""
        detail = (
            "most of its last events became dead letters; look at their reasons: "
            f"it goes on by itself after {pause_s:g} s"
        )
        self.halted(partition, HaltReason.DEAD_LETTERS, detail)

    def on_offset_gap(self, partition: Partition, offset: int) -> None:
        """Say that too much was settled behind an event that waits."""
        detail = (
            f"KAFKA__OFFSET_GAP_MAX records behind offset {offset} were read while that one "
            "waits: it goes on by itself when that is settled"
        )
        self.halted(partition, HaltReason.OFFSET_GAP, detail)

    def on_schema_wait(self, partition: Partition, reason: HaltReason, detail: str) -> None:
        """Say, once, that a partition waits for a schema and goes on by itself."""
        known = self._vitals.halted.get(partition)
        if known is None or known.reason is not reason:
            self.halted(partition, reason, f"{detail}: it goes on by itself")

    def released(self, partition: Partition) -> None:
        """Say that a partition goes on."""
        if self._vitals.halted.pop(partition, None) is not None:
            self._count_halted()
            log.info("partition_resumed", partition=partition.number)

    def on_end_offset(self, partition: Partition, end: int) -> None:
        """Take over a partition's last stable offset."""
        self._gauges.ends[partition] = end

    def on_retention(self, retention_ms: int) -> None:
        """Take over for how long the input is kept."""
        self._gauges.retention_ms = retention_ms

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
        exemplar = None
        if self._tracer is not None:
            exemplar = self._tracer.exemplar()
            self._tracer.request_finished(operation, outcome, status, seconds)
        self._metrics.request_seconds.labels(operation).observe(seconds, exemplar)

    def throttled(self, wait_s: float) -> None:
        """Count an answer that asked to wait."""
        self._metrics.throttled.inc()
        self._vitals.throttled_until = time.monotonic() + wait_s
        log.info("throttled", wait_s=round(wait_s, 3))

    def circuit_changed(self, name: str, is_open: bool, reason: str) -> None:
        """Say that nothing is sent any more, or again."""
        self._metrics.circuit_open.labels(name).set(int(is_open))
        if is_open:
            self._vitals.circuits[name] = OpenCircuit(reason, time.monotonic())
            self._metrics.circuit_opened.labels(name, reason).inc()
            log.error("circuit_opened", circuit=name, reason=reason)
        else:
            self._vitals.circuits.pop(name, None)
            log.info("circuit_closed", circuit=name)


# What the sink tells of the account, the pace and who is who: metrics and log lines


class SinkObserver:
    """Listens to the sink; never decides anything. ``by_client``: a client asks for tokens."""

    def __init__(self, metrics: Metrics, *, by_client: bool) -> None:
        self._metrics = metrics
        self._by_client = by_client
        self._refused: tuple[str, int] | None = None

    def token_refused(self, error: str, status: int) -> None:
        """Count a refusal of our credentials, and say it when it is news."""
        self._metrics.token_refusals.labels(error).inc()
        if self._refused != (error, status):
            self._refused = (error, status)
            log.error(
                "credentials_refused",
                error=error,
                status=status,
                look_at=credential_hint(error, status, by_client=self._by_client),
                effect="nothing is sent, nothing is lost; asked again until it is accepted",
            )

    def token_refreshed(self, granted: bool) -> None:
        """Count a token that was asked for, and note that the credentials are accepted again."""
        self._metrics.tokens.labels("granted" if granted else "refused").inc()
        if granted and self._refused is not None:
            self._refused = None
            log.info("credentials_accepted")

    def concurrency_changed(self, host: str, limit: int) -> None:
        """Show how many requests may be under way."""
        self._metrics.concurrency_limit.labels(host).set(limit)

    def allowance_changed(self, host: str, remaining: int, limit: int) -> None:
        """Show what the account has left."""
        self._metrics.rate_remaining.labels(host).set(remaining)
        self._metrics.rate_limit.labels(host).set(limit)

    def pace_changed(self, requests_per_minute: float) -> None:
        """Show this worker's part of the pace."""
        self._metrics.rate_share.set(requests_per_minute)

    def identity_conflict(self, kind: str, request_id: str) -> None:
        """Count identities that clash; the receipts of the events name the request."""
        self._metrics.identity_conflicts.labels(kind).inc()
        log.info("identity_conflict", kind=kind, request_id=request_id)


# Which settings to look at when Wootric gives no token


CLIENT = "WOOTRIC__CLIENT_ID and WOOTRIC__CLIENT_SECRET"
LOGIN = "WOOTRIC__USERNAME and WOOTRIC__PASSWORD"
PLACE = "WOOTRIC__API_URL and the region in WOOTRIC__ACCOUNT_TOKEN"

_OF_A_GRANT = frozenset({"invalid_client", "unauthorized_client", "invalid_grant", "access_denied"})
_NOT_THERE = frozenset({301, 302, 307, 308, 404, 405})


def credential_hint(error: str, status: int, *, by_client: bool) -> str:
    """Return the settings that may be wrong, by the refusal's word and status.

    ``by_client`` says that a client asked, not a login.
    """
    asked_with = CLIENT if by_client else f"{LOGIN}, and that they belong to WOOTRIC__ACCOUNT_TOKEN"
    if error in _OF_A_GRANT:
        return asked_with
    if status in _NOT_THERE:
        return PLACE
    return f"{asked_with}; {PLACE}"
