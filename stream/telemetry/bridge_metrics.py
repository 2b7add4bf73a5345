"""The catalogue of the bridge's metrics: what each counts, its unit, and when to worry."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from stream import __version__

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
        self.kafka_away = self._gauge(
            "kafka_away", "1 while Kafka does not acknowledge. Worry after minutes."
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
