"""What one looks at first: is it healthy, and if not, where."""

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
                "Furthest behind",
                "Age of the oldest unsettled record. Worry above 5 minutes.",
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
                "Consumed less settled, relinquished and in flight. Anything but 0 is a defect.",
                "short",
                "sum(abs(instance:wootric_records_unaccounted{$scope}))",
                red_above=1,
            ),
            stat(
                "In doubt",
                "Events whose request may have been executed. They resolve by themselves.",
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
                says="Records read against records settled. In above out: the lag grows.",
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
                says="Lag over how much faster we are than what comes in; shown only while we are.",
                unit="s",
                queries={
                    "to drain": "sum(job:wootric_lag_records:sum{$scope}) / clamp_min(sum("
                    "job_outcome:wootric_records_settled:rate5m{$scope}) - sum("
                    "job:wootric_records_consumed:rate5m{$scope}) + 0.001, 0.001)"
                },
            ),
            Panel(
                title="From record to Wootric",
                says="From the record's time to Wootric's answer. Old ones count with their age.",
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
                says="Partitions given and taken. Bursts at rollouts are normal.",
                unit="reqps",
                queries={"{{event}}": rate("wootric_consumer_rebalances_total", "event")},
            ),
            Panel(
                title="Versions",
                says="Workers by version: two for the time of a rollout.",
                unit="short",
                queries={"{{version}}": "count by (version) (wootric_build_info{$scope})"},
            ),
        ],
    ],
)
