"""The loop where something goes wrong in it, or two endings meet."""

import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast
from unittest.mock import Mock

sys.path.append(str(Path(__file__).parents[1] / "simulation"))

import aiohttp
import pytest
from flow_driver import LIMITS, PARTITION, identify
from simulated_member import Message
from stack import free_port
from waiting import STILL_S, until

from sink.http_session import HttpSession
from sink.wootric.auth import WootricAccount
from sink.wootric.operations import read_operation
from sink.wootric.sink import WootricSink
from stream.engine.prepare import Invalid, PreparedRecord
from stream.engine.task_manager import HaltReason, TaskManager
from stream.kafka.consumer_thread import ConsumerThread
from stream.kafka.input_pause import PauseWatcher
from stream.kafka.protocol import (
    Assigned,
    Closed,
    Commit,
    Committed,
    ConsumerCommand,
    ConsumerEvent,
    FinishRevocation,
    InputPause,
    Joined,
    Leave,
    PartitionHalted,
    PartitionsLost,
    Pause,
    PausesKnown,
    Records,
    Restored,
    Restoring,
    RevocationStarted,
    StartReading,
)
from stream.record import Partition, Record
from stream.runtime.processor import Processor, ProcessorConfig
from stream.state.store import InMemoryStateStore
from stream.telemetry.http import StatusServer
from stream.telemetry.metrics import Metrics
from stream.telemetry.observer import Observer
from stream.telemetry.status import Identity, StatusGauges, WorkerStatus
from stream.transform import Deliver

OTHER = Partition(PARTITION.topic, 1)
PACE = ProcessorConfig(
    commit_interval_s=0.05,
    in_flight_records_max=100,
    in_flight_bytes_max=10_000,
    dead_letter_pause_s=60.0,
    revoke_timeout_s=5.0,
    drain_wait_s=5.0,
)


class Member:
    """Keeps what it is told; leaves when it is told to."""

    def __init__(self) -> None:
        self.fetch_budget, self.accepted, self.has_work = 0, 0, False
        self.commands: list[ConsumerCommand] = []
        self.tell: Callable[[Any], None] = lambda _: None

    def start(self) -> None:
        """Join."""

    def command(self, command: ConsumerCommand) -> None:
        self.commands.append(command)
        if command == Leave():
            self.tell(Closed())

    def told(self, kind: type) -> list[Any]:
        return [command for command in self.commands if isinstance(command, kind)]


class Worker:
    """A processor that owns two partitions; ``judge`` says what becomes of their records."""

    def __init__(self, judge: Callable[[Record], PreparedRecord], *, watches: bool = False) -> None:
        metrics, vitals, flow = (
            Metrics(),
            WorkerStatus(),
            TaskManager(LIMITS, read_operation=read_operation),
        )
        self.vitals = vitals
        self.gauges = gauges = StatusGauges(
            metrics, vitals, flow, records_limit=100, bytes_limit=10_000, polled_at=lambda: 0.0
        )
        session = HttpSession(in_flight_max=4, request_timeout_s=STILL_S)
        self.processor = Processor(
            task_manager=flow,
            sink=WootricSink(
                WootricAccount(account_token="NPS-1", pixel_url="http://p"), session=session
            ),
            prepare=judge,
            config=PACE,
            observer=Observer(metrics, vitals, gauges),
        )
        self.member = Member()
        self.member.tell = self.processor.on_event
        self.pauses = Mock(spec=PauseWatcher) if watches else None
        running = self.processor.run(cast(ConsumerThread, self.member), self.pauses)
        self.run = asyncio.create_task(running)

    async def begin(self) -> None:
        self.processor.on_event(Joined())
        self.processor.on_event(Assigned([PARTITION, OTHER], 1))
        self.restore(PARTITION, OTHER)
        await asyncio.sleep(0)

    def restore(self, *partitions: Partition) -> None:
        for partition in partitions:
            restored = Restored(
                partition=partition,
                assignment_epoch=1,
                state=InMemoryStateStore(),
                next_offset=0,
                entries=0,
                took_s=0.0,
            )
            self.processor.on_event(restored)

    def read(self, *offsets: int, value: bytes = b"value") -> None:
        records = [Record(PARTITION, offset, 0, b"key", value) for offset in offsets]
        self.processor.on_event(
            Records([Message(PARTITION, record.offset, record) for record in records])
        )

    async def told(self, kind: type) -> Any:
        """Return the last command of a kind, once there is one."""
        await until(lambda: self.member.told(kind), f"it is told a {kind.__name__}")
        return self.member.told(kind)[-1]


REFUSED = Invalid("undecodable", "")


def refuse(record: Record) -> PreparedRecord:
    return PreparedRecord(record=record, event_id=f"e{record.offset}", result=REFUSED)


async def test_a_defect_ends_the_worker_before_anything_is_committed_past_it() -> None:
    """The records of its chunk were read, and nobody has them: the next owner reads them again."""

    def judge(record: Record) -> PreparedRecord:
        if record.offset == 1:
            raise ZeroDivisionError
        return refuse(record)

    worker = Worker(judge)
    await worker.begin()
    worker.read(0, 1, 2)
    worker.read(3)
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(worker.run, STILL_S)
    offsets = [one.checkpoint.partitions[PARTITION].offset for one in worker.member.told(Commit)]
    assert max(offsets, default=0) == 0


