"""Dashboard of the processes: time, memory, log lines."""

from scripts.dashboards.panels import Dashboard, Panel, quantiles, rate

RUNTIME = Dashboard(
    uid="wootric-runtime",
    title="Wootric: runtime",
    rows=[
        [
            Panel(
                title="Event loop time, by state",
                says="Share of time that the event loop spends in each state.",
                unit="percentunit",
                queries={"{{state}}": rate("wootric_event_loop_seconds_total", "state")},
                stacked=True,
            ),
            Panel(
                title="Loop, by worker",
                says="Near 1 the worker is saturated: add workers.",
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
                says="Delay of the event loop. Above 0.5 s requests may miss their lease.",
                unit="s",
                queries=quantiles("wootric_event_loop_lag_seconds"),
            ),
            Panel(
                title="In flight, share of the limit",
                says="At 1, by number or by bytes, a worker pauses fetching.",
                unit="percentunit",
                queries={
                    "{{instance}} by number": "wootric_records_in_flight{$scope} "
                    "/ wootric_records_in_flight_limit{$scope}",
                    "{{instance}} by bytes": "wootric_records_in_flight_bytes{$scope} "
                    "/ wootric_records_in_flight_bytes_limit{$scope}",
                },
            ),
            Panel(
                title="Time since the last poll",
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
                says="By generation; generation 2 briefly stops the loop.",
                unit="short",
                queries={"{{generation}}": rate("python_gc_collections_total", "generation")},
            ),
        ],
        [
            Panel(
                title="Warnings and errors logged",
                says="Warnings and errors, by event.",
                unit="short",
                queries={
                    "{{level}} {{event}}": "sum by (level, event) "
                    "(increase(wootric_log_events_total{$scope}[1h]))"
                },
            ),
            Panel(
                title="Settings",
                says="Workers by the hash of their settings: two during a rollout.",
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
                says="A slow scrape indicates a busy event loop.",
                unit="s",
                queries={"{{instance}}": "scrape_duration_seconds{$scope}"},
            ),
        ],
    ],
)
