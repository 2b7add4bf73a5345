"""Requests to Wootric: verdicts, time, limits, circuits."""

from scripts.dashboards.panels import Dashboard, Panel, quantiles, rate

SINK = Dashboard(
    uid="wootric-sink",
    title="Wootric: sink",
    rows=[
        [
            Panel(
                title="Requests, by verdict",
                says="executed is success; throttled and not_executed are sent again.",
                unit="reqps",
                queries={"{{outcome}}": rate("wootric_sink_requests_total", "outcome")},
                stacked=True,
            ),
            Panel(
                title="Requests, by code",
                says="HTTP status; none means no answer.",
                unit="reqps",
                queries={"{{code}}": rate("wootric_sink_requests_total", "code")},
                stacked=True,
            ),
            Panel(
                title="Requests, by operation",
                says="What Wootric is asked to do, look-ups included.",
                unit="reqps",
                queries={"{{operation}}": rate("wootric_sink_requests_total", "operation")},
                stacked=True,
            ),
        ],
        [
            Panel(
                title="Reply time",
                says="Time of one request. p99 near the timeout makes doubts.",
                unit="s",
                queries=quantiles("wootric_sink_request_duration_seconds"),
            ),
            Panel(
                title="Reply time p95, by operation",
                says="Which kind is slow.",
                unit="s",
                queries={
                    "{{operation}}": "histogram_quantile(0.95, sum by (le, operation) (rate("
                    "wootric_sink_request_duration_seconds_bucket{$scope}[$__rate_interval])))"
                },
            ),
        ],
        [
            Panel(
                title="Under way",
                says="Deliveries in the sink; at its limit Wootric is the bound.",
                unit="short",
                queries={"{{instance}}": "wootric_sink_in_flight_deliveries{$scope}"},
            ),
            Panel(
                title="Throttled",
                says="Answers that asked us to wait. With a growing lag: the account's limit.",
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
                says="In the last hour. No series before the first time.",
                unit="short",
                queries={
                    "{{circuit}} {{reason}}": "sum by (circuit, reason) "
                    "(increase(wootric_sink_circuit_opened_total{$scope}[1h]))"
                },
            ),
        ],
        [
            Panel(
                title="Requests an event",
                says="Below 1: merged and unchanged profiles. Above: look-ups and retries.",
                unit="short",
                queries={
                    "requests an event": "sum(rate(wootric_sink_requests_total{$scope}"
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
                title="Requests at once, at most",
                says="Falls while the host is slow or fails, and comes back within half a minute.",
                unit="short",
                queries={
                    "{{instance}} {{host}}": "wootric_sink_concurrency_limit{$scope}",
                },
            ),
            Panel(
                title="Left of the account's rate",
                says="By the last reply that said it. No series if Wootric says nothing.",
                unit="short",
                queries={
                    "left": "min(wootric_sink_rate_remaining{$scope})",
                    "of": "max(wootric_sink_rate_limit{$scope})",
                },
            ),
            Panel(
                title="Own pace, requests a minute",
                says="The workers' parts of WOOTRIC__REQUESTS_PER_MINUTE; 0 without one.",
                unit="short",
                queries={"{{instance}}": "wootric_sink_rate_share_per_minute{$scope}"},
                stacked=True,
            ),
        ],
        [
            Panel(
                title="Credentials refused",
                says="In the last hour, by Wootric's word. No series before the first time.",
                unit="short",
                queries={
                    "{{error}}": "sum by (error) "
                    "(increase(wootric_sink_token_refusals_total{$scope}[1h]))"
                },
            ),
            Panel(
                title="Identities that clashed",
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
