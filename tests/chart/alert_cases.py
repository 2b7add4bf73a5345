"""For each alert two worlds: one in which it fires, and a near one in which it is silent.

Series are written as promtool has them, a value a minute; every one gets job and instance. An alert
with two severities has a case for each, by name and severity.
"""

from dataclasses import dataclass

BUCKET = "wootric_end_to_end_latency_seconds_bucket"
TRANSACTION = "wootric_transaction_duration_seconds_bucket"
LOOP_LAG = "wootric_event_loop_lag_seconds_bucket"
CERTIFICATE = 'wootric_certificate_expiry_timestamp_seconds{certificate="ssl.ca.location"}'
Series = dict[str, str]


@dataclass(frozen=True, slots=True)
class Case:
    """The alert is looked at after so many minutes, and fires so many times then."""

    fires: Series
    silent: Series
    at_min: int = 30
    times: int = 1


def steady(value: float, steps: int = 60) -> str:
    return f"{value}+0x{steps}"


def growing(by: float, steps: int = 60) -> str:
    return f"0+{by}x{steps}"


def behind(*, limited: str, records: str, seconds: str) -> Series:
    return {
        "wootric_sink_rate_limited": limited,
        'wootric_consumer_lag_records{topic="t",partition="0"}': records,
        'wootric_consumer_lag_seconds{topic="t",partition="0"}': seconds,
    }


def lag_seconds(values: str) -> Series:
    return {'wootric_consumer_lag_seconds{topic="t",partition="0"}': values}


