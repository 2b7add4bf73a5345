"""The bridge: what Segment sends and what becomes of it."""

from scripts.dashboards.panels import Dashboard, Panel, quantiles, rate, stat

BRIDGE = Dashboard(
    uid="wootric-bridge",
    title="Wootric: bridge",
    rows=[
        [
            stat(
                "Kafka unavailable",
                "Above 0 Segment is told 503 and keeps its events.",
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
                "Under way",
                "Requests that wait for Kafka.",
                "short",
                "sum(wootric_bridge_in_flight_requests{$scope})",
            ),
        ],
        [
            Panel(
                title="Answers, by code",
                says="200 once Kafka has every event; 401 a wrong signature; 503 try again.",
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
                title="Refused, by reason",
                says="Requests that were not taken. No series before the first.",
                unit="reqps",
                queries={"{{reason}}": rate("wootric_bridge_refused_total", "reason")},
                stacked=True,
            ),
        ],
        [
            Panel(
                title="Time to answer",
                says="Segment gives up after 5 s.",
                unit="s",
                queries=quantiles("wootric_bridge_request_duration_seconds"),
            ),
            Panel(
                title="Time to acknowledge",
                says="Kafka's share of it.",
                unit="s",
                queries=quantiles("wootric_bridge_ack_duration_seconds"),
            ),
            Panel(
                title="Bytes under way",
                says="At the limit the bridge says 503.",
                unit="bytes",
                queries={"{{instance}}": "wootric_bridge_in_flight_bytes{$scope}"},
            ),
        ],
        [
            Panel(
                title="Not acknowledged, by error",
                says="Kafka's word for it. No series before the first.",
                unit="reqps",
                queries={"{{error}}": rate("wootric_bridge_produce_errors_total", "error")},
            ),
            Panel(
                title="Connections refused",
                says="Closed at once, because there were too many.",
                unit="reqps",
                queries={
                    "{{instance}}": rate("wootric_bridge_connections_refused_total", "instance")
                },
            ),
        ],
        [
            Panel(
                title="From a topic: records",
                says="Of bridge --from-topic, by outcome.",
                unit="reqps",
                queries={"{{outcome}}": rate("wootric_bridge_records_total", "outcome")},
            ),
            Panel(
                title="From a topic: transactions",
                says="Of bridge --from-topic, by outcome.",
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
