"""Dashboard of the group, measured by the lag exporter independently of the workers."""

from scripts.dashboards.panels import Dashboard, Panel, stat

GROUP = Dashboard(
    uid="wootric-group",
    title="Wootric: the group from outside",
    rows=[
        [
            stat(
                "Members",
                "Members of the group; at 0 the input is not read.",
                "short",
                "max(wootric_group_members{$scope})",
            ),
            stat(
                "Lag",
                "Unsettled records up to the last stable offset.",
                "short",
                "sum(wootric_group_lag_records{$scope})",
            ),
            stat(
                "Measured",
                "Time since the last measurement. Investigate above 5 minutes.",
                "s",
                "time() - max(wootric_group_measured_timestamp_seconds{$scope})",
                red_above=300,
            ),
            stat(
                "Offsets out of range",
                "Partitions whose committed offset no longer exists.",
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
                says="First, committed and last stable offset.",
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
                title="Behind an open transaction",
                says="Offsets that a transaction of another producer hides. Investigate if the end "
                "offset does not move meanwhile.",
                unit="short",
                queries={"{{partition}}": "wootric_group_blocked_records{$scope}"},
            ),
            Panel(
                title="State",
                says="1 for the group's current state.",
                unit="short",
                queries={"{{state}}": "max by (state) (wootric_group_state{$scope})"},
            ),
            Panel(
                title="Dead letters",
                says="Open: without a note. Kept: the offset range of the dead-letter and the "
                "parked topic.",
                unit="short",
                queries={
                    "open {{topic}}": "wootric_group_dead_letters_open{$scope}",
                    "kept {{topic}}": "wootric_group_dead_letter_offsets{$scope}",
                },
            ),
            Panel(
                title="Oldest open dead letter",
                says="Its age. The topic's retention deletes it.",
                unit="s",
                queries={"{{topic}}": "wootric_group_dead_letters_oldest_seconds{$scope}"},
            ),
            Panel(
                title="Failed measurements",
                says="Kafka did not reply.",
                unit="reqps",
                queries={
                    "failed": "sum(rate(wootric_group_measure_failures_total{$scope}"
                    "[$__rate_interval]))"
                },
            ),
        ],
    ],
)
