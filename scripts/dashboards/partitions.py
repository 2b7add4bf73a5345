"""Dashboard of the partitions: lag, owner, pauses."""

from scripts.dashboards.panels import Dashboard, Panel, rate

PARTITIONS = Dashboard(
    uid="wootric-partitions",
    title="Wootric: partitions",
    rows=[
        [
            Panel(
                title="Lag in records",
                says="Unsettled records up to the last stable offset.",
                unit="short",
                queries={
                    "{{partition}}": "max by (topic, partition) "
                    "(wootric_consumer_lag_records{$scope})"
                },
            ),
            Panel(
                title="Lag in seconds",
                says="Age of the oldest unsettled record.",
                unit="s",
                queries={
                    "{{partition}}": "max by (topic, partition) "
                    "(wootric_consumer_lag_seconds{$scope})"
                },
            ),
        ],
        [
            Panel(
                title="Consumed, by partition",
                says="An outlier has a few keys with most of the traffic.",
                unit="reqps",
                queries={"{{partition}}": rate("wootric_records_consumed_total", "partition")},
            ),
            Panel(
                title="Owner",
                says="The worker that reports a partition's lag, which is its owner.",
                unit="short",
                kind="table",
                queries={
                    "": "max by (topic, partition, instance) (wootric_consumer_lag_records{$scope})"
                },
            ),
        ],
        [
            Panel(
                title="Until retention deletes",
                says="Time until Kafka may delete the oldest unsettled record. Investigate below a day.",
                unit="s",
                queries={
                    "{{partition}}": "min by (topic, partition) "
                    "(wootric_consumer_retention_headroom_seconds{$scope} < Inf)"
                },
            ),
            Panel(
                title="Offsets",
                says="Committed offset, next offset to read, and last stable offset.",
                unit="short",
                queries={
                    "committed {{partition}}": "max by (partition) "
                    "(wootric_consumer_committed_offset{$scope})",
                    "read {{partition}}": "max by (partition) "
                    "(wootric_consumer_position_offset{$scope})",
                    "end {{partition}}": "max by (partition) "
                    "(wootric_partition_end_offset{$scope})",
                },
            ),
            Panel(
                title="Behind an open transaction",
                says="Offsets that a transaction of another producer hides. Investigate if the end "
                "offset does not move meanwhile.",
                unit="short",
                queries={
                    "{{partition}}": "max by (topic, partition) "
                    "(wootric_consumer_blocked_records{$scope})"
                },
            ),
            Panel(
                title="Bytes consumed",
                says="Values of the records read.",
                unit="Bps",
                queries={"{{topic}}": rate("wootric_records_consumed_bytes_total", "topic")},
            ),
        ],
        [
            Panel(
                title="Partitions, by worker",
                says="Briefly uneven during a rebalance; 0 for surplus workers.",
                unit="short",
                queries={"{{instance}}": "wootric_consumer_assigned_partitions{$scope}"},
            ),
            Panel(
                title="Halted, by reason",
                says="Paused partitions. No series before the first one.",
                unit="short",
                queries={
                    "{{reason}}": "sum by (reason) (wootric_consumer_halted_partitions{$scope})"
                },
            ),
            Panel(
                title="Last restore",
                says="Time to read a partition's ledger; the partition is not processed during it.",
                unit="s",
                queries={"{{instance}}": "wootric_restore_duration_seconds{$scope}"},
            ),
        ],
        [
            Panel(
                title="Restores in progress",
                says="Records of the ledger that remain to be read.",
                unit="short",
                queries={"{{instance}}": "wootric_restore_remaining_records{$scope}"},
            ),
            Panel(
                title="Restores",
                says="Warm: read only what the store on disk lacks. Cold: read everything.",
                unit="reqps",
                queries={"{{start}}": rate("wootric_restores_total", "start")},
            ),
        ],
    ],
)