CASES: dict[str, Case] = {
    "WootricCircuitOpen": Case(
        {
            'wootric_sink_circuit_open{circuit="api",reason=""}': steady(0),
            'wootric_sink_circuit_open{circuit="api",reason="credentials"}': steady(1),
        },
        {'wootric_sink_circuit_open{circuit="api",reason="unreachable"}': "1x5 0x54"},
        at_min=14,
    ),
    "WootricCredentialsRefused": Case(
        {'wootric_sink_token_refusals_total{error="invalid_client"}': "0x20 1x40"},
        {'wootric_sink_token_refusals_total{error="invalid_client"}': steady(7)},
        at_min=40,
    ),
    "WootricKafkaUnavailable": Case(
        {
            'wootric_kafka_up{instance="w-0"}': "1x10 0x50",
            'wootric_kafka_up{instance="l-0"}': "0x60",
        },
        {'wootric_kafka_up{instance="w-0"}': "1x10 0x2 1x50"},  # a broker is replaced
    ),
    "WootricPartitionHalted": Case(
        {'wootric_consumer_halted_partitions{reason="dead_letters"}': steady(1)},
        {
            'wootric_consumer_halted_partitions{reason="dead_letters"}': steady(0),
            'wootric_consumer_halted_partitions{reason="paused"}': steady(1),
        },
    ),
    "WootricInputPaused": Case(
        {
            'wootric_consumer_paused{topic="t",partition="0"}': "0x10 1x110",
            'wootric_group_paused{topic="t",partition="1",instance="l-0"}': "0x10 1x110",
        },
        {'wootric_consumer_paused{topic="t",partition="0"}': "0x10 1x50 0x60"},
        at_min=75,
    ),
    "WootricPartitionStalled": Case(
        lag_seconds(growing(60)),
        lag_seconds("1200+0x60"),  # far behind, but it gets on
        at_min=40,
    ),
    "WootricBlockedByTransaction": Case(
        {
            'wootric_consumer_blocked_records{topic="t",partition="0"}': steady(3),
            'wootric_partition_end_offset{topic="t",partition="0"}': steady(70),
            'wootric_group_blocked_records{topic="t",partition="1"}': steady(2),
            'wootric_group_end_offset{topic="t",partition="1"}': steady(9),
        },
        {  # a producer that transacts all the time, one that is slow, and one that is idle
            'wootric_consumer_blocked_records{topic="t",partition="0"}': steady(3),
            'wootric_partition_end_offset{topic="t",partition="0"}': growing(5),
            'wootric_consumer_blocked_records{topic="t",partition="1"}': "0x20 3x7 0x33",
            'wootric_partition_end_offset{topic="t",partition="1"}': "70x27 74x33",
            'wootric_group_blocked_records{topic="t",partition="2"}': steady(0),
            'wootric_group_end_offset{topic="t",partition="2"}': steady(70),
        },
        times=2,
    ),
    "WootricFreshnessBudgetBurn": Case(
        lag_seconds(steady(400, 200))
        | {
            'wootric_sink_rate_limited{instance="w-0"}': steady(0, 200),
            'wootric_sink_rate_limited{instance="w-1"}': steady(1, 200),  # another's limit
        },
        lag_seconds("400x3 0x197"),
        at_min=120,
    ),
    "WootricFreshnessSlowBurn": Case(
        lag_seconds("0x100 400x2 0x100"),  # 1 % of the time
        lag_seconds("0x100 200x2 0x100"),
        at_min=180,
    ),
    "WootricLatencyBudgetBurn": Case(
        {
            BUCKET + '{le="60.0"}': growing(30, 120),
            "wootric_end_to_end_latency_seconds_count": growing(60, 120),
            'wootric_records_consumed_total{topic="t",partition="0"}': growing(60, 120),
        },
        {
            BUCKET + '{le="60.0"}': growing(59, 120),
            "wootric_end_to_end_latency_seconds_count": growing(60, 120),
            'wootric_records_consumed_total{topic="t",partition="0"}': growing(60, 120),
        },
        at_min=100,
    ),
    "WootricMetricsAbsent": Case(
        {"wootric_consumer_assigned_partitions": "3x10 _x50", "wootric_build_info": steady(1)},
        {'wootric_consumer_assigned_partitions{instance="w-1"}': "_x10 3x50"},
    ),
    "WootricWorkersMissing": Case(
        {
            'up{instance="w-1"}': "1x10 0x50",  # a pod on a node that is frozen
            "wootric_consumer_assigned_partitions": steady(6),
        },
        {
            'up{instance="w-1"}': "1x10 _x50",  # scaled away
            'up{instance="b-0",app_kubernetes_io_component="bridge"}': steady(0),
            "wootric_consumer_assigned_partitions": steady(6),
        },
    ),
    "WootricWorkerRestarting": Case(
        {
            "process_start_time_seconds": "1x3 _x5 2x3 _x5 3x3 _x5 4x3 _x20",
            "wootric_build_info": "1x3 _x5 1x3 _x5 1x3 _x5 1x3 _x20",
        },
        {"process_start_time_seconds": "1x10 2x10 3x40", "wootric_build_info": steady(1)},
    ),
    "WootricMemoryNearLimit": Case(
        {
            "process_resident_memory_bytes": "500000000+20000000x60",
            "wootric_memory_limit_bytes": steady(1_000_000_000),
        },
        {
            "process_resident_memory_bytes": steady(2_000_000_000),
            "wootric_memory_limit_bytes": steady(2**60),
        },
        at_min=35,
    ),
    "WootricNoPartitionsAssigned": Case(
        {"wootric_consumer_assigned_partitions": steady(0)},
        {
            "wootric_consumer_assigned_partitions": steady(3),
            'wootric_consumer_assigned_partitions{instance="spare"}': steady(0),
        },
    ),
    "WootricNoConsumers": Case(
        {"wootric_group_members": steady(0)},
        {"wootric_group_members": "3x10 0x1 3x48"},  # a moment between two
    ),
    "WootricRetentionAtRisk": Case(
        {
            'wootric_group_retention_headroom_seconds{topic="t",partition="0"}': steady(3600),
            'wootric_group_lag_seconds{topic="t",partition="0"}': steady(500_000),
        },
        {
            'wootric_group_retention_headroom_seconds{topic="t",partition="0"}': steady(3600),
            'wootric_group_lag_seconds{topic="t",partition="0"}': steady(2),  # kept briefly
        },
    ),
    "WootricOffsetOutOfRange": Case(
        {'wootric_group_offset_out_of_range{topic="t",partition="0"}': steady(1)},
        {'wootric_group_offset_out_of_range{topic="t",partition="0"}': steady(0)},
    ),
    "WootricRecordsUnaccounted": Case(
        {
            'wootric_records_consumed_total{topic="t",partition="0"}': growing(10),
            'wootric_records_settled_total{outcome="delivered"}': growing(9),
            "wootric_records_relinquished_total": steady(0),
            "wootric_records_in_flight": steady(0),
        },
        {
            'wootric_records_consumed_total{topic="t",partition="0"}': growing(10),
            'wootric_records_settled_total{outcome="delivered"}': growing(8),
            "wootric_records_relinquished_total": growing(1),
            "wootric_records_in_flight": growing(1),
        },
    ),
    "WootricCommitsMissing": Case(
        {
            "wootric_records_in_flight": steady(5),
            'wootric_transactions_total{outcome="committed"}': steady(70),
        },
        {
            "wootric_records_in_flight": steady(0),
            'wootric_transactions_total{outcome="committed"}': steady(70),
        },
    ),
    "WootricInDoubtTooLong": Case(
        {"wootric_in_doubt_oldest_seconds": growing(60)},
        {"wootric_in_doubt_oldest_seconds": steady(75)},
    ),
    "WootricAmbiguousOutcomesHigh": Case(
        {
            'wootric_ambiguous_outcomes_total{operation="page_view"}': growing(2),
            'wootric_sink_requests_total{outcome="executed"}': growing(100),
        },
        {
            'wootric_ambiguous_outcomes_total{operation="page_view"}': growing(0.5),
            'wootric_sink_requests_total{outcome="executed"}': growing(100),
        },
        at_min=40,
    ),
    "WootricDeadLetterBurst": Case(
        {
            'wootric_records_settled_total{outcome="rejected",reason="bad_score"}': growing(10),
            'wootric_records_settled_total{outcome="delivered",reason=""}': growing(90),
        },
        {
            'wootric_records_settled_total{outcome="rejected",reason="bad_score"}': growing(1),
            'wootric_records_settled_total{outcome="delivered",reason=""}': growing(9),
        },
    ),
    "WootricParkedEvents": Case(
        {'wootric_records_settled_total{outcome="parked",reason="in_doubt"}': "0x99 1x50"},
        {'wootric_records_settled_total{outcome="parked",reason="in_doubt"}': steady(1, 150)},
        at_min=130,
    ),
    "WootricRateLimited": Case(
        behind(limited=steady(1, 90), records="0+100x90", seconds="0+40x90"),
        behind(limited="0 1 0 0x87", records="0+100x90", seconds="0+40x90"),
        at_min=45,
    ),
    "WootricDeadLettersExpire": Case(
        {'wootric_group_dead_letters_headroom_seconds{topic="t.dlq"}': "260000-60x60"},
        {
            'wootric_group_dead_letters_headroom_seconds{topic="t.dlq"}': "2592000-60x60",
        },
    ),
    "WootricRequestsRefused": Case(
        {
            'wootric_sink_requests_total{outcome="not_executed",code="503"}': growing(20),
            'wootric_sink_requests_total{outcome="executed",code="200"}': growing(80),
        },
        {
            'wootric_sink_requests_total{outcome="throttled",code="429"}': growing(20),
            'wootric_sink_requests_total{outcome="not_executed",code="503"}': growing(1),
            'wootric_sink_requests_total{outcome="executed",code="200"}': growing(80),
        },
        at_min=40,
    ),
    "WootricTransactionAborts": Case(
        {
            'wootric_transactions_total{outcome="aborted"}': growing(20),
            'wootric_transactions_total{outcome="committed"}': growing(80),
        },
        {
            'wootric_transactions_total{outcome="aborted"}': growing(1),
            'wootric_transactions_total{outcome="committed"}': growing(99),
        },
        at_min=40,
    ),
    "WootricTransactionsSlow": Case(
        {TRANSACTION + '{le="1.0"}': growing(50), TRANSACTION + '{le="2.5"}': growing(100)}
        | {TRANSACTION + '{le="+Inf"}': growing(100)},
        {TRANSACTION + '{le="1.0"}': growing(99), TRANSACTION + '{le="2.5"}': growing(100)}
        | {TRANSACTION + '{le="+Inf"}': growing(100)},
        at_min=40,
    ),
    "WootricRebalanceStorm": Case(
        {
            'wootric_consumer_rebalances_total{event="assigned"}': growing(1),
            'wootric_consumer_rebalances_total{event="revoked"}': growing(1),
            "wootric_consumer_assigned_partitions": steady(3),
        },
        {
            'wootric_consumer_rebalances_total{event="assigned"}': "0x10 3x50",  # one rollout
            'wootric_consumer_rebalances_total{event="revoked"}': "0x10 2x50",
            "wootric_consumer_assigned_partitions": steady(3),
        },
        at_min=16,
    ),
    "WootricLagSkewed": Case(
        {'wootric_consumer_lag_records{topic="t",partition="0"}': steady(50_000)}
        | {
            f'wootric_consumer_lag_records{{topic="t",partition="{n}"}}': steady(10)
            for n in range(1, 9)
        },
        {
            f'wootric_consumer_lag_records{{topic="t",partition="{n}"}}': steady(50_000)
            for n in range(9)
        },
        at_min=45,
    ),
    "WootricRestoreSlow": Case(
        {
            "wootric_restore_duration_seconds": steady(90),
            "wootric_restore_timestamp_seconds": steady(100_000),
        },
        {
            "wootric_restore_duration_seconds": steady(90),
            "wootric_restore_timestamp_seconds": steady(600),
        },
    ),
    "WootricValuesLeftOut": Case(
        {
            'wootric_invalid_fields_total{note="invalid_created_at"}': growing(10, 120),
            'wootric_records_consumed_total{topic="t",partition="0"}': growing(100, 120),
        },
        {
            'wootric_invalid_fields_total{note="invalid_created_at"}': growing(1, 120),
            'wootric_records_consumed_total{topic="t",partition="0"}': growing(100, 120),
        },
        at_min=100,
    ),
    "WootricCircuitFlapping": Case(
        {'wootric_sink_circuit_opened_total{circuit="api",reason="unreachable"}': growing(1)},
        {'wootric_sink_circuit_opened_total{circuit="api",reason="unreachable"}': "0x10 2x50"},
        at_min=50,
    ),
    "WootricBackpressured": Case(
        {
            'wootric_records_in_flight{instance="by-number"}': steady(9_990),
            'wootric_records_in_flight_limit{instance="by-number"}': steady(10_000),
            'wootric_records_in_flight_bytes{instance="by-bytes"}': steady(33_000_000),
            'wootric_records_in_flight_bytes_limit{instance="by-bytes"}': steady(32 * 2**20),
        },
        {
            "wootric_records_in_flight": steady(5_000),
            "wootric_records_in_flight_limit": steady(10_000),
            "wootric_records_in_flight_bytes": steady(16 * 2**20),
            "wootric_records_in_flight_bytes_limit": steady(32 * 2**20),
        },
        at_min=50,
        times=2,
    ),
    "WootricEventLoopSlow": Case(
        {LOOP_LAG + '{le="0.5"}': growing(50), LOOP_LAG + '{le="1.0"}': growing(100)}
        | {LOOP_LAG + '{le="+Inf"}': growing(100)},
        {LOOP_LAG + '{le="0.5"}': growing(100), LOOP_LAG + '{le="1.0"}': growing(100)}
        | {LOOP_LAG + '{le="+Inf"}': growing(100)},
        at_min=50,
    ),
    "WootricLagExporterStale ticket": Case(
        {
            "wootric_group_measured_timestamp_seconds": steady(0),
            "wootric_consumer_assigned_partitions": steady(3),
        },
        {"wootric_group_measured_timestamp_seconds": steady(0)},
    ),
    "WootricLagExporterStale page": Case(
        {"wootric_group_measured_timestamp_seconds": steady(0)},
        {
            "wootric_group_measured_timestamp_seconds": steady(0),
            "wootric_consumer_assigned_partitions": steady(3),
        },
    ),
    "WootricErrorsLogged": Case(
        {'wootric_log_events_total{event="ended",level="error"}': "0x20 1x40"},
        {
            'wootric_log_events_total{event="circuit_opened",level="error"}': "0x20 1x40",
            'wootric_log_events_total{event="throttled",level="info"}': growing(1),
        },
        at_min=25,
    ),
    "WootricCertificateExpiring": Case(
        {CERTIFICATE: steady(10 * 86_400)},
        {CERTIFICATE: steady(20 * 86_400)},
    ),
    "WootricSettingsDiffer": Case(
        {
            'wootric_config_info{hash="a",instance="w-0"}': steady(1, 120),
            'wootric_config_info{hash="b",instance="w-1"}': steady(1, 120),
        },
        {
            'wootric_config_info{hash="a",instance="w-0"}': steady(1, 120),
            'wootric_config_info{hash="a",instance="w-1"}': steady(1, 120),
        },
        at_min=100,
    ),
    "WootricVersionsMixed": Case(
        {
            'wootric_build_info{version="1",instance="a"}': steady(1, 120),
            'wootric_build_info{version="2",instance="b"}': steady(1, 120),
        },
        {
            'wootric_build_info{version="1",instance="a"}': "1x20 _x100",
            'wootric_build_info{version="2",instance="b"}': "_x10 1x110",
        },
        at_min=100,
    ),
    "WootricWatchdog": Case({"wootric_build_info": steady(1)}, {}),
}
ALWAYS = {"WootricWatchdog"}
