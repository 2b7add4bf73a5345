"""The one sentence at the top of the page: the most urgent thing comes first."""

import pytest

from stream.engine.task_manager import HaltReason
from stream.kafka.lag import GroupLag, PartitionLag, StableEnds
from stream.kafka.protocol import InputPause, PartitionHalted
from stream.operations import status
from stream.record import Partition
from stream.telemetry.status import OpenCircuit, PartitionStatus, WorkerStatus, verdict

NOW = 1000.0
PAUSED_BY_OPERATOR = (
    "2 partitions paused by the operator since 2026-01-02T03:04:05Z: "
    "`wootric-stream resume` ends it"
)
ZERO, ONE = Partition("segment.events", 0), Partition("segment.events", 1)


def standing(
    lag: int = 0, lag_s: float = 0.0, blocked: int = 0, blocked_s: float = 0.0
) -> PartitionStatus:
    return PartitionStatus(
        end=lag,
        position=0,
        committed=0,
        lag=lag,
        lag_s=lag_s,
        in_flight=min(lag, 10),
        blocked=blocked,
        blocked_s=blocked_s,
    )


def vitals(**changes: object) -> WorkerStatus:
    made = WorkerStatus(started_at=NOW - 500, loop_at=NOW, joined=True, committed_at=NOW - 1)
    made.partitions = {ZERO: standing()}
    for name, value in changes.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ("ok", "Caught up")),
        ({"partitions": {ZERO: standing(7, 3)}}, ("ok", "Flowing, 7 events under way")),
        ({"partitions": {}}, ("ok", "Standby: the group assigned no partition to this worker")),
        (
            {"partitions": {ZERO: standing(7, 300), ONE: standing(1, 90)}},
            ("warn", "Flowing, 5 min behind: 8 events to go"),
        ),
        (
            {"in_doubt": 1, "in_doubt_oldest_s": 75.0},
            ("warn", "Flowing; 1 event in doubt, oldest 75 s"),
        ),
        ({"throttled_until": NOW + 40}, ("warn", "Wootric asked to wait: 40 s from now")),
        ({"kafka_silent_s": 10.0}, ("ok", "Caught up")),
        ({"kafka_silent_s": 300.0}, ("bad", "Kafka has not answered for 5 min")),
        ({"joined": False}, ("warn", "Waiting for an assignment from the group")),
        ({"draining": True}, ("warn", "Shutting down after the requests in flight")),
        ({"partitions": {ZERO: standing(blocked=9, blocked_s=5)}}, ("ok", "Caught up")),
        (
            {
                "partitions": {
                    ZERO: standing(blocked=9, blocked_s=300),
                    ONE: standing(blocked=1, blocked_s=90),
                }
            },
            (
                "bad",
                "2 partitions blocked by an open transaction for 5 min: 10 records cannot be read",
            ),
        ),
        (
            {"in_flight": 3, "committed_at": NOW - 240},
            ("bad", "Events are in flight, and nothing was committed for 4 min"),
        ),
        (
            {
                "halted": {ONE: PartitionHalted(ONE, HaltReason.LEDGER_MISSING, "")},
                "draining": True,
            },
            ("bad", "1 partition paused: ledger_missing"),
        ),
        (
            {
                "paused": {ZERO: InputPause(1_767_323_045_000), ONE: InputPause(1_767_323_046_000)},
                "partitions": {ZERO: standing(7, 300)},
                "in_flight": 3,
                "committed_at": NOW - 240,
            },
            (
                "warn",
                PAUSED_BY_OPERATOR,
            ),
        ),
        (
            {"paused": {ZERO: InputPause(None)}, "kafka_silent_s": 300.0},
            ("bad", "Kafka has not answered for 5 min"),
        ),
        (
            {
                "circuits": {"api": OpenCircuit("credentials", NOW - 7300)},
                "throttled_until": NOW + 9,
            },
            ("bad", "Nothing is sent to Wootric's API: credentials, for 2 h"),
        ),
        (
            {"circuits": {"pixel": OpenCircuit("unreachable", NOW - 5)}},
            ("bad", "No page view is sent: unreachable, for 5 s"),
        ),
    ],
    ids=lambda value: value[1] if isinstance(value, tuple) else "",
)
def test_the_most_urgent_is_said(changes, expected):
    assert verdict(vitals(**changes), NOW) == expected


def group(
    *members: str,
    lag: int = 0,
    lag_s: float = 0.0,
    committed: int = 5,
    blocked: tuple[int, float] = (0, 0.0),
    unanswered: tuple[int, ...] = (),
) -> GroupLag:
    one = PartitionLag(
        number=0,
        begin=2,
        end=9,
        committed=committed,
        lag=lag,
        lag_s=lag_s,
        blocked=blocked[0],
        blocked_s=blocked[1],
    )
    return GroupLag(state="stable", members=members, partitions=(one,), unanswered=unanswered)


@pytest.mark.parametrize(
    ("found", "workers", "expected"),
    [
        (group("w1"), [], ("ok", "Caught up")),
        (group(lag=4), [], ("bad", "No worker is running; 4 events waiting")),
        (group(), [], ("warn", "No worker is running; no event is waiting")),
        (group("w1", lag=4, lag_s=180), [], ("warn", "3 min behind: 4 events waiting")),
        (group("w1", blocked=(3, 0.0)), [], ("ok", "Caught up")),
        (
            group("w1", blocked=(3, 1.0)),
            [],
            (
                "warn",
                "1 partition blocked by an open transaction for 1 s: 3 records cannot be read",
            ),
        ),
        (
            group("w1", blocked=(1, 400.0)),
            [],
            (
                "bad",
                "1 partition blocked by an open transaction for 7 min: 1 record cannot be read",
            ),
        ),
        (
            group("w1", unanswered=(1, 4)),
            [],
            ("bad", "Kafka does not answer about partition 1, 4"),
        ),
        (
            group("w1", committed=1),
            [],
            ("bad", "Committed offsets are outside the topic: partition 0"),
        ),
        (
            group("w1", "w2"),
            [
                {"instance": "w1", "verdict": "warn", "summary": "slow"},
                {"instance": "w2", "verdict": "bad", "summary": "stuck"},
            ],
            ("bad", "w2: stuck"),
        ),
    ],
    ids=lambda value: value[1] if isinstance(value, tuple) else "",
)
def test_the_groups_verdict(found, workers, expected):
    assert status.verdict(found, workers) == expected


def test_rates_are_those_of_the_last_minute():
    made = vitals(consumed=0)
    for second in range(100):
        made.consumed = second * 10
        made.settled["delivered", ""] = second * 5
        made.note_history(NOW + second)
        made.note_history(NOW + second + 0.25)
    assert made.rates() == [(10.0, 5.0)] * 60


def test_blocked_is_a_partition_whose_stable_end_stays_where_it_is():
    """A producer that transacts all the time has an open transaction at almost any moment."""
    now = [0.0]
    ends = StableEnds[int](lambda: now[0])
    seen = []
    for now[0], stable, log_end in (
        (0.0, 5, 5),
        (1.0, 5, 7),
        (3.0, 5, 9),
        (4.0, 8, 9),
        (6.0, 8, 9),
        (7.0, 9, 9),
        (9.0, 9, 12),
    ):
        seen.append(ends.note(0, stable, log_end))
    assert seen == [0, 0, 2, 0, 2, 0, 0]
