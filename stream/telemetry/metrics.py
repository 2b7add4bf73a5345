"""The catalogue of metrics: what each counts, its unit, and when to worry."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from stream import __version__

REQUEST_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
TRANSACTION_BUCKETS_S = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
END_TO_END_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 900, 3600)

LOOP_STATES = ("admit", "checkpoint", "settle")


class Metrics:
    """All metrics of a worker, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.records_consumed = self._counter(
            "records_consumed", "Records read from the input.", "topic", "partition"
        )
        self.records_settled = self._counter(
            "records_settled",
            "Records settled in a committed transaction, by outcome: delivered, skipped, "
            "rejected, parked, duplicate. Worry about rejected and parked.",
            "outcome",
            "reason",
        )
        self.records_relinquished = self._counter(
            "records_relinquished",
            "Records left unsettled to the next owner of their partition.",
        )
        self.records_in_flight = self._gauge(
            "records_in_flight",
            "Records read and not settled yet: consumed less settled less relinquished.",
        )
        self.lag_records = self._gauge(
            "consumer_lag_records",
            "Records up to the last stable offset that are not settled; 0 when caught up.",
            "topic",
            "partition",
        )
        self.lag_seconds = self._gauge(
            "consumer_lag_seconds",
            "Age of the oldest record that is not settled; 0 when caught up.",
            "topic",
            "partition",
        )
        self.partitions = self._gauge(
            "consumer_assigned_partitions", "Partitions that this worker owns."
        )
        self.partitions_halted = self._gauge(
            "consumer_halted_partitions",
            "Partitions that stand still until somebody acts. Worry above 0.",
            "reason",
        )
        self.rebalances = self._counter(
            "consumer_rebalances", "Rebalances, by event: assigned, revoked, lost.", "event"
        )
        self.values_left_out = self._counter(
            "values_left_out",
            "Values of delivered events that could not be read and were left out.",
            "note",
        )
        self.requests = self._counter(
            "sink_requests",
            "Requests to Wootric, by operation, verdict and HTTP status (none: no answer).",
            "operation",
            "outcome",
            "code",
        )
        self.request_seconds = self._histogram(
            "sink_request_duration_seconds", "Time of one request.", REQUEST_BUCKETS_S, "operation"
        )
        self.requests_in_flight = self._gauge(
            "sink_in_flight_requests", "Deliveries that the sink is working on."
        )
        self.throttled = self._counter(
            "sink_throttled", "Answers that asked us to wait (429, 503 with Retry-After)."
        )
        self.circuit_open = self._gauge(
            "sink_circuit_open",
            "1 while nothing is sent because Wootric refuses us. Worry after minutes.",
            "circuit",
        )
        self.transactions = self._counter(
            "transactions", "Transactions, by outcome: committed, aborted.", "outcome"
        )
        self.transaction_seconds = self._histogram(
            "transaction_duration_seconds", "Time of one transaction.", TRANSACTION_BUCKETS_S
        )
        self.in_doubt = self._gauge(
            "in_doubt_records",
            "Events whose request may have been executed, and nobody knows yet.",
        )
        self.in_doubt_age = self._gauge(
            "in_doubt_oldest_seconds", "How long the oldest request has been in doubt."
        )
        self.ambiguous = self._counter(
            "ambiguous_outcomes", "Attempts whose effect was unknown when they ended.", "operation"
        )
        self.end_to_end = self._histogram(
            "end_to_end_latency_seconds",
            "From the record's timestamp to Wootric's answer.",
            END_TO_END_BUCKETS_S,
        )
        self.ledger_entries = self._gauge("ledger_entries", "Keys of the ledger held in memory.")
        self.restore_seconds = self._gauge(
            "restore_duration_seconds", "Time of the last restore of a partition's ledger."
        )
        self.loop_seconds = self._counter(
            "loop_seconds", "Time of the event loop, by what it was spent on.", "state"
        )
        self.build_info = self._gauge(
            "build_info", "Always 1; the labels say what runs.", "version"
        )
        self.build_info.labels(__version__).set(1)
        for outcome in ("committed", "aborted"):
            self.transactions.labels(outcome)
        for outcome in ("delivered", "rejected", "parked"):
            self.records_settled.labels(outcome, "")
        for circuit in ("api", "pixel"):
            self.circuit_open.labels(circuit).set(0)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"wootric_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"wootric_{name}", text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(f"wootric_{name}", text, labels, buckets=buckets, registry=self.registry)
