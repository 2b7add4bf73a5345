"""The processes: where their time goes."""

from helm.dashboards.panels import Dashboard, Panel, rate

RUNTIME = Dashboard(
    uid="wootric-runtime",
    title="Wootric: runtime",
    rows=[
        [
            Panel(
                title="Where the loop's time goes",
                says="Share of a second that the event loop spends on each step.",
                unit="percentunit",
                queries={"{{state}}": rate("wootric_loop_seconds_total", "state")},
                stacked=True,
            ),
            Panel(
                title="Loop, by worker",
                says="Near 1 the worker is at its limit: add workers.",
                unit="percentunit",
                queries={"{{instance}}": rate("wootric_loop_seconds_total", "instance")},
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
