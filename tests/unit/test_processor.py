"""The loop where something goes wrong in it, or two endings meet."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

sys.path.append(str(Path(__file__).parent / "engine"))
sys.path.append(str(Path(__file__).parents[1] / "simulation"))

import pytest
from flow_driver import LIMITS, PARTITION, identify
from simulated_member import Message
from waiting import STILL_S, until

from sink.http_session import HttpSession
from sink.wootric.auth import WootricAccount
from sink.wootric.sink import WootricSink
from stream.engine.prepare import Judged, Refuse
from stream.engine.task_manager import Flow, HaltReason
from stream.kafka.consumer_thread import GroupMember
from stream.kafka.protocol import (
    Assigned,
    Command,
    Commit,
    Committed,
    Leave,
    Left,
    Pause,
    Records,
    Release,
    Restored,
    Revoking,
)
from stream.record import Partition, Record
from stream.runtime.processor import Pace, Processor
from stream.state.store import MemoryState
from stream.telemetry.metrics import Metrics
from stream.telemetry.observer import Observer
from stream.telemetry.status import Gauges, Vitals
from stream.transform import Deliver

OTHER = Partition(PARTITION.topic, 1)
PACE = Pace(
    cycle_max_s=0.05,
    in_flight_max=4,
    unsettled_records_max=100,
    unsettled_bytes_max=10_000,
    dead_letter_pause_s=60.0,
    revoke_wait_s=5.0,
    drain_wait_s=5.0,
)


class Member:
    """Keeps what it is told; leaves when it is told to."""

    def __init__(self) -> None:
        self.room, self.taken, self.busy = 0, 0, False
        self.commands: list[Command] = []
        self.tell: Callable[[Any], None] = lambda _: None

    def start(self) -> None:
        """Join."""

    def command(self, command: Command) -> None:
        self.commands.append(command)
        if command == Leave():
            self.tell(Left())

    def told(self, kind: type) -> list[Any]:
        return [command for command in self.commands if isinstance(command, kind)]


class Worker:
    """A processor that owns two partitions; ``judge`` says what becomes of their records."""

    def __init__(self, judge: Callable[[Record], Judged]) -> None:
        metrics, vitals, flow = Metrics(), Vitals(), Flow(LIMITS)
        self.vitals = vitals
        gauges = Gauges(
            metrics, vitals, flow, records_limit=100, bytes_limit=10_000, polled_at=lambda: 0.0
        )
        session = HttpSession(in_flight_max=4, request_timeout_s=STILL_S)
        self.processor = Processor(
            flow=flow,
            sink=WootricSink(WootricAccount(account_token="NPS-1"), session=session),
            judge=judge,
            pace=PACE,
            observer=Observer(metrics, vitals, gauges),
        )
        self.member = Member()
        self.member.tell = self.processor.hear
        self.run = asyncio.create_task(self.processor.run(cast(GroupMember, self.member)))

    async def begin(self) -> None:
        self.processor.hear(Assigned([PARTITION, OTHER], 1))
        for partition in (PARTITION, OTHER):
            restored = Restored(
                partition=partition,
                assignment=1,
                state=MemoryState(),
                next_offset=0,
                entries=0,
                took_s=0.0,
            )
            self.processor.hear(restored)
        await asyncio.sleep(0)

    def read(self, *offsets: int, value: bytes = b"value") -> None:
        records = [Record(PARTITION, offset, 0, b"key", value) for offset in offsets]
        self.processor.hear(
            Records([Message(PARTITION, record.offset, record) for record in records])
        )

    async def told(self, kind: type) -> Any:
        """Return the last command of a kind, once there is one."""
        await until(lambda: self.member.told(kind), f"it is told a {kind.__name__}")
        return self.member.told(kind)[-1]


REFUSED = Refuse("undecodable", "")


def refuse(record: Record) -> Judged:
    return Judged(record=record, event_id=f"e{record.offset}", verdict=REFUSED)


async def test_a_defect_ends_the_worker_before_anything_is_committed_past_it() -> None:
    """The records of its chunk were read, and nobody has them: the next owner reads them again."""

    def judge(record: Record) -> Judged:
        if record.offset == 1:
            raise ZeroDivisionError
        return refuse(record)

    worker = Worker(judge)
    await worker.begin()
    worker.read(0, 1, 2)
    worker.read(3)
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(worker.run, STILL_S)
    offsets = [one.checkpoint.shares[PARTITION].offset for one in worker.member.told(Commit)]
    assert max(offsets, default=0) == 0


async def test_large_records_leave_room_for_fewer() -> None:
    """As many more as there are bytes left, if they are as large; and all of it afterwards."""
    worker = Worker(refuse)
    await worker.begin()
    worker.read(0, 1, value=b"v" * 1_997)
    await until(lambda: worker.member.room == 3, "there is room for three")
    worker.read(2, 3, 4, 5, value=b"v" * 1_997)
    await until(lambda: worker.member.room <= 0, "there is no room")
    for _ in range(2):
        commit = await worker.told(Commit)
        worker.member.commands.clear()
        committed = Committed(checkpoint=commit.checkpoint, started_at=0.0, took_s=0.0)
        worker.processor.hear(committed)
    await until(lambda: worker.member.room == PACE.unsettled_records_max, "there is all the room")
    worker.run.cancel()


async def test_a_partition_that_stretches_too_far_says_why_it_stands_still() -> None:
    """One event waits, and as many as may be are settled behind it."""

    def judge(record: Record) -> Judged:
        verdict = Deliver(operation=identify(), lane="ann") if record.offset == 0 else REFUSED
        return Judged(record=record, event_id=f"e{record.offset}", verdict=verdict)

    worker = Worker(judge)
    await worker.begin()
    worker.read(*range(LIMITS.unsettled_span_max + 1))
    assert await worker.told(Pause) == Pause(PARTITION)
    halted = worker.vitals.halted[PARTITION]
    assert halted.reason is HaltReason.OVERSTRETCHED
    assert "offset 0 " in halted.detail
    worker.run.cancel()


async def test_who_leaves_commits_what_ended_before_a_partition_goes() -> None:
    """Released first, the partition would not be ours any more: every commit would be refused."""
    worker = Worker(refuse)
    await worker.begin()
    worker.read(0)
    commit = await worker.told(Commit)
    worker.processor.stop()
    worker.processor.hear(Revoking([OTHER]))
    worker.read(1)
    await asyncio.sleep(0.01)
    assert worker.member.told(Release) == worker.member.told(Leave) == []

    def ended() -> bool:
        nonlocal commit
        if not worker.run.done():
            commit = worker.member.told(Commit)[-1]
            committed = Committed(checkpoint=commit.checkpoint, started_at=0.0, took_s=0.0)
            worker.processor.hear(committed)
        return worker.run.done()

    await until(ended, "it has left", lambda: len(worker.member.commands))
    assert commit.checkpoint.shares[PARTITION].offset == 2
    assert worker.member.told(Release) == []
