"""Gauges that are true at the moment of the scrape: taken from the flow, not kept beside it.

A scrape is answered on the event loop, between two steps of the flow. So what is consumed,
settled, relinquished and in flight adds up in every one of them.
"""

import math
import time
from collections.abc import Callable, Iterable

from prometheus_client import Gauge

from stream.engine.lanes import Work
from stream.engine.partition_task import PartitionFlow
from stream.engine.task_manager import Flow
from stream.record import Partition
from stream.telemetry.metrics import Metrics
from stream.telemetry.vitals import Standing, Vitals


class Gauges:
    """Fills the gauges and the vitals from the flow.

    ``polled_at`` gives when the group was last polled (monotonic seconds). What the flow does
    not know is told by whoever does: ``ends`` has the last stable offsets, ``retention_ms`` is
    the input's, negative where nothing is ever deleted, ``stepped_s`` is the time that was spent
    in the loop's own steps since the last refresh, and ``restoring`` what restores have to read.
    """

    def __init__(
        self,
        metrics: Metrics,
        vitals: Vitals,
        flow: Flow,
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
        states = [part.unsaved.state for part in flow.partitions.values()]
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
        works: list[Work] = [
            work for part in self._flow.partitions.values() for work in part.in_doubt
        ]
        oldest = min((work.in_doubt_since for work in works), default=now)
        self._vitals.in_doubt = sum(len(work.members) + len(work.expected) for work in works)
        self._vitals.in_doubt_oldest_s = max(0.0, now - oldest)
        self._metrics.in_doubt.set(self._vitals.in_doubt)
        self._metrics.in_doubt_age.set(self._vitals.in_doubt_oldest_s)

    def _budget(self) -> None:
        """Share the loop's time out: what is not our own steps is other work, or idleness."""
        states = self._metrics.loop_seconds
        now, cpu = time.perf_counter(), time.thread_time()
        elapsed, worked = now - self._loop_until, cpu - self._cpu_until
        self._loop_until, self._cpu_until = now, cpu
        known, self.stepped_s = self.stepped_s, 0.0
        other = min(max(0.0, worked - known), max(0.0, elapsed - known))
        states.labels("other").inc(other)
        states.labels("idle").inc(max(0.0, elapsed - known - other))

    def _standing(self, partition: Partition, part: PartitionFlow, end: int | None) -> Standing:
        position, watermark = part.offsets.next_offset, part.offsets.watermark
        end = max(position, end or 0)
        lag = end - watermark
        return Standing(
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

    def _show(self, partition: Partition, standing: Standing) -> None:
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
