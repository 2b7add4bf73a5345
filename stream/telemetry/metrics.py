"""Catalogue of metrics: meaning, unit, and the values that need attention."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

from sink.delivery import Conflict
from stream import __version__
from stream.bridge.payload import STATUS
from stream.telemetry.log_events import EVENTS
from stream.telemetry.process import certificate_gauge, memory_limit_gauge

REQUEST_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
TRANSACTION_BUCKETS_S = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
END_TO_END_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 900, 3600)
LOOP_LAG_BUCKETS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

KAFKA_UP = "1 while Kafka answers about every partition, otherwise 0. Investigate 0 after minutes."
LOOP_STATES = ("admit", "checkpoint", "settle", "other", "idle")
RESOLUTIONS = ("delivered", "skipped", "rejected", "parked", "in_doubt", "deferred")


class Metrics:
    """All metrics of a worker and its process, in a separate registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.memory_limit = memory_limit_gauge(self.registry)
        self.certificates = certificate_gauge(self.registry)
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
            self.circuit_open.labels(circuit, "").set(0)
        for resolution in RESOLUTIONS:
            self.in_doubt_checks.labels(resolution)
        for start in ("cold", "warm"):
            self.restores.labels(start)
        for renewal in ("granted", "refused"):
            self.tokens.labels(renewal)
        for kind in Conflict:
            self.identity_conflicts.labels(kind.value)
        for event in EVENTS:
            if event.level == "error":
                self.log_events.labels(event.name, event.level)

    def _describe_flow(self) -> None:
        self.records_consumed = self._counter(
            "records_consumed", "Records read from the input.", "topic", "partition"
        )
        self.bytes_consumed = self._counter(
            "records_consumed_bytes", "Bytes of the values of the records read.", "topic"
        )
        self.records_settled = self._counter(
            "records_settled",
            "Records settled in a committed transaction, by outcome: delivered, skipped, "
            "rejected, parked, duplicate. Investigate rejected and parked.",
            "outcome",
            "reason",
        )
        self.records_relinquished = self._counter(
            "records_relinquished",
            "Records left unsettled when their partition moved to another owner.",
        )
        self.records_in_flight = self._gauge(
            "records_in_flight",
            "Records read but not settled yet: consumed - settled - relinquished.",
        )
        self.records_in_flight_limit = self._gauge(
            "records_in_flight_limit", "Records in flight at which fetching is paused."
        )
        self.bytes_in_flight = self._gauge(
            "records_in_flight_bytes", "Bytes of the records in flight."
        )
        self.bytes_in_flight_limit = self._gauge(
            "records_in_flight_bytes_limit",
            "Bytes of records in flight at which fetching is paused.",
        )
        self.records_unaccounted = self._gauge(
            "records_unaccounted",
            "Consumed - settled - relinquished - in flight. Always 0; any other value is a bug: "
            "report it.",
        )
        self.invalid_fields = self._counter(
            "invalid_fields",
            "Values of events that cannot be used and were left out.",
            "note",
        )
        self.end_to_end = self._histogram(
            "end_to_end_latency_seconds",
            "Seconds from the record's timestamp to Wootric's reply.",
            END_TO_END_BUCKETS_S,
        )

    def _describe_consumer(self) -> None:
        self.lag_records = self._gauge(
            "consumer_lag_records",
            "Unsettled records up to the last stable offset; 0 when caught up.",
            "topic",
            "partition",
        )
        self.lag_seconds = self._gauge(
            "consumer_lag_seconds",
            "Age of the oldest unsettled record; 0 when caught up.",
            "topic",
            "partition",
        )
        self.partitions = self._gauge(
            "consumer_assigned_partitions", "Partitions that this worker owns."
        )
        self.partitions_halted = self._gauge(
            "consumer_halted_partitions",
            "Partitions that are paused until an operator acts. Should be 0.",
            "reason",
        )
        self.rebalances = self._counter(
            "consumer_rebalances", "Rebalances, by event: assigned, revoked, lost.", "event"
        )
        self.committed_offset = self._gauge(
            "consumer_committed_offset",
            "Offset in the last committed transaction.",
            "topic",
            "partition",
        )
        self.position = self._gauge(
            "consumer_position_offset", "Next offset to read.", "topic", "partition"
        )
        self.end_offset = self._gauge(
            "partition_end_offset", "Last stable offset.", "topic", "partition"
        )
        self.blocked_records = self._gauge(
            "consumer_blocked_records",
            "Offsets behind the last stable one: an open transaction hides them. Investigate if "
            "the last stable offset does not move for minutes.",
            "topic",
            "partition",
        )
        self.headroom = self._gauge(
            "consumer_retention_headroom_seconds",
            "Seconds until retention.ms may delete the oldest unsettled record; +Inf without such "
            "a limit. Investigate below a few hours.",
            "topic",
            "partition",
        )
        self.paused = self._gauge(
            "consumer_paused",
            "1 while the operator pauses the partition, otherwise 0. Its lag grows by intention.",
            "topic",
            "partition",
        )
        self.of_partitions = (
            self.lag_records,
            self.lag_seconds,
            self.committed_offset,
            self.position,
            self.end_offset,
            self.blocked_records,
            self.headroom,
            self.paused,
        )
        self.polled = self._gauge(
            "consumer_last_poll_timestamp_seconds", "Unix time of the last poll."
        )
        self.kafka_up = self._gauge("kafka_up", KAFKA_UP)

    def _describe_sink(self) -> None:
        self.requests = self._counter(
            "sink_requests",
            "Requests to Wootric, by operation, outcome and HTTP status (none: no reply).",
            "operation",
            "outcome",
            "code",
        )
        self.request_seconds = self._histogram(
            "sink_request_duration_seconds",
            "Duration of one request.",
            REQUEST_BUCKETS_S,
            "operation",
        )
        self.requests_in_flight = self._gauge(
            "sink_in_flight_deliveries", "Deliveries in progress in the sink."
        )
        self.throttled = self._counter(
            "sink_throttled", "Replies that asked to wait (429, 503 with Retry-After)."
        )
        self.circuit_open = self._gauge(
            "sink_circuit_open",
            "1 while nothing is sent because Wootric refuses requests or does not reply. "
            "Investigate after minutes.",
            "circuit",
            "reason",
        )
        self.circuit_opened = self._counter(
            "sink_circuit_opened", "Times that a circuit opened, by reason.", "circuit", "reason"
        )
        self.tokens = self._counter(
            "sink_token_renewals",
            "Requests for an access token, by outcome: granted, refused.",
            "outcome",
        )
        self.concurrency_limit = self._gauge(
            "sink_concurrency_limit",
            "Limit of concurrent requests; decreases while the host is slow or fails.",
            "host",
        )
        self.rate_remaining = self._gauge(
            "sink_rate_remaining",
            "Remaining requests of the account's quota, from the last reply that stated it.",
            "host",
        )
        self.rate_limit = self._gauge(
            "sink_rate_limit",
            "Limit of the account's quota, from the last reply that stated it.",
            "host",
        )
        self.rate_limited = self._gauge(
            "sink_rate_limited",
            "1 while the account's rate limit lets no request start, otherwise 0. Its average is "
            "the share of the limit that is used.",
        )
        self.rate_share = self._gauge(
            "sink_rate_share_per_minute",
            "This worker's share of WOOTRIC__REQUESTS_PER_MINUTE; 0 if that is 0.",
        )
        self.token_refusals = self._counter(
            "sink_token_refusals",
            "Times that Wootric refused the credentials, by OAuth error. Should be 0.",
            "error",
        )
        self.identity_conflicts = self._counter(
            "identity_conflicts", "Conflicts between identities of end users, by kind.", "kind"
        )

    def _describe_guarantee(self) -> None:
        self.transactions = self._counter(
            "transactions", "Transactions, by outcome: committed, aborted.", "outcome"
        )
        self.transaction_seconds = self._histogram(
            "transaction_duration_seconds", "Duration of one transaction.", TRANSACTION_BUCKETS_S
        )
        self.in_doubt = self._gauge(
            "in_doubt_records",
            "Events whose request may or may not have been executed.",
        )
        self.in_doubt_age = self._gauge(
            "in_doubt_oldest_seconds", "Seconds for which the oldest request has been in doubt."
        )
        self.ambiguous = self._counter(
            "ambiguous_outcomes",
            "Attempts that ended without evidence of their effect.",
            "operation",
        )
        self.in_doubt_checks = self._counter(
            "in_doubt_checks",
            "Checks of requests in doubt, by result; in_doubt and deferred are not resolved yet.",
            "result",
        )
        self.ledger_entries = self._gauge(
            "ledger_entries",
            "Keys of the ledger in the state stores; an estimate if STATE__DIR is set.",
        )
        self.restores = self._counter(
            "restores",
            "Restores of a partition's ledger: cold (read completely) or warm (only what the store "
            "on disk lacked).",
            "start",
        )
        self.restore_seconds = self._gauge(
            "restore_duration_seconds", "Duration of the last restore of a partition's ledger."
        )
        self.restored_at = self._gauge(
            "restore_timestamp_seconds", "Unix time at which the last restore ended."
        )
        self.restore_left = self._gauge(
            "restore_remaining_records",
            "Records of the ledger that restores in progress have yet to read.",
        )
        self.state_bytes = self._gauge(
            "state_disk_bytes", "Disk usage of the stores under STATE__DIR."
        )

    def _describe_process(self) -> None:
        self.event_loop_seconds = self._counter(
            "event_loop_seconds",
            "Time of the event loop, by state; the states add up to the elapsed time.",
            "state",
        )
        self.loop_lag = self._histogram(
            "event_loop_lag_seconds",
            "Delay of the event loop's timers. Investigate above 0.1.",
            LOOP_LAG_BUCKETS_S,
        )
        self.log_events = self._counter(
            "log_events", "Log lines by event, including suppressed ones.", "event", "level"
        )
        self.config_info = self._gauge(
            "config_info",
            "Always 1; `hash` is a hash of the settings without secrets and instance id. It should "
            "be the same for all workers of a group.",
            "hash",
        )
        self.build_info = self._gauge(
            "build_info", "Always 1; `version` is the running version.", "version"
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


# Metrics of the bridge


ANSWER_BUCKETS_S = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class BridgeMetrics:
    """All metrics of a bridge and its process, in a separate registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.memory_limit = memory_limit_gauge(self.registry)
        self.certificates = certificate_gauge(self.registry)
        self.requests = self._counter(
            "requests",
            "Responses of the webhook, by HTTP status. Investigate 401 and 503.",
            "code",
        )
        self.request_seconds = self._histogram(
            "request_duration_seconds", "Seconds from a request's head to its response."
        )
        self.requests_in_flight = self._gauge("in_flight_requests", "Requests in flight.")
        self.bytes_in_flight = self._gauge("in_flight_bytes", "Bytes of the requests in flight.")
        self.refused = self._counter(
            "refused", "Requests that were rejected, by reason, including those with 503.", "reason"
        )
        self.connections_closed = self._counter(
            "connections_closed",
            "Connections that the bridge closed, by cause: capacity (too many of an address, or in "
            "all), refusals (too many refused requests of the address), slow_head, long_head.",
            "cause",
        )
        self.events_accepted = self._counter(
            "events_accepted", "Events that Kafka acknowledged, by type.", "type"
        )
        self.events_rejected = self._counter(
            "events_rejected",
            "Events of accepted requests that became dead letters, by reason. Investigate any.",
            "reason",
        )
        self.ack_seconds = self._histogram(
            "ack_duration_seconds",
            "Seconds from producing a request's events to the last acknowledgement.",
        )
        self.produce_errors = self._counter(
            "produce_errors",
            "Requests whose events Kafka did not acknowledge, by librdkafka's error. Should be 0.",
            "error",
        )
        self.kafka_up = self._gauge(
            "kafka_up", "1 while Kafka acknowledges, otherwise 0. Investigate 0 after minutes."
        )
        self.records = self._counter(
            "records",
            "Records read from the topic of `--from-topic`, by outcome: forwarded, skipped, "
            "rejected. Investigate rejected.",
            "outcome",
        )
        self.transactions = self._counter(
            "transactions", "Transactions of `--from-topic`, by outcome: committed, aborted.",
            "outcome",
        )  # fmt: skip
        self.lag_records = self._gauge(
            "lag_records",
            "Records of the `--from-topic` topic that are not forwarded yet.",
            "topic",
            "partition",
        )
        self.build_info = Gauge(
            "wootric_build_info",
            "Always 1; `version` is the running version.",
            ["version"],
            registry=self.registry,
        )
        self.build_info.labels(__version__).set(1)
        for code in {200, 500, *STATUS.values()}:
            self.requests.labels(str(code))
        for refusal in STATUS:
            self.refused.labels(refusal)
        for cause in ("capacity", "refusals", "slow_head", "long_head"):
            self.connections_closed.labels(cause)
        for reason in ("invalid_event", "too_large"):
            self.events_rejected.labels(reason)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"wootric_bridge_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"wootric_bridge_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str) -> Histogram:
        return Histogram(
            f"wootric_bridge_{name}", text, buckets=ANSWER_BUCKETS_S, registry=self.registry
        )
