"""Dashboard for on-call: overall health and the location of problems."""

from scripts.dashboards.panels import Dashboard, Panel, quantiles, rate, stat

ON_CALL = Dashboard(
    uid="wootric-oncall",
    title="Wootric: on call",
    rows=[
        [
            stat(
                "Fresh, last hour",
                "Partition time less than 5 minutes behind. The objective is 99.9 %.",
                "percentunit",
                "1 - max(job:wootric_stale:ratio_1h{$scope})",
            ),
            stat(
                "Maximum lag",
                "Age of the oldest unsettled record. Investigate above 5 minutes.",
                "s",
                "max(wootric_consumer_lag_seconds{$scope})",
                red_above=300,
            ),
            stat(
                "Circuits open",
                "Above 0 nothing is sent: credentials, account or network. See /status.",
                "short",
                "sum(max by (circuit) (wootric_sink_circuit_open{$scope}))",
                red_above=1,
            ),
            stat(
                "Unaccounted records",
                "Consumed - settled - relinquished - in flight. Any value except 0 is a bug.",
                "short",
                "sum(abs(instance:wootric_records_unaccounted{$scope}))",
                red_above=1,
            ),
            stat(
                "In doubt",
                "Events whose request may have been executed. They are resolved automatically.",
                "short",
                "sum(wootric_in_doubt_records{$scope})",
                red_above=100,
            ),
            stat(
                "Workers",
                "Workers that are scraped.",
                "short",
                "count(wootric_consumer_assigned_partitions{$scope})",
            ),
        ],
        [
            Panel(
                title="Behind, by partition",
                says="Age of each partition's oldest unsettled record; 0 when caught up.",
                unit="s",
                queries={
                    "{{partition}}": "max by (topic, partition) "
                    "(wootric_consumer_lag_seconds{$scope})"
                },
            ),
            Panel(
                title="In and out",
                says="Records read and records settled. If more are read, the lag grows.",
                unit="reqps",
                queries={
                    "consumed": "sum(job:wootric_records_consumed:rate5m{$scope})",
                    "{{outcome}}": "sum by (outcome) "
                    "(job_outcome:wootric_records_settled:rate5m{$scope})",
                },
            ),
        ],
        [
            Panel(
                title="Time to drain",
                says="Lag divided by the rate at which it decreases; empty while it does not.",
                unit="s",
                queries={
                    "to drain": "sum(job:wootric_lag_records:sum{$scope}) / clamp_min(sum("
                    "job_outcome:wootric_records_settled:rate5m{$scope}) - sum("
                    "job:wootric_records_consumed:rate5m{$scope}) + 0.001, 0.001)"
                },
            ),
            Panel(
                title="From record to Wootric",
                says="From the record's timestamp to Wootric's reply. Old records count with their age.",
                unit="s",
                queries=quantiles("wootric_end_to_end_latency_seconds"),
            ),
            Panel(
                title="Rejected and parked, by reason",
                says="Dead letters and parked events. docs/reference/reasons.md explains each.",
                unit="reqps",
                queries={
                    "{{outcome}} {{reason}}": rate(
                        "wootric_records_settled_total",
                        "outcome, reason",
                        'outcome=~"rejected|parked"',
                    )
                },
                stacked=True,
            ),
        ],
        [
            Panel(
                title="Rebalances",
                says="Partitions assigned and revoked. Bursts during rollouts are normal.",
                unit="reqps",
                queries={"{{event}}": rate("wootric_consumer_rebalances_total", "event")},
            ),
            Panel(
                title="Versions",
                says="Workers by version: two during a rollout.",
                unit="short",
                queries={"{{version}}": "count by (version) (wootric_build_info{$scope})"},
            ),
        ],
    ],
)
