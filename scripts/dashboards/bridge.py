"""Dashboard of the bridge."""

from scripts.dashboards.panels import Dashboard, Panel, quantiles, rate, stat

BRIDGE = Dashboard(
    uid="wootric-bridge",
    title="Wootric: bridge",
    rows=[
        [
            stat(
                "Kafka unavailable",
                "Above 0, Segment receives 503 and retries later.",
                "short",
                "max(1 - wootric_bridge_kafka_up{$scope})",
                red_above=1,
            ),
            stat(
                "Accepted, last day",
                "Events that Kafka acknowledged.",
                "short",
                "sum(increase(wootric_bridge_events_accepted_total{$scope}[1d]))",
            ),
            stat(
                "In flight",
                "Requests waiting for Kafka.",
                "short",
                "sum(wootric_bridge_in_flight_requests{$scope})",
            ),
        ],
        [
            Panel(
                title="Responses, by code",
                says="200: Kafka has every event; 401: wrong signature; 503: retry later.",
                unit="reqps",
                queries={"{{code}}": rate("wootric_bridge_requests_total", "code")},
                stacked=True,
            ),
            Panel(
                title="Accepted, by type",
                says="Events that Kafka acknowledged.",
                unit="reqps",
                queries={"{{type}}": rate("wootric_bridge_events_accepted_total", "type")},
                stacked=True,
            ),
            Panel(
                title="Rejected, by reason",
                says="Rejected requests. No series before the first one.",
                unit="reqps",
                queries={"{{reason}}": rate("wootric_bridge_refused_total", "reason")},
                stacked=True,
            ),
            Panel(
                title="Dead letters, by reason",
                says="Events of accepted requests that break a rule of Segment.",
                unit="reqps",
                queries={"{{reason}}": rate("wootric_bridge_events_rejected_total", "reason")},
                stacked=True,
            ),
        ],
        [
            Panel(
                title="Response time",
                says="Segment times out after 5 s.",
                unit="s",
                queries=quantiles("wootric_bridge_request_duration_seconds"),
            ),
            Panel(
                title="Time to acknowledge",
                says="Part of the response time spent waiting for Kafka.",
                unit="s",
                queries=quantiles("wootric_bridge_ack_duration_seconds"),
            ),
            Panel(
                title="Bytes in flight",
                says="At the limit the bridge responds with 503.",
                unit="bytes",
                queries={"{{instance}}": "wootric_bridge_in_flight_bytes{$scope}"},
            ),
        ],
        [
            Panel(
                title="Not acknowledged, by error",
                says="By librdkafka's error. No series before the first one.",
                unit="reqps",
                queries={"{{error}}": rate("wootric_bridge_produce_errors_total", "error")},
            ),
            Panel(
                title="Connections closed, by cause",
                says="By a bound of the bridge: too many of an address or in all, too many refused "
                "requests, a head that is late or too long.",
                unit="reqps",
                queries={"{{cause}}": rate("wootric_bridge_connections_closed_total", "cause")},
            ),
        ],
        [
            Panel(
                title="From a topic: records",
                says="Of `bridge --from-topic`, by outcome.",
                unit="reqps",
                queries={"{{outcome}}": rate("wootric_bridge_records_total", "outcome")},
            ),
            Panel(
                title="From a topic: transactions",
                says="Of `bridge --from-topic`, by outcome.",
                unit="reqps",
                queries={"{{outcome}}": rate("wootric_bridge_transactions_total", "outcome")},
            ),
            Panel(
                title="From a topic: lag",
                says="Records that are not forwarded yet.",
                unit="short",
                queries={"{{partition}}": "wootric_bridge_lag_records{$scope}"},
            ),
        ],
    ],
)
