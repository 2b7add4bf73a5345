"""What the transfer between two topics does with a record, and what is told of it."""

import time
from collections import Counter
from collections.abc import Sequence

import structlog

from stream.bridge.forward import forward
from stream.bridge.health import Standing
from stream.codec.dead_letter import DeadLetter
from stream.kafka.repartition import Output
from stream.record import Partition, Record
from stream.telemetry.bridge_metrics import BridgeMetrics

log = structlog.get_logger()


def convert(record: Record, header: bytes, bytes_max: int) -> Output:
    """Return what is written for a record."""
    found = forward(record, header, int(time.time() * 1000), bytes_max=bytes_max)
    return found if found is None or isinstance(found, DeadLetter) else (found.key, found.value)


class Forwarding:
    """Keeps the metrics of the transfer; told from its thread."""

    def __init__(self, metrics: BridgeMetrics, standing: Standing) -> None:
        self._metrics = metrics
        self._standing = standing

    def joined(self) -> None:
        """Note that the group has us: ready, once and for all."""
        self._standing.started = True

    def transferred(self, outputs: Sequence[Output]) -> None:
        """Count a committed transaction."""
        self._metrics.transactions.labels("committed").inc()
        for outcome, count in Counter(map(_outcome, outputs)).items():
            self._metrics.records.labels(outcome).inc(count)

    def aborted(self, reason: str) -> None:
        """Count what came to nothing."""
        self._metrics.transactions.labels("aborted").inc()
        log.warning("transfer_aborted", reason=reason)

    def lag(self, partition: Partition, records: int | None) -> None:
        """Show how far behind a partition is."""
        labels = (partition.topic, str(partition.number))
        if records is not None:
            self._metrics.lag_records.labels(*labels).set(records)
        elif labels in self._metrics.lag_records._metrics:
            self._metrics.lag_records.remove(*labels)


def _outcome(output: Output) -> str:
    if output is None:
        return "skipped"
    return "rejected" if isinstance(output, DeadLetter) else "forwarded"
