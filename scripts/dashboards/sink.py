"""Dashboard of requests to Wootric: outcomes, time, limits, circuits."""

from scripts.dashboards.panels import Dashboard, Panel, quantiles, rate

SINK = Dashboard(
    uid="wootric-sink",
    title="Wootric: sink",
    rows=[
        [
            Panel(
                title="Requests, by outcome",
                says="executed: success; throttled and not_executed: retried.",
                unit="reqps",
                queries={"{{outcome}}": rate("wootric_sink_requests_total", "outcome")},
                stacked=True,
            ),
            Panel(
                title="Requests, by code",
                says="HTTP status; none: no reply.",
                unit="reqps",
                queries={"{{code}}": rate("wootric_sink_requests_total", "code")},
                stacked=True,
            ),
            Panel(
                title="Requests, by operation",
                says="Operations, including look-ups.",
                unit="reqps",
                queries={"{{operation}}": rate("wootric_sink_requests_total", "operation")},
                stacked=True,
            ),
        ],
        [
            Panel(
                title="Reply time",
                says="Duration of one request. With p99 near the timeout, requests become in doubt.",
                unit="s",
                queries=quantiles("wootric_sink_request_duration_seconds"),
            ),
            Panel(
                title="Reply time p95, by operation",
                says="Shows which operation is slow.",
                unit="s",
                queries={
                    "{{operation}}": "histogram_quantile(0.95, sum by (le, operation) (rate("
                    "wootric_sink_request_duration_seconds_bucket{$scope}[$__rate_interval])))"
                },
            ),
        ],
        [
            Panel(
                title="In flight",
                says="Deliveries in the sink; at the limit Wootric is the bottleneck.",
                unit="short",
                queries={"{{instance}}": "wootric_sink_in_flight_deliveries{$scope}"},
            ),
            Panel(
                title="Throttled",
                says="Replies that asked to wait. With a growing lag the account's rate limit is too low.",
                unit="reqps",
                queries={
                    "throttled": "sum(rate(wootric_sink_throttled_total{$scope}[$__rate_interval]))"
                },
            ),
            Panel(
                title="Circuits",
                says="1 while nothing is sent.",
                unit="short",
                queries={"{{circuit}}": "max by (circuit) (wootric_sink_circuit_open{$scope})"},
            ),
            Panel(
                title="Circuits opened, by reason",
                says="In the last hour. No series before the first one.",
                unit="short",
                queries={
                    "{{circuit}} {{reason}}": "sum by (circuit, reason) "
                    "(increase(wootric_sink_circuit_opened_total{$scope}[1h]))"
                },
            ),
        ],
        [
            Panel(
                title="Requests per event",
                says="Below 1: merged and unchanged profiles. Above: look-ups and retries.",
                unit="short",
                queries={
                    "requests per event": "sum(rate(wootric_sink_requests_total{$scope}"
                    "[$__rate_interval])) / clamp_min(sum(rate(wootric_records_settled_total"
                    "{$scope}[$__rate_interval])), 0.001)"
                },
            ),
            Panel(
                title="Token renewals",
                says="One in two hours is normal; refused ones open the circuit.",
                unit="short",
                queries={
                    "{{outcome}}": "sum by (outcome) "
                    "(increase(wootric_sink_token_renewals_total{$scope}[1h]))"
                },
            ),
        ],
        [
            Panel(
                title="Concurrency limit",
                says="Decreases while the host is slow or fails; recovers within half a minute.",
                unit="short",
                queries={
                    "{{instance}} {{host}}": "wootric_sink_concurrency_limit{$scope}",
                },
            ),
            Panel(
                title="Remaining quota of the account",
                says="From the last reply that stated it. No series if Wootric does not.",
                unit="short",
                queries={
                    "left": "min(wootric_sink_rate_remaining{$scope})",
                    "of": "max(wootric_sink_rate_limit{$scope})",
                },
            ),
            Panel(
                title="Own rate limit, requests per minute",
                says="The workers' shares of WOOTRIC__REQUESTS_PER_MINUTE; 0 if that is 0.",
                unit="short",
                queries={"{{instance}}": "wootric_sink_rate_share_per_minute{$scope}"},
                stacked=True,
            ),
        ],
        [
            Panel(
                title="Credentials refused",
                says="In the last hour, by OAuth error. No series before the first one.",
                unit="short",
                queries={
                    "{{error}}": "sum by (error) "
                    "(increase(wootric_sink_token_refusals_total{$scope}[1h]))"
                },
            ),
            Panel(
                title="Identity conflicts",
                says="In the last hour, by kind: see docs/explanation/identity.md.",
                unit="short",
                queries={
                    "{{kind}}": "sum by (kind) "
                    "(increase(wootric_identity_conflicts_total{$scope}[1h]))"
                },
            ),
        ],
    ],
)
