"""The group as the lag exporter sees it, whether or not a worker lives."""

from scripts.dashboards.panels import Dashboard, Panel, stat

GROUP = Dashboard(
    uid="wootric-group",
    title="Wootric: the group from outside",
    rows=[
        [
            stat(
                "Members",
                "Members of the group; 0: nobody reads.",
                "short",
                "max(wootric_group_members{$scope})",
            ),
            stat(
                "Lag",
                "Records up to the last stable offset that are not settled.",
                "short",
                "sum(wootric_group_lag_records{$scope})",
            ),
            stat(
                "Measured",
                "Since Kafka last answered the exporter. Worry above 5 minutes.",
                "s",
                "time() - max(wootric_group_measured_timestamp_seconds{$scope})",
                red_above=300,
            ),
            stat(
                "Offsets out of range",
                "Partitions whose committed offset does not exist any more.",
                "short",
                "sum(wootric_group_offset_out_of_range{$scope})",
                red_above=1,
            ),
        ],
        [
            Panel(
                title="Lag in records",
                says="By partition.",
                unit="short",
                queries={"{{partition}}": "wootric_group_lag_records{$scope}"},
            ),
            Panel(
                title="Lag in seconds",
                says="Age of the oldest unsettled record.",
                unit="s",
                queries={"{{partition}}": "wootric_group_lag_seconds{$scope}"},
            ),
        ],
        [
            Panel(
                title="Until retention deletes",
                says="Time until Kafka may delete the oldest unsettled record.",
                unit="s",
                queries={"{{partition}}": "wootric_group_retention_headroom_seconds{$scope} < Inf"},
            ),
            Panel(
                title="Offsets",
                says="First kept, committed, last stable.",
                unit="short",
                queries={
                    "begin {{partition}}": "wootric_group_begin_offset{$scope}",
                    "committed {{partition}}": "wootric_group_committed_offset{$scope}",
                    "end {{partition}}": "wootric_group_end_offset{$scope}",
                },
            ),
        ],
        [
            Panel(
                title="State",
                says="1 for the state that the group is in.",
                unit="short",
                queries={"{{state}}": "max by (state) (wootric_group_state{$scope})"},
            ),
            Panel(
                title="Letters kept",
                says="Offsets that the dead-letter and the parked topic span.",
                unit="short",
                queries={"{{topic}}": "wootric_group_dead_letter_offsets{$scope}"},
            ),
            Panel(
                title="Measurements that failed",
                says="Kafka did not answer.",
                unit="reqps",
                queries={
                    "failed": "sum(rate(wootric_group_measure_failures_total{$scope}"
                    "[$__rate_interval]))"
                },
            ),
        ],
    ],
)
