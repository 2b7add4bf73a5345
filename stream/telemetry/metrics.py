"""The catalogue of metrics: what each counts, its unit, and when to worry."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

from sink.wootric.matching import Conflict
from stream import __version__

REQUEST_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
TRANSACTION_BUCKETS_S = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
END_TO_END_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 900, 3600)
LOOP_LAG_BUCKETS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

LOOP_STATES = ("admit", "checkpoint", "settle", "other", "idle")
RESOLUTIONS = ("delivered", "skipped", "rejected", "parked", "in_doubt", "deferred")


class Metrics:
    """All metrics of a worker, in a registry of their own, with those of its process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._describe_flow()
        self._describe_consumer()
        self._describe_sink()
        self._describe_guarantee()
        self._describe_process()
        for outcome in ("committed", "aborted"):
            self.transactions.labels(outcome)
        for outcome in ("delivered", "rejected", "parked"):
            self.records_settled.labels(outcome, "")
        for circuit in ("api", "pixel"):
            self.circuit_open.labels(circuit).set(0)
        for resolution in RESOLUTIONS:
            self.in_doubt_checks.labels(resolution)
        for start in ("cold", "warm"):
            self.restores.labels(start)
        for renewal in ("granted", "refused"):
            self.tokens.labels(renewal)
        for kind in Conflict:
            self.identity_conflicts.labels(kind.value)

    def _describe_flow(self) -> None:
        self.records_consumed = self._counter(
            "records_consumed", "Records read from the input.", "topic", "partition"
        )
        self.bytes_consumed = self._counter(
            "records_consumed_bytes", "Bytes of the values of those records.", "topic"
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
        self.records_in_flight_limit = self._gauge(
            "records_in_flight_limit", "Records in flight at which reading stops for a while."
        )
        self.bytes_in_flight = self._gauge(
            "records_in_flight_bytes", "Bytes of the records in flight."
        )
        self.bytes_in_flight_limit = self._gauge(
            "records_in_flight_bytes_limit", "Bytes of them at which it stops as well."
        )
        self.records_unaccounted = self._gauge(
            "records_unaccounted",
            "Consumed less settled less relinquished less in flight. Always 0; anything else is a "
            "defect of ours: report it.",
        )
        self.invalid_fields = self._counter(
            "invalid_fields",
            "Values of delivered events that could not be read and were left out.",
            "note",
        )
        self.end_to_end = self._histogram(
            "end_to_end_latency_seconds",
            "From the record's timestamp to Wootric's answer.",
            END_TO_END_BUCKETS_S,
        )

    def _describe_consumer(self) -> None:
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
        self.committed_offset = self._gauge(
            "consumer_committed_offset",
            "Offset that the last committed transaction carried.",
            "topic",
            "partition",
        )
        self.position = self._gauge(
            "consumer_position_offset", "Offset that is read next.", "topic", "partition"
        )
        self.end_offset = self._gauge(
            "partition_end_offset", "Last stable offset.", "topic", "partition"
        )
        self.headroom = self._gauge(
            "consumer_retention_headroom_seconds",
            "Until retention.ms may delete the oldest record that is not settled; +Inf when it "
            "never does. Worry below some hours.",
            "topic",
            "partition",
        )
        self.of_partitions = (
            self.lag_records,
            self.lag_seconds,
            self.committed_offset,
            self.position,
            self.end_offset,
            self.headroom,
        )
        self.polled = self._gauge(
            "consumer_last_poll_timestamp_seconds", "When the group was last polled, since 1970."
        )

    def _describe_sink(self) -> None:
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
            "sink_in_flight_deliveries", "Deliveries that the sink is working on."
        )
        self.throttled = self._counter(
            "sink_throttled", "Answers that asked us to wait (429, 503 with Retry-After)."
        )
        self.circuit_open = self._gauge(
            "sink_circuit_open",
            "1 while nothing is sent because Wootric refuses us. Worry after minutes.",
            "circuit",
        )
        self.circuit_opened = self._counter(
            "sink_circuit_opened", "How often a circuit opened, and why.", "circuit", "reason"
        )
        self.tokens = self._counter(
            "sink_token_renewals", "Access tokens asked for: granted or refused.", "outcome"
        )
        self.concurrency_limit = self._gauge(
            "sink_concurrency_limit",
            "Requests that may be under way at once; falls while the host is slow or fails.",
            "host",
        )
        self.rate_remaining = self._gauge(
            "sink_rate_remaining",
            "Requests that the account has left, by the last reply that said it.",
            "host",
        )
        self.rate_limit = self._gauge(
            "sink_rate_limit",
            "Requests that the account gets until the next renewal, by the same reply.",
            "host",
        )
        self.rate_share = self._gauge(
            "sink_rate_share_per_minute",
            "This worker's part of WOOTRIC__REQUESTS_PER_MINUTE; 0 without one.",
        )
        self.token_refusals = self._counter(
            "sink_token_refusals",
            "Times that Wootric refused our credentials, by its word. Worry about any.",
            "error",
        )
        self.identity_conflicts = self._counter(
            "identity_conflicts", "Identities of end users that clashed, by kind.", "kind"
        )

    def _describe_guarantee(self) -> None:
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
        self.in_doubt_checks = self._counter(
            "in_doubt_checks",
            "Looks at what was in doubt, by what came of them; in_doubt and deferred: not yet.",
            "result",
        )
        self.ledger_entries = self._gauge(
            "ledger_entries",
            "Keys of the ledger that are held; about as many where STATE__DIR is set.",
        )
        self.restores = self._counter(
            "restores",
            "Ledgers of partitions that were read, by how: cold (all of it), warm (what a store on "
            "disk did not have).",
            "start",
        )
        self.restore_seconds = self._gauge(
            "restore_duration_seconds", "Time of the last restore of a partition's ledger."
        )
        self.restore_left = self._gauge(
            "restore_remaining_records",
            "Records of the ledger that restores under way have to read.",
        )
        self.state_bytes = self._gauge("state_disk_bytes", "What the stores below STATE__DIR take.")
        self.state_unwritten = self._gauge(
            "state_unwritten_entries",
            "Keys that the disk has refused and memory holds instead. Worry above 0.",
        )

    def _describe_process(self) -> None:
        self.event_loop_seconds = self._counter(
            "event_loop_seconds",
            "Time of the event loop, by what it was spent on; the states add up to the time.",
            "state",
        )
        self.loop_lag = self._histogram(
            "event_loop_lag_seconds",
            "How much later than planned the event loop turns. Worry above 0.1.",
            LOOP_LAG_BUCKETS_S,
        )
        self.log_events = self._counter(
            "log_events", "Log lines by their event, suppressed ones included.", "event", "level"
        )
        self.config_info = self._gauge(
            "config_info",
            "Always 1; the hash of the settings, secrets and instance left out. Workers of a group "
            "should agree.",
            "hash",
        )
        self.build_info = self._gauge(
            "build_info", "Always 1; the labels say what runs.", "version"
        )
        self.build_info.labels(__version__).set(1)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"wootric_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"wootric_{name}", text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(f"wootric_{name}", text, labels, buckets=buckets, registry=self.registry)


