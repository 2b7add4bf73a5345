"""Worlds in which all rules run: what is firing then, and nothing else.

The series are whole, with job and instance, since several installations stand in one world.
"""

from dataclasses import dataclass

Firing = frozenset[str]
"""`name severity` of the alerts that fire, but for the watchdog."""
OF = 'namespace="s",job="j",instance='
PARTITION = f'{OF}"w-0",topic="t",partition="0"'

LIMITED = "limited by its own pace, without a 429, and the lag grows without end"


@dataclass(frozen=True, slots=True)
class World:
    """Series by name, and what fires after so many minutes."""

    series: dict[str, str]
    firing: dict[int, Firing]


def alerts(*names: str) -> Firing:
    return frozenset(names)


def assigned(count: int, instance: str = "w-0", steps: int = 240) -> dict[str, str]:
    return {f'wootric_consumer_assigned_partitions{{{OF}"{instance}"}}': f"{count}x{steps}"}


WORLDS = {
    "everything is paused by an operator, and events wait in memory": World(
        {
            f"wootric_consumer_paused{{{PARTITION}}}": "0x10 1x230",
            f'wootric_consumer_halted_partitions{{{OF}"w-0",reason="paused"}}': "0x10 1x230",
            f"wootric_consumer_lag_records{{{PARTITION}}}": "0x10 0+500x230",
            f"wootric_consumer_lag_seconds{{{PARTITION}}}": "0x10 0+60x230",
            f"wootric_consumer_retention_headroom_seconds{{{PARTITION}}}": "32000x10 32000-60x230",
            f'wootric_records_in_flight{{{OF}"w-0"}}': "0x10 9900x230",
            f'wootric_records_in_flight_limit{{{OF}"w-0"}}': "10000x240",
            f"wootric_records_consumed_total{{{PARTITION}}}": "0x10 9900x230",
            f'wootric_transactions_total{{{OF}"w-0",outcome="committed"}}': "70x240",
            **assigned(1),
        },
        {
            60: alerts(),
            90: alerts("WootricInputPaused ticket"),
            220: alerts("WootricInputPaused ticket", "WootricRetentionAtRisk page"),
        },
    ),
    "one of nine partitions is paused, and far behind": World(
        {
            **{
                f'wootric_consumer_lag_records{{{OF}"w-0",topic="t",partition="{n}"}}': "10x240"
                for n in range(1, 9)
            },
            **{
                f'wootric_consumer_lag_seconds{{{OF}"w-0",topic="t",partition="{n}"}}': "1x240"
                for n in range(1, 9)
            },
            f"wootric_consumer_paused{{{PARTITION}}}": "1x240",
            f"wootric_consumer_lag_records{{{PARTITION}}}": "50000x240",
            f"wootric_consumer_lag_seconds{{{PARTITION}}}": "0+60x240",
            **assigned(9),
        },
        {45: alerts(), 75: alerts("WootricInputPaused ticket")},
    ),
    "the first parked events of a fresh worker": World(
        {
            f'wootric_records_settled_total{{{OF}"w-0",outcome="parked",reason=""}}': "0x60",
            f'wootric_records_settled_total{{{OF}"w-0",outcome="parked",reason="ambiguous"}}': (
                "_x10 3x50"
            ),
            **assigned(6),
        },
        {5: alerts(), 15: alerts("WootricParkedEvents ticket")},
    ),
    "the first error line of its kind": World(
        {
            f'wootric_log_events_total{{{OF}"w-0",event="library_error",level="error"}}': (
                "_x20 1x60"
            ),
            **assigned(6),
        },
        {25: alerts("WootricErrorsLogged ticket"), 55: alerts()},
    ),
    LIMITED: World(
        {
            f'wootric_sink_throttled_total{{{OF}"w-0"}}': "0x300",
            f'wootric_sink_rate_limited{{{OF}"w-0"}}': "1x300",
            f"wootric_consumer_lag_records{{{PARTITION}}}": "0+500x300",
            f"wootric_consumer_lag_seconds{{{PARTITION}}}": "0+40x300",
            f"wootric_consumer_retention_headroom_seconds{{{PARTITION}}}": "25000-40x300",
            **assigned(1, steps=300),
        },
        {
            60: alerts("WootricRateLimited ticket"),
            105: alerts(
                "WootricRateLimited ticket",
                "WootricFreshnessSlowBurn ticket",
                "WootricRetentionAtRisk page",
            ),
        },
    ),
    "limited by its pace, and another partition stands still": World(
        {
            f'wootric_sink_rate_limited{{{OF}"w-0"}}': "1x300",
            f'wootric_sink_rate_limited{{{OF}"w-1"}}': "0x300",
            f"wootric_consumer_lag_seconds{{{PARTITION}}}": "0+40x300",
            f'wootric_group_lag_seconds{{{OF}"l-0",topic="t",partition="1"}}': "0+40x300",
            f'wootric_consumer_lag_seconds{{{OF}"w-1",topic="t",partition="1"}}': "0+40x300",
            **assigned(1),
            **assigned(1, "w-1"),
        },
        {60: alerts("WootricFreshnessBudgetBurn page")},
    ),
    "a worker that is killed for memory after 3 minutes, for ever": World(
        {
            f'wootric_transactions_total{{{OF}"w-0",outcome="committed"}}': "0+200x240",
            f'wootric_transactions_total{{{OF}"w-1",outcome="committed"}}': (
                "0 90 180 270 _x5 " * 10
            ).strip(),
            f'process_start_time_seconds{{{OF}"w-1"}}': " ".join(
                f"{start}x3 _x5" for start in range(10)
            ),
            f'wootric_build_info{{{OF}"w-1",version="1"}}': ("1x3 _x5 " * 10).strip(),
            **assigned(6),
        },
        {
            40: alerts("WootricWorkerRestarting ticket"),
            65: alerts("WootricWorkerRestarting ticket"),
        },
    ),
    "all brokers are away while the workers are caught up": World(
        {
            f"wootric_consumer_lag_seconds{{{PARTITION}}}": "0x180",
            f'wootric_group_lag_seconds{{{OF}"l-0",topic="t",partition="0"}}': "0x180",
            f'wootric_records_in_flight{{{OF}"w-0"}}': "0x180",
            f'wootric_transactions_total{{{OF}"w-0",outcome="committed"}}': "70x180",
            f'wootric_group_members{{{OF}"l-0"}}': "3x180",
            f'wootric_group_measured_timestamp_seconds{{{OF}"l-0"}}': "0+60x30 1800x150",
            f'wootric_kafka_up{{{OF}"w-0"}}': "1x30 0x150",
            f'wootric_kafka_up{{{OF}"l-0"}}': "1x30 0x150",
            **assigned(6),
        },
        {
            25: alerts(),
            36: alerts("WootricKafkaUnavailable page"),
            60: alerts("WootricKafkaUnavailable page", "WootricLagExporterStale ticket"),
        },
    ),
    "every bridge pod is gone": World(
        {
            f'wootric_bridge_requests_total{{{OF}"b-0",code="200"}}': "0+60x30 _x150",
            **assigned(6),
        },
        {25: alerts(), 60: alerts("WootricBridgeAbsent page")},
    ),
    "half of what Segment sends is refused, and Segment does not repeat it": World(
        {
            f'wootric_bridge_requests_total{{{OF}"b-0",code="200"}}': "0+60x180",
            f'wootric_bridge_requests_total{{{OF}"b-0",code="400"}}': "0+60x180",
            f'wootric_bridge_refused_total{{{OF}"b-0",reason="invalid_event"}}': "0+60x180",
            **assigned(6),
        },
        {60: alerts("WootricBridgeLosesEvents page", "WootricBridgeLosesEvents ticket")},
    ),
    "two installations, and one is gone altogether": World(
        {
            'wootric_consumer_assigned_partitions{namespace="staging",job="a",instance="w-0"}': (
                "6x180"
            ),
            'wootric_consumer_assigned_partitions{namespace="prod",job="b",instance="w-0"}': (
                "6x30 _x150"
            ),
        },
        {25: alerts(), 60: alerts("WootricMetricsAbsent page")},
    ),
    "one slow restore, a while ago": World(
        {
            f'wootric_restore_duration_seconds{{{OF}"w-0"}}': "_x5 90x60",
            f'wootric_restore_timestamp_seconds{{{OF}"w-0"}}': "_x5 300x60",
            **assigned(6),
        },
        {10: alerts("WootricRestoreSlow ticket"), 30: alerts()},
    ),
    "one of three workers is gone for good": World(
        {
            **assigned(3),
            **assigned(3, "w-1"),
            f'wootric_consumer_assigned_partitions{{{OF}"w-2"}}': "2x30 _x150",
            f'up{{{OF}"w-2"}}': "1x30 0x150",  # its pod is Terminating on a frozen node
        },
        {25: alerts(), 60: alerts("WootricWorkersMissing ticket")},
    ),
    "one of three workers has no place to run": World(
        {
            f'wootric_consumer_assigned_partitions{{{OF}"w-0",pod="wd-0"}}': "3x180",
            f'wootric_consumer_assigned_partitions{{{OF}"w-1",pod="wd-1"}}': "3x180",
            'kube_statefulset_replicas{namespace="s",statefulset="wd",job="k"}': "3x180",
            'kube_statefulset_status_replicas_ready{namespace="s",statefulset="wd",job="k"}': (
                "3x30 2x150"
            ),
        },
        {25: alerts(), 60: alerts("WootricWorkersMissing ticket")},
    ),
    "a stranger sends unsigned requests beside little traffic": World(
        {
            f'wootric_bridge_requests_total{{{OF}"b-0",code="200"}}': "0+10x180",
            f'wootric_bridge_requests_total{{{OF}"b-0",code="401"}}': "0+1x180",
            **assigned(6),
        },
        {60: alerts("WootricBridgeRefusesSignatures ticket")},
    ),
}
