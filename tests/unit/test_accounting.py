"""Consumed is settled, relinquished and in flight: in every scrape, whatever comes in between."""

import pytest
from flow_driver import LIMITS, PARTITION, ROOM, identify
from prometheus_client import generate_latest

from sink.delivery import InDoubt
from sink.wootric.operations import read_operation
from stream.engine.checkpoint import Checkpoint
from stream.engine.prepare import PreparedRecord
from stream.engine.task_manager import TaskManager
from stream.record import Record
from stream.state.store import InMemoryStateStore
from stream.telemetry.metrics import Metrics
from stream.telemetry.observer import Observer
from stream.telemetry.status import StatusGauges, WorkerStatus, headroom_s
from stream.transform import Deliver, Skip


class Watched:
    """A flow with an observer beside it, as the processor has them."""

    def __init__(self) -> None:
        self.metrics, self.vitals, self.flow = (
            Metrics(),
            WorkerStatus(),
            TaskManager(LIMITS, read_operation=read_operation),
        )
        self.gauges = StatusGauges(
            self.metrics,
            self.vitals,
            self.flow,
            records_limit=100,
            bytes_limit=10_000,
            polled_at=lambda: 0.0,
        )
        self.observer = Observer(self.metrics, self.vitals, self.gauges)
        self.flow.open(PARTITION, InMemoryStateStore(), 0, 0.0, assignment_epoch=1)

    def read(self, *offsets: int) -> None:
        judged = [
            PreparedRecord(
                record=Record(PARTITION, offset, 0, b"key", b"value"),
                event_id=f"e{offset}",
                result=Deliver(operation=identify(f"user{offset}"), lane=f"user{offset}"),
            )
            for offset in offsets
        ]
        self.observer.consumed(self.flow.admit(judged, 0))

    def committed(self, checkpoint: Checkpoint) -> None:
        shares = self.flow.still_owned(checkpoint).values()
        self.flow.on_committed(checkpoint, 0.0)
        self.observer.committed(checkpoint, shares, 0.001)

    def scrape(self) -> dict[str, float]:
        self.gauges.refresh()
        lines = generate_latest(self.metrics.registry).decode().splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    def sums(self) -> tuple[float, float]:
        """Return what was consumed, and what that should be."""
        found = self.scrape()

        def total(name: str) -> float:
            return sum(value for key, value in found.items() if key.startswith(name))

        parts = ("records_settled_total", "records_relinquished_total")
        assert found["wootric_records_unaccounted"] == 0
        in_flight = found["wootric_records_in_flight"]
        return total("wootric_records_consumed_total"), in_flight + sum(
            total(f"wootric_{part}") for part in parts
        )


def test_a_record_that_comes_again_after_a_pause_is_consumed_once():
    """What was on its way when a partition was paused is read again from the same offset."""
    watched = Watched()
    watched.read(0, 1, 2)
    watched.read(1, 2, 3)
    assert watched.sums() == (4, 4)


def test_a_commit_that_is_known_after_its_partition_went_is_not_counted_twice():
    """Its records were relinquished when the partition closed: the sum has them already."""
    watched = Watched()
    watched.read(0, 1)
    for work in watched.flow.on_committed(watched.flow.checkpoint(0, ROOM), 0.0):
        watched.flow.settle(work, InDoubt(detail="", sent_at=0.0), 0.0, 0)
    watched.read(2)
    late = watched.flow.checkpoint(0, ROOM)
    watched.observer.closed(PARTITION, watched.flow.close(PARTITION))
    watched.committed(late)
    assert watched.sums() == (3, 3)


def test_a_partition_that_went_leaves_no_gauge_behind():
    """Another worker shows it now; two series of one partition would contradict each other."""
    watched = Watched()
    watched.gauges.note_ends(PARTITION, 7, 9)
    watched.gauges.retention_ms = 60_000
    watched.read(0)
    named = [name for name in watched.scrape() if 'partition="0"' in name]
    assert len(named) == 9  # the committed offset is not known yet
    watched.observer.closed(PARTITION, watched.flow.close(PARTITION))
    left = [name for name in watched.scrape() if 'partition="0"' in name]
    assert {name.split("{")[0] for name in left} == {
        "wootric_records_consumed_total",
        "wootric_records_consumed_created",
    }


def test_the_loops_states_add_up_to_the_time():
    """Where each second goes can only be read off when none is missing."""
    watched = Watched()
    before = watched.scrape()
    with watched.observer.busy("admit"):
        sum(range(300_000))
    after = watched.scrape()
    spent = {
        name: after[name] - before.get(name, 0)
        for name in after
        if name.startswith("wootric_event_loop_seconds_total")
    }
    assert len(spent) == 5
    assert 0 < spent['wootric_event_loop_seconds_total{state="admit"}'] <= sum(spent.values())


@pytest.mark.parametrize(
    ("retention_ms", "age_s", "expected"),
    [(None, 5, None), (-1, 5, float("inf")), (60_000, 5, 55.0), (60_000, 90, -30.0)],
)
def test_headroom_is_what_retention_leaves(retention_ms, age_s, expected):
    assert headroom_s(retention_ms, age_s) == expected


def test_what_was_left_out_is_counted_by_its_note():
    """Also of an event that is skipped: it may be skipped because of it."""
    watched = Watched()
    results = (
        Deliver(operation=identify("a"), lane="a", notes=("invalid_created_at",)),
        Skip("disabled", notes=("ignored_integration",)),
        Skip("disabled"),
    )
    judged = [
        PreparedRecord(
            record=Record(PARTITION, offset, 0, b"key", b"value"), event_id=f"e{offset}", result=one
        )
        for offset, one in enumerate(results)
    ]
    watched.observer.consumed(watched.flow.admit(judged, 0))
    found = watched.scrape()
    for note in ("invalid_created_at", "ignored_integration"):
        assert found[f'wootric_invalid_fields_total{{note="{note}"}}'] == 1
