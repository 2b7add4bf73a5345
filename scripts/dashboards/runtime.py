"""The processes: where their time goes."""

from scripts.dashboards.panels import Dashboard, Panel, quantiles, rate

RUNTIME = Dashboard(
    uid="wootric-runtime",
    title="Wootric: runtime",
    rows=[
        [
            Panel(
                title="Where the loop's time goes",
                says="Share of a second that the event loop spends on each step.",
                unit="percentunit",
                queries={"{{state}}": rate("wootric_event_loop_seconds_total", "state")},
                stacked=True,
            ),
            Panel(
                title="Loop, by worker",
                says="Near 1 the worker is at its limit: add workers.",
                unit="percentunit",
                queries={
                    "{{instance}}": rate(
                        "wootric_event_loop_seconds_total", "instance", 'state!="idle"'
                    )
                },
            ),
        ],
        [
            Panel(
                title="Loop lag",
                says="How late the event loop comes. Above half a second the lease suffers.",
                unit="s",
                queries=quantiles("wootric_event_loop_lag_seconds"),
            ),
            Panel(
                title="Room for records",
                says="In flight over the limit; at 1 of either a worker reads no further.",
                unit="percentunit",
                queries={
                    "{{instance}} by number": "wootric_records_in_flight{$scope} "
                    "/ wootric_records_in_flight_limit{$scope}",
                    "{{instance}} by bytes": "wootric_records_in_flight_bytes{$scope} "
                    "/ wootric_records_in_flight_bytes_limit{$scope}",
                },
            ),
            Panel(
                title="Since the group was polled",
                says="Above 60 s the liveness probe fails.",
                unit="s",
                queries={
                    "{{instance}}": "time() - wootric_consumer_last_poll_timestamp_seconds{$scope}"
                },
            ),
        ],
        [
            Panel(
                title="CPU",
                says="Cores in use; a worker cannot use much more than one.",
                unit="short",
                queries={"{{instance}}": rate("process_cpu_seconds_total", "instance")},
            ),
            Panel(
                title="Memory",
                says="Resident set; grows with the ledger's entries.",
                unit="bytes",
                queries={"{{instance}}": "process_resident_memory_bytes{$scope}"},
            ),
            Panel(
                title="Garbage collections",
                says="By generation; generation 2 stops the loop for a moment.",
                unit="short",
                queries={"{{generation}}": rate("python_gc_collections_total", "generation")},
            ),
        ],
        [
            Panel(
                title="Log lines worth a look",
                says="Warnings and errors, by event.",
                unit="short",
                queries={
                    "{{level}} {{event}}": "sum by (level, event) "
                    "(increase(wootric_log_events_total{$scope}[1h]))"
                },
            ),
            Panel(
                title="Settings",
                says="Workers by the hash of their settings: two for the time of a rollout.",
                unit="short",
                queries={"{{hash}}": "count by (hash) (wootric_config_info{$scope})"},
            ),
        ],
        [
            Panel(
                title="Scrapes",
                says="1 while Prometheus reaches the pod.",
                unit="short",
                queries={"{{instance}}": "up{$scope}"},
            ),
            Panel(
                title="Scrape time",
                says="A slow scrape is a busy loop.",
                unit="s",
                queries={"{{instance}}": "scrape_duration_seconds{$scope}"},
            ),
        ],
    ],
)
