"""What waits for its schema, and what waits behind it."""

from dataclasses import dataclass, replace
from unittest.mock import Mock

from flow_driver import LIMITS

from sink.wootric.operations import read_operation
from stream.engine.task_manager import TaskManager
from stream.kafka.protocol import Pause, StartReading
from stream.record import Partition
from stream.runtime.flow_control import FlowController, SchemaWaitQueue
from stream.state.store import InMemoryStateStore
from stream.telemetry.observer import Observer

ONE, OTHER = Partition("t", 0), Partition("t", 1)


@dataclass
class Told:
    """What the client hands over: a record with a value, or the end of a partition."""

    text: bytes | None = None

    def value(self) -> bytes | None:
        return self.text

    def error(self) -> str | None:
        return "end of partition" if self.text is None else None


def missing(known: set[bytes]):
    """A record waits for the schema that it is named after."""
    return lambda value: None if value is None or value in known else value[0]


def test_nothing_of_a_partition_overtakes_what_waits_and_others_go_on():
    holds = SchemaWaitQueue(missing({b"a"}))
    messages = [Told(b"a"), Told(b"b"), Told(b"a"), Told(None), Told(b"c")]
    assert [holds.add(ONE, message) for message in messages] == [False, True, True, True, True]
    assert not holds.add(OTHER, Told(b"a"))
    assert not holds.add(OTHER, Told(None))
    assert holds.waiting == {ONE: ord("b")}
    assert len(holds) == 4
    assert holds.drop(ONE) == messages[1:]


def test_it_is_released_in_order_once_the_first_waits_no_longer():
    known: set[bytes] = set()
    holds = SchemaWaitQueue(missing(known))
    messages = [Told(b"a"), Told(b"b"), Told(None)]
    for message in messages:
        holds.add(ONE, message)
    known.add(b"b")
    assert holds.release(ONE) == []
    known.add(b"a")
    assert holds.release(ONE) == messages
    assert ONE not in holds
    assert holds.release(ONE) == []


def test_every_id_is_asked_for_at_once():
    """Many unknown ids are waited for together, not one after the other."""
    asked: list[bytes | None] = []
    holds = SchemaWaitQueue(lambda value: asked.append(value) or 1)
    for text in (b"a", b"b", b"c"):
        holds.add(ONE, Told(text))
    assert asked == [b"a", b"b", b"c"]


def test_without_a_registry_nothing_waits():
    assert not SchemaWaitQueue(None).add(ONE, Told(b"a"))


class Reading:
    """The reader, and whether the partition is read."""

    fetch_budget = 0
    is_read = True

    def command(self, command: Pause | StartReading) -> None:
        self.is_read = isinstance(command, StartReading)


def test_a_partition_resumes_when_the_last_reason_ends() -> None:
    """A wrong schema pauses it for a while; what it waits for meanwhile pauses it as well."""
    known: set[bytes] = set()
    now = 0.0
    tasks = TaskManager(replace(LIMITS, dead_letter_limit=1), read_operation=read_operation)
    tasks.open(ONE, InMemoryStateStore(), 0, now, assignment_epoch=1)
    control = FlowController(
        tasks,
        Mock(spec=Observer),
        in_flight_records_max=10,
        in_flight_bytes_max=1_000,
        dead_letter_pause_s=60,
        missing_schema=missing(known),
        clock=lambda: now,
    )
    control.reader = reader = Reading()
    tasks.partitions[ONE].dead_letter_limit.record(rejected=True)
    control.update(leaving=False)
    assert control.buffers(ONE, Told(b"a"))
    now = 61
    control.update(leaving=False)
    assert not reader.is_read, "it still waits for the schema"
    known.add(b"a")
    admitted: list[object] = []
    control.release(admitted.extend)
    assert (len(admitted), reader.is_read) == (1, True)