# The catalogue of the bridge's metrics: what each counts, its unit, and when to worry


ANSWER_BUCKETS_S = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class BridgeMetrics:
    """All metrics of a bridge, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = self._counter(
            "requests", "Answers of the webhook, by HTTP status. Worry about 401 and 503.", "code"
        )
        self.request_seconds = self._histogram(
            "request_duration_seconds", "From a request's head to its answer."
        )
        self.requests_in_flight = self._gauge("in_flight_requests", "Requests under way.")
        self.bytes_in_flight = self._gauge("in_flight_bytes", "Bytes of the requests under way.")
        self.refused = self._counter(
            "refused", "Requests that were not taken, by reason; 503 among them.", "reason"
        )
        self.connections_refused = self._counter(
            "connections_refused", "Connections closed at once, because there were too many."
        )
        self.events_accepted = self._counter(
            "events_accepted", "Events that Kafka acknowledged, by type.", "type"
        )
        self.ack_seconds = self._histogram(
            "ack_duration_seconds", "From producing a request's events to the last acknowledgement."
        )
        self.produce_errors = self._counter(
            "produce_errors",
            "Requests that Kafka did not acknowledge, by librdkafka's word for it. Worry above 0.",
            "error",
        )
        self.kafka_up = self._gauge(
            "kafka_up", "1 while Kafka acknowledges, else 0. Worry after minutes."
        )
        self.records = self._counter(
            "records",
            "Records read from the topic of `--from-topic`, by outcome: forwarded, skipped, "
            "rejected. Worry about rejected.",
            "outcome",
        )
        self.transactions = self._counter(
            "transactions", "Transactions of `--from-topic`, by outcome: committed, aborted.",
            "outcome",
        )  # fmt: skip
        self.lag_records = self._gauge(
            "lag_records",
            "Records of that topic's partition that are not forwarded yet.",
            "topic",
            "partition",
        )
        self.build_info = Gauge(
            "wootric_build_info",
            "Always 1; the labels say what runs.",
            ["version"],
            registry=self.registry,
        )
        self.build_info.labels(__version__).set(1)
        for code in ("200", "401", "503"):
            self.requests.labels(code)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"wootric_bridge_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"wootric_bridge_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str) -> Histogram:
        return Histogram(
            f"wootric_bridge_{name}", text, buckets=ANSWER_BUCKETS_S, registry=self.registry
        )