async def test_large_records_leave_room_for_fewer() -> None:
    """As many more as there are bytes left, if they are as large; and all of it afterwards."""
    worker = Worker(refuse)
    await worker.begin()
    worker.read(0, 1, value=b"v" * 1_997)
    await until(lambda: worker.member.fetch_budget == 3, "there is room for three")
    worker.read(2, 3, 4, 5, value=b"v" * 1_997)
    await until(lambda: worker.member.fetch_budget <= 0, "there is no room")
    for _ in range(2):
        commit = await worker.told(Commit)
        worker.member.commands.clear()
        committed = Committed(checkpoint=commit.checkpoint, started_at=0.0, took_s=0.0)
        worker.processor.on_event(committed)
    await until(
        lambda: worker.member.fetch_budget == PACE.in_flight_records_max, "there is all the room"
    )
    worker.run.cancel()


async def test_a_partition_that_stretches_too_far_says_why_it_stands_still() -> None:
    """One event waits, and as many as may be are settled behind it."""

    def judge(record: Record) -> PreparedRecord:
        verdict = Deliver(operation=identify(), lane="ann") if record.offset == 0 else REFUSED
        return PreparedRecord(record=record, event_id=f"e{record.offset}", result=verdict)

    worker = Worker(judge)
    await worker.begin()
    worker.read(*range(LIMITS.offset_gap_max + 1))
    assert await worker.told(Pause) == Pause(PARTITION)
    halted = worker.vitals.halted[PARTITION]
    assert halted.reason is HaltReason.OFFSET_GAP
    assert "offset 0:" in halted.detail
    worker.run.cancel()


async def test_who_leaves_commits_what_ended_before_a_partition_goes() -> None:
    """Released first, the partition would not be ours any more: every commit would be refused."""
    worker = Worker(refuse)
    await worker.begin()
    worker.read(0)
    commit = await worker.told(Commit)
    worker.processor.stop()
    worker.processor.on_event(RevocationStarted([OTHER]))
    worker.read(1)
    await asyncio.sleep(0.01)
    assert worker.member.told(FinishRevocation) == worker.member.told(Leave) == []

    def ended() -> bool:
        nonlocal commit
        if not worker.run.done():
            commit = worker.member.told(Commit)[-1]
            committed = Committed(checkpoint=commit.checkpoint, started_at=0.0, took_s=0.0)
            worker.processor.on_event(committed)
        return worker.run.done()

    await until(ended, "it has left", lambda: len(worker.member.commands))
    assert commit.checkpoint.partitions[PARTITION].offset == 2
    assert worker.member.told(FinishRevocation) == []


# Readiness


async def test_a_worker_is_ready_while_no_ledger_is_being_restored() -> None:
    """A rolling update waits for it. A partition that halts, or goes elsewhere, is waited for no
    longer.
    """
    worker = Worker(lambda _: pytest.fail("nothing is read"))
    server = StatusServer(
        Metrics(),
        worker.vitals,
        worker.gauges,
        identity=Identity("w", "g", "t"),
        polled_at=lambda: 0.0,
    )
    port = free_port()
    await server.start("127.0.0.1", port)

    async def ready(*events: ConsumerEvent) -> bool:
        for event in events:
            worker.processor.on_event(event)
        await asyncio.sleep(0)
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}/readyz") as reply,
        ):
            assert (await reply.json())["ok"] is (reply.status == 200)
            return reply.status == 200

    third = Partition(PARTITION.topic, 2)
    assert not await ready()
    assert await ready(Joined(), Assigned([], 1)), "there may be more workers than partitions"
    assert not await ready(Assigned([PARTITION, OTHER, third], 1))
    worker.restore(PARTITION)
    assert not await ready(Restoring(OTHER, 10, 20))
    assert not await ready(PartitionHalted(OTHER, HaltReason.LEDGER_UNREADABLE, ""))
    assert await ready(PartitionsLost([third]))
    assert await ready(Restoring(PARTITION, 10, 20)), "a report that comes late changes nothing"
    assert not await ready(Assigned([third], 2))
    await server.close()
    worker.run.cancel()
    with suppress(asyncio.CancelledError):
        await worker.run


async def test_an_answer_about_an_earlier_assignment_does_not_count() -> None:
    """A pause may have begun since: a partition is read by what was asked after it was assigned."""
    worker = Worker(refuse, watches=True)
    await worker.begin()
    assert worker.pauses is not None
    assert worker.pauses.watch.call_args.args == ({PARTITION: 1, OTHER: 1},)
    worker.processor.on_event(PausesKnown({PARTITION: 0, OTHER: 1}, {OTHER: InputPause(5)}))
    await until(lambda: worker.vitals.paused, "one answer counts")
    assert worker.vitals.paused == {OTHER: InputPause(5)}
    assert worker.member.told(StartReading) == []
    worker.processor.on_event(PausesKnown({PARTITION: 1, OTHER: 1}, {OTHER: InputPause(5)}))
    assert await worker.told(StartReading) == StartReading(PARTITION, 0, 1)
    worker.processor.on_event(PartitionsLost([OTHER]))
    await until(lambda: not worker.vitals.paused, "it is another's now")
    assert worker.pauses.watch.call_args.args == ({PARTITION: 1},)
    worker.processor.stop()
    await asyncio.wait_for(worker.run, STILL_S)
    worker.pauses.close.assert_called_once_with()
