"""Partition by partition: how far behind, whose, halted or not."""

from scripts.dashboards.panels import Dashboard, Panel, rate

PARTITIONS = Dashboard(
    uid="wootric-partitions",
    title="Wootric: partitions",
    rows=[
        [
            Panel(
                title="Lag in records",
                says="Records up to the last stable offset that are not settled.",
                unit="short",
                queries={
                    "{{partition}}": "max by (topic, partition) "
                    "(wootric_consumer_lag_records{$scope})"
                },
            ),
            Panel(
                title="Lag in seconds",
                says="Age of the oldest record that is not settled.",
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
                says="One that stands out has a few keys with most of the traffic.",
                unit="reqps",
                queries={"{{partition}}": rate("wootric_records_consumed_total", "partition")},
            ),
            Panel(
                title="Owner",
                says="Which worker reports a partition's lag: its owner.",
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
                says="Time until Kafka may delete the oldest unsettled record. Worry below a day.",
                unit="s",
                queries={
                    "{{partition}}": "min by (topic, partition) "
                    "(wootric_consumer_retention_headroom_seconds{$scope} < Inf)"
                },
            ),
            Panel(
                title="Offsets",
                says="What is committed, what is read next, and the last stable offset.",
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
                title="Bytes consumed",
                says="Values of the records read.",
                unit="Bps",
                queries={"{{topic}}": rate("wootric_records_consumed_bytes_total", "topic")},
            ),
        ],
        [
            Panel(
                title="Partitions, by worker",
                says="Uneven for a moment at a rebalance; 0 for workers beyond the partitions.",
                unit="short",
                queries={"{{instance}}": "wootric_consumer_assigned_partitions{$scope}"},
            ),
            Panel(
                title="Halted, by reason",
                says="Partitions that stand still. No series until the first one halts.",
                unit="short",
                queries={
                    "{{reason}}": "sum by (reason) (wootric_consumer_halted_partitions{$scope})"
                },
            ),
            Panel(
                title="Last restore",
                says="Time to read a partition's ledger; it stands still meanwhile.",
                unit="s",
                queries={"{{instance}}": "wootric_restore_duration_seconds{$scope}"},
            ),
        ],
        [
            Panel(
                title="Restores under way",
                says="Records of the ledger that are still to be read.",
                unit="short",
                queries={"{{instance}}": "wootric_restore_remaining_records{$scope}"},
            ),
            Panel(
                title="Restores",
                says="Warm ones read what a store on disk does not have, cold ones all.",
                unit="reqps",
                queries={"{{start}}": rate("wootric_restores_total", "start")},
            ),
        ],
    ],
)
